"""Files of both kinds of network: atomic writing; errors for damaged and foreign files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from residuum.sw.errors import ResiduumError
from residuum.sw.files import read_archive, write_json, write_whole
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import IntegerNetwork
from tests.sw.networks import random_float_network, random_network

KINDS: list[tuple[Callable[[int], Any], type]] = [
    (random_network, IntegerNetwork),
    (random_float_network, FloatNetwork),
]
both = pytest.mark.parametrize(("make", "kind"), KINDS, ids=["integer", "float"])


@both
def test_same_network_gives_same_bytes(make: Callable, kind: type, tmp_path: Path) -> None:
    """Equal bytes let a retrained network be compared with the committed one."""
    for name in ("a.npz", "b.npz"):
        make(2).save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


@both
def test_damage_is_found_or_harmless(make: Callable, kind: type, tmp_path: Path) -> None:
    """Change every third byte, and truncate to every third length: gives an error sentence, or the
    same network."""
    path, again = tmp_path / "damaged.npz", tmp_path / "again.npz"
    make(2).save(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        for damaged in (
            whole[:position],
            whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :],
        ):
            path.write_bytes(damaged)
            try:
                loaded = kind.load(path)
            except ResiduumError as error:
                assert "damaged.npz" in str(error)  # noqa: PT017
            else:
                loaded.save(again)
                assert again.read_bytes() == whole


@both
def test_foreign_files_get_a_sentence(make: Callable, kind: type, tmp_path: Path) -> None:
    with pytest.raises(ResiduumError, match=r"there is no file .*none\.npz"):
        kind.load(tmp_path / "none.npz")
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("weights")
    np.savez(tmp_path / "other.npz", weight_0=np.zeros(3))
    np.savez(tmp_path / "pickle.npz", header=np.array([{}], dtype=object))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, header in (("format", {"format": "something else", "version": 1}), ("list", [1, 2])):
        np.savez(tmp_path / f"{name}.npz", header=np.array(json.dumps(header)))
    next(other for other, its in KINDS if its is not kind)(1).save(tmp_path / "twin.npz")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            ResiduumError, match=f"{path.name} is not a .*network.*, or it is damaged"
        ):
            kind.load(path)


@both
def test_folders_and_unreadable_files_get_a_sentence(
    make: Callable, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ResiduumError, match=f"{tmp_path.name} is a folder, not a .*network"):
        kind.load(tmp_path)
    with pytest.raises(ResiduumError, match=r"a\.npz cannot be read: File name too long$"):
        kind.load(tmp_path / f"{'a' * 300}.npz")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    make(1).save(tmp_path / "secret.npz")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ResiduumError, match=r"secret\.npz cannot be read: Permission denied$"):
        kind.load(tmp_path / "secret.npz")


@both
def test_later_version_is_named(make: Callable, kind: type, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    make(1).save(path)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(str(arrays.pop("header"))) | {"version": 3}
    np.savez(path, header=np.array(json.dumps(header)), **arrays)
    with pytest.raises(ResiduumError, match=r"has format version 3, but this program reads"):
        kind.load(path)


@both
def test_unwritable_place_gets_a_sentence(make: Callable, kind: type, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResiduumError, match=r"file/net\.npz cannot be written: "):
        make(1).save(tmp_path / "file" / "net.npz")


def test_archive_of_another_format_is_foreign(tmp_path: Path) -> None:
    path = tmp_path / "notes.npz"
    np.savez(path, header=np.array(json.dumps({"format": "notes", "pages": 3})), text=np.arange(3))
    header, arrays = read_archive(path, "notes", what="a notebook")
    assert header["pages"] == 3
    assert arrays["text"].tolist() == [0, 1, 2]
    with pytest.raises(ResiduumError, match="is not a sketchbook, or it is damaged"):
        read_archive(path, "sketches", what="a sketchbook")


def test_what_was_there_stays_until_the_new_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fills up during the write, only the old report remains."""
    path = tmp_path / "below" / "report.json"
    write_json(path, {"answer": 1})
    old = path.read_bytes()
    assert json.loads(old) == {"answer": 1}

    def full(part: Path, content: bytes) -> int:
        with part.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResiduumError, match=r"report\.json cannot be written: No space left"):
        write_whole(path, b"new")
    assert path.read_bytes() == old
    assert [each.name for each in path.parent.iterdir()] == ["report.json"]


def test_an_interruption_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(part: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "report", b"new")
    assert list(tmp_path.iterdir()) == []


def test_folder_in_the_place_of_a_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ResiduumError, match="cannot be written: it is a folder"):
        write_whole(tmp_path, b"new")


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"content"


def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()
