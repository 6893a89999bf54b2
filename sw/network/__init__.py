"""Float and integer networks, their files, and the committed ones."""
