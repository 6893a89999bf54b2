"""Training, conversion, the integer network and its golden model."""
