"""The simulated accelerator with its link."""
