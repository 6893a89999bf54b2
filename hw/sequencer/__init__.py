"""Layer descriptors, their execution, and the counters."""
