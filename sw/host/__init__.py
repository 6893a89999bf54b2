"""The host library: a device over a serial port or in simulation, and what it computes."""
