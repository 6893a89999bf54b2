"""Shell scripts that stand in for tools."""

from pathlib import Path


def fake(folder: Path, name: str, script: str) -> Path:
    """A program in ``folder`` that runs the script."""
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program
