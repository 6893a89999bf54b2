"""The lane array: lanes x steps accumulators, and their drain."""
