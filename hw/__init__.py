"""Amaranth gateware of the spiking-network engine."""
