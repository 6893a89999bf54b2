"""Downloads from a local server: complete, interrupted, resumed, damaged, concurrent."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from residuum.sw.data import download as downloading
from residuum.sw.data.download import download
from residuum.sw.errors import ResiduumError
from tests.sw.file_server import FileServer, serving

NAME = "file.bin"
CONTENT = np.random.default_rng(0).bytes(300_000)
HINT = "set RESIDUUM_DATA to a folder with the files of Things"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({NAME: CONTENT}) as server:
        yield server


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def fetch(server: FileServer, folder: Path, content: bytes = CONTENT) -> bytes:
    """Download ``NAME``, expected to be ``content``; returns the content of the file."""
    download("Things", server.address, {NAME: md5(content)}, folder, hint=HINT)
    return (folder / NAME).read_bytes()


def names(folder: Path) -> list[str]:
    """The files in the folder, without the lock."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def part(folder: Path, content: bytes) -> Path:
    path = folder / f"{NAME}.part"
    path.write_bytes(content)
    return path


def test_whole_file_comes_once(server: FileServer, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "on the way"
    assert fetch(server, folder) == CONTENT
    assert fetch(server, folder) == CONTENT
    assert server.requests == [(NAME, None)]
    assert names(folder) == [NAME]


def test_empty_file(server: FileServer, tmp_path: Path) -> None:
    server.files[NAME] = b""
    assert fetch(server, tmp_path, b"") == b""


def test_only_the_missing_files_come(server: FileServer, tmp_path: Path) -> None:
    server.files = {"a": b"aaa", "b": b"bbb"}
    (tmp_path / "a").write_bytes(b"there before")
    sums = {name: md5(content) for name, content in server.files.items()}
    download("Things", server.address, sums, tmp_path, hint=HINT)
    assert server.requests == [("b", None)]
    assert (tmp_path / "a").read_bytes() == b"there before"


@pytest.mark.parametrize("kept", [1, 1000, len(CONTENT) - 1])
def test_cut_connection_keeps_the_part_and_the_next_call_asks_for_the_rest(
    server: FileServer, tmp_path: Path, kept: int
) -> None:
    server.cut = kept
    with pytest.raises(ResiduumError) as error:
        fetch(server, tmp_path)
    assert str(error.value) == (
        f"{NAME} cannot be downloaded from {server.address}: the connection was cut; "
        f"try again, or {HINT}"
    )
    assert names(tmp_path) == [f"{NAME}.part"]
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:kept]
    server.cut = None
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == [(NAME, None), (NAME, f"bytes={kept}-")]
    assert names(tmp_path) == [NAME]


def test_cut_in_a_chunk(server: FileServer, tmp_path: Path) -> None:
    server.chunked, server.cut = True, 100_000
    with pytest.raises(ResiduumError, match="the connection was cut; try again"):
        fetch(server, tmp_path)
    assert CONTENT.startswith((tmp_path / f"{NAME}.part").read_bytes())
    server.cut = None
    assert fetch(server, tmp_path) == CONTENT


def test_cut_before_the_first_byte(server: FileServer, tmp_path: Path) -> None:
    """The server closes the connection without an answer."""
    server.RequestHandlerClass = lambda request, *_: request.close()  # type: ignore[assignment]
    with pytest.raises(ResiduumError, match="cannot be downloaded from .*: .+; try again, or set"):
        fetch(server, tmp_path)


