"""Packages that only some commands need, and that a plain installation does not have."""

import importlib
from types import ModuleType

from residuum.sw.errors import ResiduumError


def need(package: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a package of an extra of pyproject.toml.

    Raises ``ResiduumError`` that says which extra to install; ``purpose`` is what needs it, as in
    "to read NIR files".
    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise ResiduumError(
            f"{purpose}, install the extra {extra!r}: pip install 'residuum[{extra}]'"
        ) from None
