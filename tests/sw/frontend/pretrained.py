"""The pretrained models of others, which tests use where they exist."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def pretrained(name: str) -> Path:
    """A file of ../shared/models, or of the folder in ``RESIDUUM_MODELS``; skips without it."""
    given = os.environ.get("RESIDUUM_MODELS")
    folders = [Path(given)] if given else [ROOT.parent / "shared/models"]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    return pytest.skip(f"the pretrained model {name} is not here")
