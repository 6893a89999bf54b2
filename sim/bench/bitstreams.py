"""Bitstreams whose memory contents were replaced, beside full builds: seconds, and equality."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from residuum.boards.board import Board
from residuum.boards.build import toolchain
from residuum.boards.build.bitstream import prepare
from residuum.boards.build.flow import make_layout
from residuum.boards.build.layout import Build, layout_file
from residuum.boards.build.placed import network_digest
from residuum.boards.build.published import BITSTREAM
from residuum.boards.catalogue import find
from residuum.sw.errors import ResiduumError
from residuum.sw.files import BUILD_VARIABLE, build_folder, digest_of_file
from residuum.sw.pieces.run import Piece, Pool, run
from residuum.sw.progress import SILENT, Reporter, reporter_here

BOARDS = ("ulx3s-12f", "icesugar-pro")
NETWORKS = ("digits", "mnist", "mnist-radix")
# What a replacement may take, process start included, on an idle machine.
ALLOWED_SECONDS = 20

Json = dict[str, Any]


def measure(
    boards: Iterable[str], networks: Iterable[str], *, tries: int, reporter: Reporter = SILENT
) -> list[Json]:
    """One row for each board and network.

    Layouts and full builds are kept, with the seconds that they took; replacements are made each
    time, by the command ``residuum bitstream`` in a process of its own.
    """
    rows, networks = [], list(networks)
    for board in map(find, boards):
        folder = build_folder() / "bench" / "bitstreams"
        order, design = prepare(board, tries=tries)
        layout = make_layout(order, design, folder / board.name, reporter)
        pieces = [
            Piece(
                whole_build,
                {
                    "board": board.name,
                    "model": name,
                    "seed": layout["seed"],
                    "network": network_digest(model=name),
                },
                f"{board.name}: full build with {name}",
            )
            for name in networks
        ]
        pool = Pool(1, in_threads=True)
        wholes = run(pieces, pool, title="full builds", unit="builds", reporter=reporter)
        for name, whole in zip(networks, wholes, strict=True):
            with reporter.task(f"{board.name}: replacement by {name}"):
                seconds, digest = replaced(board, name, layout["seed"])
            rows.append(
                {
                    "board": board.name,
                    "preset": layout["preset"],
                    "network": name,
                    "layout_seconds": layout["layout_seconds"],
                    "full_seconds": whole["seconds"],
                    "replaced_seconds": seconds,
                    "equal": digest == whole["sha256"],
                }
            )
    return rows


def whole_build(board: str, model: str, seed: int, network: str) -> Json:
    """Build a bitstream with nothing replaced: its SHA-256, and the seconds that it took.

    ``network`` is the digest of the network's files (`network_digest`).
    """
    if network != network_digest(model=model):
        raise ResiduumError(f"the network {model} on this machine is another one")
    folder = build_folder() / "bench" / "bitstreams" / f"{board}-{model}"
    reporter, started = reporter_here(), time.monotonic()
    order, design = prepare(find(board), model=model, seed=seed)
    with toolchain.alone_in(folder, reporter):
        build = Build(order.board, folder, reporter)
        build.synthesise(design.whole())
        build.place(seed, order.target_mhz)
        digest = digest_of_file(build.pack(layout_file(seed)))
    return {"seconds": round(time.monotonic() - started, 1), "sha256": digest}


def replaced(board: Board, model: str, seed: int) -> tuple[float, str]:
    """Seconds of the command that builds a bitstream with a kept layout, and its SHA-256."""
    folder = build_folder() / "bench" / "bitstreams" / "replaced"
    command = [sys.executable, "-m", "residuum", "bitstream", board.name, "--model", model]
    started = time.monotonic()
    ended = subprocess.run(
        [*command, "--seed", str(seed), "--tries", "1"],
        env={**os.environ, BUILD_VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        lines = ended.stderr.splitlines() or ["no message"]
        raise ResiduumError(lines[-1].removeprefix("residuum: "))
    content = (folder / board.name / BITSTREAM).read_bytes()
    return round(time.monotonic() - started, 1), hashlib.sha256(content).hexdigest()


def complaints(rows: Iterable[Json]) -> list[str]:
    """What is not as it must be, in sentences."""
    found = []
    for row in rows:
        name = f"{row['network']} on {row['board']}"
        if not row["equal"]:
            found.append(f"the bitstream with {name} is not the one of a full build")
        if row["replaced_seconds"] > ALLOWED_SECONDS:
            found.append(
                f"the bitstream with {name} took {row['replaced_seconds']} s, "
                f"{ALLOWED_SECONDS} allowed"
            )
    return found
