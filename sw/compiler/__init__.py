"""From an integer network to the memory content of an engine, and its cycles."""
