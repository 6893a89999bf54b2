"""The host port, the control registers, and host access to the memories of the tiles."""
