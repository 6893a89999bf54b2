"""Independent pieces of work, on one machine or many, whose results are kept."""
