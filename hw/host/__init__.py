"""The host port, and the host's way to the memories of the tiles."""
