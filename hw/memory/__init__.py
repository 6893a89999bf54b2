"""Memories: the block memory every store is built from, feature memory, weight store."""
