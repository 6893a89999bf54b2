"""The host port."""
