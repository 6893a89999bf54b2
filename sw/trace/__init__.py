"""What an engine gave, compared with the golden model."""
