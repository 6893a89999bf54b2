"""Output files that are whole or not there."""

import contextlib
import os
from pathlib import Path

from sw.errors import ResiduumError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it in place, with the folders above it.

    Raises ``ResiduumError`` if that is not possible; then nothing is left behind.
    """
    if path.is_dir():
        raise ResiduumError(f"{path} cannot be written: it is a folder")
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ResiduumError(f"{path} cannot be written: {error.strerror}") from None


def short_name(model: str) -> str:
    """What a network is called in file names: its name, or that of its file."""
    return Path(model).stem if model.endswith(".npz") else Path(model).name
