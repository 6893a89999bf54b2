"""Pictures, explanations and pages about a network and its run."""
