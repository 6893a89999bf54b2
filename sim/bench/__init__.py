"""Measurements with the simulations."""
