"""Files that are written whole or not at all, where they go, and archives with a header."""

import contextlib
import errno
import fcntl
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
    """Where everything goes that the commands make.

    The folder in the variable ``RESIDUUM_BUILD``; else ``build/`` of the checkout that this package
    lies in; else a folder in the user's cache, so that nothing is written beside an installed
    package.
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
    """A path as a user would type it here: relative to the present folder if it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@contextlib.contextmanager
def told(path: Path, doing: str = "written") -> Iterator[None]:
    """Turns an ``OSError`` in the block into a ``ResiduumError``: PATH cannot be DOING: why."""
    try:
        yield
    except OSError as error:
        raise ResiduumError(f"{shown(path)} cannot be {doing}: {error.strerror or error}") from None


@contextlib.contextmanager
def locked(path: Path, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Only one process at a time is in a block with the same lock file; the others wait.

    ``waiting`` is called once where another process has to be waited for. The file stays: it holds
    nothing. Raises ``ResiduumError`` if it cannot be made.
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
    """Write a file under another name and rename it in place, with the folders above it.

    Raises ``ResiduumError`` if that is not possible; then nothing is left behind.
    """
    part = path.parent / f"{path.name}.{os.getpid()}.part"
    with told(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
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


def write_json(path: Path, content: object) -> None:
    """`write_whole` for a report."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())


def read_archive(path: Path, file_format: str, *, what: str) -> tuple[dict[str, Any], Arrays]:
    """Header (JSON) and arrays of an .npz, checked only for being of the format ``file_format``.

    ``what`` says in messages what such a file is. Raises ``ResiduumError`` if the file is missing,
    damaged, or something else.
    """
    foreign = ResiduumError(f"{path} is not {what}, or it is damaged")
    with told(path, "read"):
        if not path.exists():
            raise ResiduumError(f"there is no file {path}")
        if path.is_dir():
            raise ResiduumError(f"{path} is a folder, not {what}")
        # From memory, so that no file stays open when numpy gives up half-way.
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
        # zipfile, zlib and numpy fail in a dozen ways on damaged bytes; all mean the same here.
        raise foreign from None
    if not isinstance(header, dict) or header.get("format") != file_format:
        raise foreign
    return header, arrays
