"""Pretrained models by others, which are not part of the project."""

import os
from pathlib import Path

import pytest

from residuum.sw.data.formats import DATA_VARIABLE

ROOT = Path(__file__).resolve().parents[3]
# Means and deviations that the models want.
CIFAR10 = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR100 = (0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761)


def published(name: str) -> Path:
    """The file of a model; the test skips where it is missing."""
    folder = Path(os.environ.get("RESIDUUM_MODELS", ROOT.parent / "shared" / "models"))
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not in {folder}; RESIDUUM_MODELS names another folder")
    return folder / name


def need_data() -> None:
    """The test skips where data sets would have to be downloaded."""
    if DATA_VARIABLE not in os.environ:
        pytest.skip(f"{DATA_VARIABLE} names no folder with data sets")
