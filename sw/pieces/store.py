"""Keeps the result of every finished piece in a file of its own, named by a digest.

A file appears whole or not at all, so a command may end at any moment, and several commands share
the store: at worst, two of them compute the same piece at the same time. Nothing is forced onto the
disk: after a power cut, a file may be damaged, and its piece is computed again.
"""

import dataclasses
import hashlib
import io
import json
import os
import zlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import shown, told

_ARRAY = "an array"


def encode(value: Any) -> bytes:
    """Plain values and arrays as bytes: JSON values and numpy arrays, in lists and dictionaries.

    Raises ``TypeError`` for anything else. A tuple becomes a list.
    """
    arrays: list[np.ndarray] = []

    def plain(given: object) -> object:
        if isinstance(given, np.generic):
            return given.item()
        if not isinstance(given, np.ndarray):
            raise TypeError(f"the result of a piece cannot hold a {type(given).__name__}")
        arrays.append(given)
        return {_ARRAY: len(arrays) - 1}

    content = io.BytesIO()
    content.write(json.dumps(value, default=plain).encode() + b"\n")
    for array in arrays:
        np.save(content, array, allow_pickle=False)
    return zlib.compress(content.getvalue(), 1)


def decode(content: bytes) -> Any:
    """The value of `encode`; ``ValueError`` if the bytes are damaged."""
    try:
        stream = io.BytesIO(zlib.decompress(content))
        line, arrays = stream.readline(), []
        while stream.tell() < len(stream.getbuffer()):
            arrays.append(np.load(stream, allow_pickle=False))

        def whole(found: dict[str, Any]) -> Any:
            return arrays[found[_ARRAY]] if found.keys() == {_ARRAY} else found

        return json.loads(line, object_hook=whole)
    except (zlib.error, EOFError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the bytes are damaged: {error}") from None


def digest_of(value: Any, memory: dict[int, bytes]) -> bytes:
    """A digest of plain values, arrays, enumerations and dataclasses of them.

    ``memory`` has the digests of arrays and dataclasses by ``id``, while they exist.

    Raises
    ------
    TypeError
        For any other value, such as a path: a file is named by the digest of its content.
    """
    known = memory.get(id(value))
    if known is not None:
        return known
    match value:
        case None | bool() | int() | float() | str() | bytes() if not isinstance(value, Enum):
            return hashlib.sha256(f"{type(value).__name__} {value!r}".encode()).digest()
        case Enum():
            parts = [type(value).__qualname__.encode(), value.name.encode()]
        case np.ndarray():
            parts = [f"{value.dtype.str} {value.shape}".encode(), value.tobytes()]
        case np.generic():
            return digest_of(value.item(), memory)
        case list() | tuple():
            parts = [b"list", *(digest_of(item, memory) for item in value)]
        case Mapping():
            pairs = [digest_of(key, memory) + digest_of(value[key], memory) for key in value]
            parts = [b"dict", *sorted(pairs)]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value))
            pairs = [name.encode() + digest_of(inner, memory) for name, inner in fields]
            parts = [type(value).__qualname__.encode(), *pairs]
        case _:
            raise TypeError(f"a piece cannot depend on a {type(value).__name__}: {value!r}")
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
    if isinstance(value, np.ndarray) or dataclasses.is_dataclass(value):
        memory[id(value)] = digest
    return digest


class Store:
    """The finished pieces in a folder.

    Raises
    ------
    ResiduumError
        If the folder or a file in it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._made: set[Path] = set()

    def path(self, key: str) -> Path:
        """The file of a piece."""
        return self.folder / key[:2] / key[2:]

    def get(self, key: str) -> Any:
        """The kept result of a piece; ``KeyError`` if there is none, ``ValueError`` if damaged."""
        path = self.path(key)
        try:
            with open(path, "rb", 0) as file:
                content = file.read()
        except FileNotFoundError:
            raise KeyError(key) from None
        except OSError as error:
            raise ResiduumError(f"{shown(path)} cannot be read: {error.strerror}") from None
        return decode(content)

    def put(self, key: str, content: bytes) -> None:
        """Keep the result of a piece, as `encode` gives it.

        With few calls of the file system: there may be many small pieces.
        """
        path = self.path(key)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with told(path):
            if path.parent not in self._made:
                path.parent.mkdir(exist_ok=True)
                self._made.add(path.parent)
            with open(part, "wb", 0) as file:
                file.write(content)
            os.replace(part, path)
