"""Results of an engine, and their comparison with the golden model."""
