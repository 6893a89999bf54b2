"""The host link: bytes, frames, requests, and their effects on the engine."""
