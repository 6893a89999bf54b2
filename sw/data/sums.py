"""MD5 sums of large files, cached."""

import contextlib
import hashlib
import json
from functools import partial
from pathlib import Path

from residuum.sw.errors import ResiduumError
from residuum.sw.files import cache_folder, write_json


def md5_of(path: Path) -> str:
    """The MD5 sum of a file.

    The user's cache holds the sum for this path, size and modification time. If the cache cannot be
    read or written, the sum is computed again.
    """
    status = path.stat()
    key = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    known = _remembered().get(key)
    if isinstance(known, str):
        return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
    with contextlib.suppress(ResiduumError, OSError):
        write_json(_memory(), {**_remembered(), key: found})
    return found


def _memory() -> Path:
    return cache_folder() / "sums.json"


def _remembered() -> dict[str, object]:
    with contextlib.suppress(ResiduumError, OSError, ValueError):
        found = json.loads(_memory().read_bytes())
        if isinstance(found, dict):
            return found
    return {}
