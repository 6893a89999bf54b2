"""Definitions shared by software and gateware: plain Python without Amaranth."""
