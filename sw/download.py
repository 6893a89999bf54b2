"""Downloads that go on where they broke off, checked before they are used."""

import fcntl
import hashlib
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sw.errors import ResiduumError

_BLOCK = 1 << 16
_TIMEOUT = 30  # seconds without a byte
_PARTIAL = 206  # HTTP status: the rest of a file, as asked


def download(title: str, mirror: str, md5: Mapping[str, str], folder: Path, *, hint: str) -> None:
    """Fetch the files that are not in ``folder`` yet, with a progress bar for each.

    A file appears under its name only when it is whole and its sum is right. What broke off stays
    as ``NAME.part``, and the next call asks for the rest alone.

    Parameters
    ----------
    md5
        Expected sum of each file, by name; the address is ``mirror`` + name.
    hint
        What the user can do without a network, for messages.

    Raises
    ------
    ResiduumError
        If the folder cannot be made, the server cannot be reached, or what arrives is damaged.
    """
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    missing = [name for name in md5 if not (folder / name).exists()]
    if not missing:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise ResiduumError(f"the folder {folder} for downloads cannot be made; {hint}") from None
    columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for name in missing:
            task = progress.add_task(f"{title}: {name}", total=None)

            def report(done: int, total: int | None, task: object = task) -> None:
                progress.update(task, completed=done, total=total)  # type: ignore[arg-type]

            _fetch(mirror + name, md5[name], folder / name, report, hint)


def _fetch(
    address: str,
    md5: str,
    path: Path,
    report: Callable[[int, int | None], None],
    hint: str,
) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("ab") as out:
            # A second process waits here for the first, and then finds the file.
            fcntl.flock(out, fcntl.LOCK_EX)
            if path.exists():
                return
            _receive(address, out.fileno(), report)
        if hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            part.unlink()
            raise ResiduumError(f"the download of {path.name} arrived damaged; try again")
        part.replace(path)
    except OSError:
        raise ResiduumError(
            f"{path.name} cannot be downloaded from {address.rsplit('/', 1)[0]}; {hint}"
        ) from None


def _receive(address: str, out: int, report: Callable[[int, int | None], None]) -> None:
    """Append what is missing of the file at ``address`` to the open file ``out``."""
    done = os.fstat(out).st_size
    request = urllib.request.Request(address)
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing: the sum decides
            return
        raise
    with reply:
        if done and reply.status != _PARTIAL:
            # The server sends everything again.
            os.ftruncate(out, 0)
            done = 0
        length = int(reply.headers.get("Content-Length") or 0)
        total = done + length if length else None
        while block := reply.read(_BLOCK):
            os.write(out, block)
            done += len(block)
            report(done, total)
    if total is not None and done < total:
        raise OSError("the connection was cut")


def unpack(archive: Path, names: Sequence[str], folder: Path) -> None:
    """Take the files called ``names`` out of a tar archive, in whatever folder they are there, and
    delete the archive. Raises ``ResiduumError`` if one is missing or cannot be written."""
    try:
        with tarfile.open(archive) as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            for name in names:
                content = tar.extractfile(members[name])
                assert content is not None
                part = folder / f"{name}.{os.getpid()}.part"
                part.write_bytes(content.read())
                part.replace(folder / name)
    except (KeyError, OSError, EOFError, tarfile.TarError):
        raise ResiduumError(f"{archive} cannot be unpacked; delete it and try again") from None
    archive.unlink(missing_ok=True)
