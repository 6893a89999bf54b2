"""Synthesis, place and route, clocks and bitstreams."""
