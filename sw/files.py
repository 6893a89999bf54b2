"""Atomic writing of files, folders for output, and archives with a header."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError

Arrays = dict[str, np.ndarray]

BUILD_VARIABLE = "RESIDUUM_BUILD"


def build_folder() -> Path:
    """The folder for all output of the commands.

    The environment variable ``RESIDUUM_BUILD`` names it; else it is ``build/`` in the checkout of
    this package; else, for an installed package, it is in the user's cache.
    """
    given = os.environ.get(BUILD_VARIABLE)
    if given:
        return Path(given).absolute()
    folder = checkout()
    return folder / "build" if folder else cache_folder() / "build"


def checkout() -> Path | None:
    """The checkout that this package lies in; None for an installed package."""
    folder = Path(__file__).resolve().parents[1]
    whole = (folder / "pyproject.toml").exists() and (folder / "residuum").is_dir()
    return folder if whole else None


def cache_folder() -> Path:
    """The folder of Residuum in the user's cache; ``ResiduumError`` if there is no home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residuum"
    except RuntimeError:
        raise ResiduumError(
            f"there is no home folder for results; name a folder in the variable {BUILD_VARIABLE}"
        ) from None


def shown(path: Path) -> str:
    """A path for messages, relative to the current folder if the path is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@contextlib.contextmanager
def told(path: Path, doing: str = "written") -> Iterator[None]:
    """Turn an ``OSError`` in the block into ``ResiduumError("PATH cannot be DOING: REASON")``."""
    try:
        yield
    except FileExistsError:
        raise ResiduumError(f"{shown(path)} cannot be {doing}: a file is in the way") from None
    except OSError as error:
        raise ResiduumError(f"{shown(path)} cannot be {doing}: {error.strerror or error}") from None


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on a file during the block.

    If another process holds the lock, ``waiting`` is called once. The empty lock file stays. Raises
    ``ResiduumError`` if it cannot be created.
    """
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it in place; creates the folders above it.

    A link is followed. What is no regular file, such as a pipe or ``/dev/null``, is written to
    directly. Raises ``ResiduumError`` if that is not possible; then nothing is left behind.
    """
    target = Path(os.path.realpath(path))
    part = target.parent / f"{target.name}.{os.getpid()}.part"
    with told(path):
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def require_writable(path: Path) -> None:
    """Fail before long work instead of after it: ``ResiduumError`` if no file can be written there.

    Makes the folders above it.
    """
    if path.is_dir():
        raise ResiduumError(f"{shown(path)} cannot be written: it is a folder")
    with told(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def digest_of_file(path: Path) -> str:
    """The SHA-256 of a file; ``ResiduumError`` if it cannot be read."""
    with told(path, "read"):
        return hashlib.sha256(path.read_bytes()).hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write a report as JSON with `write_whole`."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_archive(path: Path, file_format: str, *, what: str) -> tuple[dict[str, Any], Arrays]:
    """Header (JSON) and arrays of an .npz file; checks only its format name, ``file_format``.

    ``what`` is the kind of file for messages. Raises ``ResiduumError`` if the file is missing,
    damaged, or of another format.
    """
    foreign = ResiduumError(f"{path} is not {what}, or it is damaged")
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(f"there is no file {path}")
        if path.is_dir():
            raise ResiduumError(f"{path} is a folder, not {what}")
        # Read it all first: numpy may fail half-way and leave the file open.
        content = io.BytesIO(path.read_bytes())
    try:
        if not zipfile.is_zipfile(content):
            raise foreign
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(str(arrays["header"]))
    except ResiduumError:
        raise
    except Exception:
        # zipfile, zlib and numpy raise many kinds of exceptions on damaged files.
        raise foreign from None
    if not isinstance(header, dict) or header.get("format") != file_format:
        raise foreign
    return header, arrays
