"""Files that are written whole or not at all, and archives of arrays with a header."""

import contextlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError

Arrays = dict[str, np.ndarray]


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


def write_json(path: Path, content: object) -> None:
    """`write_whole` for a report."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_archive(path: Path, file_format: str, *, what: str) -> tuple[dict[str, Any], Arrays]:
    """Header (JSON) and arrays of an .npz, checked only for being of the format ``file_format``.

    ``what`` says in messages what such a file is. Raises ``ResiduumError`` if the file is missing,
    damaged, or something else.
    """
    foreign = ResiduumError(f"{path} is not {what}, or it is damaged")
    if not path.exists():
        raise ResiduumError(f"there is no file {path}")
    try:
        # From memory, so that no file stays open when numpy gives up half-way.
        content = io.BytesIO(path.read_bytes())
        if not zipfile.is_zipfile(content):
            raise foreign
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
    except ResiduumError:
        raise
    except Exception:
        # zipfile, zlib and numpy fail in a dozen ways on damaged bytes; all mean the same here.
        raise foreign from None
    if not isinstance(header, dict) or header.get("format") != file_format:
        raise foreign
    return header, arrays
