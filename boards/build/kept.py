"""Files with the layouts of earlier builds, in the user's cache.

A file has the SHA-256 of its content in front, and in the content the key that it was kept under: a
damaged file, and one under a wrong name, is told and counts as missing. A file appears whole or not
at all, so several commands share the folder.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residuum.sw.errors import ResiduumError
from residuum.sw.files import cache_folder, shown, write_whole
from residuum.sw.pieces.store import decode, encode
from residuum.sw.progress import Reporter

# A layout takes 1 to 5 MB. Those used last are kept.
MOST = 64
SUFFIX = ".layout"
_DIGEST_BYTES = hashlib.sha256().digest_size


def kept_folder() -> Path:
    """The folder of the layouts; ``ResiduumError`` if there is no home folder."""
    return cache_folder() / "layouts"


def file_of(board: str, key: str) -> Path:
    """The file of a layout; ``key`` has hexadecimal digits."""
    return kept_folder() / f"{board}-{key[:32]}{SUFFIX}"


def get(board: str, key: str, reporter: Reporter) -> dict[str, Any] | None:
    """The values kept under a key; None if there are none, or if the file is not as it was written,
    which is told."""
    path = None
    try:
        path = file_of(board, key)
        content = path.read_bytes()
        values = _checked(content, key)
    except FileNotFoundError:
        return None
    except (OSError, ResiduumError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        place = f"{shown(path)} cannot be used: " if path else ""
        reporter.say(f"{place}{reason}; the layout is made anew")
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return values


def _checked(content: bytes, key: str) -> dict[str, Any]:
    digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(packed).digest() != digest:
        raise ValueError("it is damaged")
    values: dict[str, Any] = decode(packed)
    if values.pop("key") != key:
        raise ValueError("it holds the layout of another design")
    return values


def put(board: str, key: str, values: Mapping[str, Any]) -> None:
    """Keep plain values and arrays under a key; ``ResiduumError`` if that is not possible."""
    packed = encode({**values, "key": key})
    write_whole(file_of(board, key), hashlib.sha256(packed).digest() + packed)
    files = sorted(kept_folder().glob(f"*{SUFFIX}"), key=_last_used, reverse=True)
    for path in files[MOST:]:
        with contextlib.suppress(OSError):
            path.unlink()


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
