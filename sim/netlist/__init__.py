"""Simulation of the ECP5 netlists."""
