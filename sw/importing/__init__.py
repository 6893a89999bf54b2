"""A float network of any origin becomes integers, and the accuracy is told after every step."""
