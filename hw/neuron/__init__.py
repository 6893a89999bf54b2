"""Integrate-and-fire neurons and the output layer."""
