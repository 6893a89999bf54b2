"""The lane array: accumulators of lanes x steps, and their drain."""
