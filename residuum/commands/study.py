"""``residuum study``."""

import argparse
from pathlib import Path
from typing import Any

from residuum.commands.arguments import (
    add_allow_modified,
    add_pool,
    image_count,
    pool,
    positive_number,
)
from residuum.sw.errors import ResiduumError

DESCRIPTION = """\
Measure the effect of the residual potential: accuracy against tau and T, SRP against plain
conversion with the same total number of steps, the unevenness error by layer, and the bits needed
by weights, fractions and potentials. Writes a page with plots, and build/study/report.json."""
EXAMPLES = """\
examples:
  residuum study                               mnist, fashion and cifar10: docs/study.md; a quarter
                                               of an hour of one core
  residuum study --models mnist --images 500   quicker; the page goes to build/study
  residuum study --images all                  every held-out image
  residuum study --zoo build/zoo --models digits   newly trained networks

  residuum study --cluster tcp://host:8786     on the workers of a Dask cluster, see docs/cluster.md

Finished portions are kept in build/pieces. An interrupted study resumes from them, and a study with
more images computes only the new portions.
"""

DEFAULT_MODELS = "mnist,fashion,cifar10"
DEFAULT_IMAGES = 4000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models",
        default=DEFAULT_MODELS,
        metavar="NAMES",
        help="separated by commas (default %(default)s)",
    )
    parser.add_argument(
        "--images",
        type=image_count,
        # Without --images, fewer images than the default are allowed; with it, the data set must
        # have as many.
        default=argparse.SUPPRESS,
        metavar="N",
        help='use the first N held-out images of each model, or "all" '
        f"(default {DEFAULT_IMAGES}, or all if there are fewer)",
    )
    parser.add_argument(
        "--zoo", type=Path, metavar="FOLDER", help="folder of the networks (default sw/zoo)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for page and plots (default docs for the whole study; build/study with "
        "--models, --images or --zoo)",
    )
    parser.add_argument(
        "--threads",
        type=positive_number,
        default=1,
        metavar="N",
        help="threads of each portion (default %(default)s)",
    )
    add_pool(parser, what="portions measured in parallel")
    add_allow_modified(parser)


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import say_written, write_report
    from residuum.sw.files import build_folder, write_whole
    from residuum.sw.study.page import render
    from residuum.sw.study.plots import draw

    build = build_folder() / "study"
    folder = args.out or _docs(args) or build
    page = folder / "study.md"
    report = _report(args, page)
    write_report(build / "report.json", report)
    write_whole(page, render(report).encode())
    say_written(page, *draw(report, folder))
    return 0


def _docs(args: argparse.Namespace) -> Path | None:
    """The docs of a checkout, where the page of the whole study goes."""
    from residuum.sw.files import checkout

    folder = checkout()
    return folder / "docs" if folder and command_line(args) == "residuum study" else None


def _report(args: argparse.Namespace, page: Path) -> dict[str, Any]:
    from residuum.commands.console import data_access
    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.data.held_out import held_out
    from residuum.sw.files import require_writable
    from residuum.sw.network.library import ZOO
    from residuum.sw.study.report import Images
    from residuum.sw.study.run import load_subjects, measure

    access = data_access(args)
    names = [name.strip() for name in args.models.split(",")]
    if len(set(names)) < len(names):
        raise ResiduumError(f"--models names a model twice: {args.models}")
    subjects = load_subjects(names, args.zoo or ZOO, access.reporter)
    data = {}
    for subject in subjects:
        count = getattr(args, "images", None)
        images, labels = held_out(subject.eight, subject.name, count, access)
        if "images" not in args:
            images, labels = images[:DEFAULT_IMAGES], labels[:DEFAULT_IMAGES]
        data[subject.name] = Images(images, labels)
    require_writable(page)
    return {
        "command": command_line(args),
        "engine": {"potential_bits": EngineConfig().potential_bits},
        "models": measure(subjects, data, pool(args, threads=args.threads), access.reporter),
    }


def command_line(args: argparse.Namespace) -> str:
    """The command that reproduces these numbers."""
    words = ["residuum study"]
    if args.models != DEFAULT_MODELS:
        words.append(f"--models {args.models}")
    if getattr(args, "images", DEFAULT_IMAGES) != DEFAULT_IMAGES:
        words.append(f"--images {args.images or 'all'}")
    if args.zoo is not None:
        words.append(f"--zoo {args.zoo}")
    return " ".join(words)
