"""Image sets and their downloads."""
