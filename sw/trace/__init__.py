"""What an engine gave, held against the golden model."""
