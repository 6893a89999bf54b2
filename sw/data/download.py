"""Downloads with a checksum, which resume after a broken connection."""

import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from residuum.sw.errors import ResiduumError
from residuum.sw.files import locked, require_writable
from residuum.sw.progress import SILENT, Reporter, Task

_BLOCK = 1 << 16
_TIMEOUT = 30  # seconds without a byte
_LOCK = ".lock"
# HTTP statuses: 206 Partial Content; 416 Range Not Satisfiable, if no byte of the file is left.
_PARTIAL, _NO_SUCH_RANGE = 206, 416


def download(
    title: str,
    mirror: str,
    md5: Mapping[str, str],
    folder: Path,
    *,
    hint: str,
    contents: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> None:
    """Download the files that are not in ``folder`` yet.

    A file appears under its name only when it is complete and its sum is right. An interrupted
    download stays as ``NAME.part``, and the next call requests only the rest. If several processes
    need the same folder, one of them downloads, and the others wait.

    Parameters
    ----------
    title
        Name of the data set, for messages.
    md5
        Expected MD5 sum of each download, by name; its address is ``mirror`` + name.
    hint
        Advice for a user without a network, for messages.
    contents
        Files to extract from the downloaded tar archives, which are then deleted; empty if the
        downloads are the files.

    Raises
    ------
    ResiduumError
        If the folder cannot be written, the server does not respond, or a download is damaged.
    """
    wanted = contents or list(md5)
    if not _missing(folder, wanted):
        return

    def waiting() -> None:
        reporter.say(f"another process downloads {title}; waiting for it")

    try:
        require_writable(folder / _LOCK)
    except ResiduumError as error:
        raise ResiduumError(f"{error}; {hint}") from None
    with locked(folder / _LOCK, waiting=waiting):
        # Another process may have filled the folder while this one waited.
        if not _missing(folder, wanted):
            return
        for name in _missing(folder, md5):
            with reporter.task(f"{title}: {name}", unit="B") as task:
                _fetch(mirror, folder / name, md5[name], task, hint)
        if contents:
            for name in md5:
                _unpack(folder / name, contents, hint)


def _missing(folder: Path, names: Sequence[str] | Mapping[str, str]) -> list[str]:
    return [name for name in names if not os.path.exists(folder / name)]


def _fetch(mirror: str, path: Path, md5: str, task: Task, hint: str) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("ab") as out:
            _receive(mirror + path.name, out, task)
        with part.open("rb") as received:
            right = hashlib.file_digest(received, _md5).hexdigest() == md5
        if not right:
            part.unlink()
            raise ResiduumError(f"the download of {path.name} arrived damaged; try again")
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise ResiduumError(
            f"{path.name} cannot be downloaded from {mirror}: {_reason(error)}; "
            f"try again, or {hint}"
        ) from None


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _receive(address: str, out: BinaryIO, task: Task) -> None:
    """Download the rest of the file at ``address`` and append it to ``out``."""
    done = out.seek(0, os.SEEK_END)
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != _NO_SUCH_RANGE:
                raise
        # The part is complete, or belongs to another file: the checksum decides.
        return
    with reply:
        if done and not _goes_on(reply, done):
            out.truncate(0)
            done = 0
            if reply.status == _PARTIAL:  # Not the requested range: start again at byte 0.
                _receive(address, out, task)
                return
        total = None if reply.length is None else done + reply.length
        while block := reply.read(_BLOCK):
            out.write(block)
            done += len(block)
            task.update(done=done, total=total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _goes_on(reply: http.client.HTTPResponse, done: int) -> bool:
    """Whether the reply starts at byte ``done``; a server may ignore the range."""
    place = reply.headers.get("Content-Range") or ""
    return reply.status == _PARTIAL and place.startswith(f"bytes {done}-")


def _unpack(archive: Path, names: Sequence[str], hint: str) -> None:
    """Extract the files ``names`` from any folder of the archive, then delete the archive."""
    missing = set(names)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                content = tar.extractfile(member) if name in missing else None
                if content is not None:
                    part = archive.with_name(f"{name}.part")
                    part.write_bytes(content.read())
                    part.replace(archive.with_name(name))
                    missing.remove(name)
        archive.unlink()
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.TarError):
        missing.update(names)
        archive.unlink(missing_ok=True)
    except OSError as error:
        raise ResiduumError(f"{archive} cannot be unpacked: {_reason(error)}; {hint}") from None
    if missing:
        raise ResiduumError(f"{archive} was damaged and is deleted; try again, or {hint}")


def _reason(error: OSError | http.client.HTTPException) -> str:
    """The cause of the error in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, http.client.HTTPException):
        return "the connection was cut"
    if isinstance(cause, TimeoutError):
        return f"nothing came for {_TIMEOUT} seconds"
    return getattr(cause, "strerror", None) or str(cause)
