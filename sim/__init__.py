"""Simulation: Verilator builds, bulk transfers, and the comparison with the golden model."""
