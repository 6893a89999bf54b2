"""The simulated accelerator behind its link."""
