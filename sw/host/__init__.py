"""The host library: runs networks on a device, over a serial port or in simulation."""
