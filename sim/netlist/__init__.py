"""The ECP5 netlists, simulated."""