def test_server_that_cannot_send_the_rest(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    part(tmp_path, CONTENT[:1000])
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == [(NAME, "bytes=1000-")]


@pytest.mark.parametrize("shift", [-10, 10])
def test_server_that_sends_another_rest_than_asked(
    server: FileServer, tmp_path: Path, shift: int
) -> None:
    """The reply is discarded, and the whole file is fetched."""
    server.shift = shift
    part(tmp_path, CONTENT[:1000])
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == [(NAME, "bytes=1000-"), (NAME, None)]


def test_part_that_is_complete(server: FileServer, tmp_path: Path) -> None:
    part(tmp_path, CONTENT)
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == [(NAME, f"bytes={len(CONTENT)}-")]
    assert names(tmp_path) == [NAME]


@pytest.mark.parametrize("wrong", [b"x", b"x" * (len(CONTENT) + 5)])
def test_part_of_another_file_is_given_up(server: FileServer, tmp_path: Path, wrong: bytes) -> None:
    part(tmp_path, wrong)
    with pytest.raises(ResiduumError, match=r"the download of file\.bin arrived damaged; try agai"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    assert fetch(server, tmp_path) == CONTENT


def test_wrong_sum_leaves_nothing_and_the_next_call_starts_afresh(
    server: FileServer, tmp_path: Path
) -> None:
    server.files[NAME] = CONTENT[::-1]
    with pytest.raises(ResiduumError, match=r"the download of file\.bin arrived damaged; try agai"):
        fetch(server, tmp_path)
    assert names(tmp_path) == []
    server.files[NAME] = CONTENT
    assert fetch(server, tmp_path) == CONTENT
    assert server.requests == [(NAME, None), (NAME, None)]


def test_no_such_file_on_the_server(server: FileServer, tmp_path: Path) -> None:
    server.files = {}
    with pytest.raises(ResiduumError, match=f"the server answers 404; try again, or {HINT}"):
        fetch(server, tmp_path)
    assert not (tmp_path / NAME).exists()


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({NAME: CONTENT}) as server:
        pass
    with pytest.raises(ResiduumError, match=f"Connection refused; try again, or {HINT}"):
        fetch(server, tmp_path)


def test_server_that_falls_silent(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "_TIMEOUT", 0.2)
    server.gate.clear()
    with pytest.raises(ResiduumError, match=r"nothing came for 0.2 seconds; try again"):
        fetch(server, tmp_path)
    server.gate.set()
    assert fetch(server, tmp_path) == CONTENT


@pytest.mark.parametrize("where", ["taken", "taken/deep"])
def test_folder_that_cannot_be_made(server: FileServer, tmp_path: Path, where: str) -> None:
    (tmp_path / "taken").write_bytes(b"a file")
    with pytest.raises(ResiduumError, match=f"taken.* cannot be written: .*; {HINT}"):
        fetch(server, tmp_path / where)
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_folder_without_permission(server: FileServer, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResiduumError, match=f"cannot be written: Permission denied; {HINT}"):
        fetch(server, tmp_path)


def test_part_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").mkdir()
    with pytest.raises(ResiduumError, match="cannot be downloaded .*: Is a directory; try again"):
        fetch(server, tmp_path)


PROCESS = """
import sys
from pathlib import Path
from residuum.commands.console import ConsoleReporter
from residuum.sw.data.download import download
sums = {sys.argv[2]: sys.argv[3]}
download("Things", sys.argv[1], sums, Path(sys.argv[4]), hint="", reporter=ConsoleReporter())
"""


def process(server: FileServer, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, server.address, NAME, md5(CONTENT), str(folder)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    )


def waits(second: "subprocess.Popen[str]") -> bool:
    """Whether the first line of the process says that it waits."""
    assert second.stderr is not None
    return second.stderr.readline() == "another process downloads Things; waiting for it\n"


def test_second_process_waits_for_the_first(server: FileServer, tmp_path: Path) -> None:
    server.gate.clear()
    with process(server, tmp_path) as first:
        assert server.asked.wait(30)
        with process(server, tmp_path) as second:
            assert waits(second)
            server.gate.set()
            assert (first.wait(30), second.wait(30)) == (0, 0)
    assert server.requests == [(NAME, None)]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert names(tmp_path) == [NAME]


def test_second_process_goes_on_for_the_first(server: FileServer, tmp_path: Path) -> None:
    """The first process is killed during its download; lock and part do not stop the second."""
    server.gate.clear()
    with process(server, tmp_path) as first:
        assert server.asked.wait(30)
        with process(server, tmp_path) as second:
            assert waits(second)
            first.send_signal(signal.SIGKILL)
            server.gate.set()
            assert second.wait(30) == 0
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_two_threads(server: FileServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    threads = [threading.Thread(target=fetch, args=(server, tmp_path)) for _ in range(2)]
    server.gate.clear()
    for thread in threads:
        thread.start()
    assert server.asked.wait(30)
    server.gate.set()
    for thread in threads:
        thread.join()
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert server.requests == [(NAME, None)]


def archive(files: dict[str, bytes]) -> bytes:
    """A tar.gz of the files, in a folder."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, file in files.items():
            member = tarfile.TarInfo(f"folder/{name}")
            member.size = len(file)
            tar.addfile(member, io.BytesIO(file))
    return content.getvalue()


FILES = {"b": CONTENT[:5000], "a": CONTENT[5000:], "not wanted": b"x"}


def fetch_archive(server: FileServer, folder: Path) -> None:
    sums = {"all.tar.gz": md5(server.files["all.tar.gz"])}
    download("Things", server.address, sums, folder, hint=HINT, contents=["a", "b"])


def test_archive_is_unpacked_and_deleted(server: FileServer, tmp_path: Path) -> None:
    server.files["all.tar.gz"] = archive(FILES)
    fetch_archive(server, tmp_path)
    fetch_archive(server, tmp_path)
    assert names(tmp_path) == ["a", "b"]
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [FILES["a"], FILES["b"]]
    assert server.requests == [("all.tar.gz", None)]


def test_archive_that_was_left_is_unpacked_without_a_download(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["all.tar.gz"] = archive(FILES)
    (tmp_path / "all.tar.gz").write_bytes(archive(FILES))
    fetch_archive(server, tmp_path)
    assert names(tmp_path) == ["a", "b"]
    assert server.requests == []


WHOLE = archive(FILES)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"not an archive",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:1000] + bytes(1000) + WHOLE[2000:],
        archive({"a": b"a"}),
    ],
    # An archive holds the time at which it was made: as an id it would differ between workers.
    ids=["empty", "no archive", "cut", "damaged", "of other files"],
)
def test_damaged_archive_is_deleted_and_comes_anew(
    server: FileServer, tmp_path: Path, damaged: bytes
) -> None:
    server.files["all.tar.gz"] = WHOLE
    (tmp_path / "all.tar.gz").write_bytes(damaged)
    with pytest.raises(ResiduumError, match=r"all\.tar\.gz was damaged and is deleted; try again"):
        fetch_archive(server, tmp_path)
    assert not (tmp_path / "all.tar.gz").exists()
    fetch_archive(server, tmp_path)
    assert names(tmp_path) == ["a", "b"]


def test_archive_that_cannot_be_unpacked_there(server: FileServer, tmp_path: Path) -> None:
    server.files["all.tar.gz"] = WHOLE
    (tmp_path / "a.part").mkdir()
    with pytest.raises(ResiduumError, match=f"cannot be unpacked: Is a directory; {HINT}"):
        fetch_archive(server, tmp_path)
    assert (tmp_path / "all.tar.gz").exists()
