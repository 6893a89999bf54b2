"""Engines with a simulated external memory of weight rows."""
