"""Boards: synthesis, constraints and bitstreams."""
