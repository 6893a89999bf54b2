"""Simulation: Verilator builds, the bulk mover on the host port, and the comparison with the golden model."""
