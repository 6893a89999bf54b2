"""``residuum study``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import image_count, positive_number
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    from residuum.sw.study.report import Images, Subject

DESCRIPTION = """\
Measure what the residual potential does: accuracy against tau and T, SRP against plain conversion
at the same total of steps, the unevenness error layer by layer, and the bits that weights,
fractions and potentials need. Writes a page with plots, and build/study/report.json."""
EXAMPLES = """\
examples:
  residuum study                               mnist, fashion and cifar10: docs/study.md; a quarter
                                               of an hour on a core that is free
  residuum study --models mnist --images 500   quicker; the page goes to build/study
  residuum study --images all                  every held-out image
  residuum study --zoo build/zoo --models digits   networks that were just trained

Finished portions are kept in build/study, so an interrupted study goes on where it stopped, and one
with more images computes only what is new.
"""

DEFAULT_MODELS = "mnist,fashion,cifar10"
DEFAULT_IMAGES = 4000
DOCS = Path("docs")


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
        default=DEFAULT_IMAGES,
        metavar="N",
        help='how many held-out images of each model, from the first, or "all" '
        "(default %(default)s)",
    )
    parser.add_argument(
        "--zoo", type=Path, metavar="FOLDER", help="where the networks are (default sw/zoo)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for the page and the plots (default docs for the whole study, build/study if "
        "--models, --images or --zoo is given)",
    )
    parser.add_argument(
        "--threads", type=positive_number, default=1, metavar="N", help="default %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    import torch

    from residuum.hw.isa.config import EngineConfig
    from residuum.sw.files import build_folder, write_json, write_whole
    from residuum.sw.network.library import ZOO
    from residuum.sw.study.page import render
    from residuum.sw.study.plots import draw

    torch.set_num_threads(args.threads)
    subjects = _subjects(args.models, args.zoo or ZOO)
    data = {subject.name: _images(subject, args.images) for subject in subjects}
    report = {
        "command": command_line(args),
        "engine": {"potential_bits": EngineConfig().potential_bits},
        "models": _measured(subjects, data),
    }
    build = build_folder() / "study"
    folder = args.out or (DOCS if command_line(args) == "residuum study" else build)
    write_json(build / "report.json", report)
    write_whole(folder / "study.md", render(report).encode())
    for path in (build / "report.json", folder / "study.md", *draw(report, folder)):
        print(f"written: {path}")
    return 0


def command_line(args: argparse.Namespace) -> str:
    """The command that gives these numbers again."""
    words = ["residuum study"]
    if args.models != DEFAULT_MODELS:
        words.append(f"--models {args.models}")
    if args.images != DEFAULT_IMAGES:
        words.append(f"--images {args.images or 'all'}")
    if args.zoo is not None:
        words.append(f"--zoo {args.zoo}")
    return " ".join(words)


def _subjects(models: str, zoo: Path) -> list["Subject"]:
    """The models that are there; what is missing is said, and is an error only if none is left."""
    from residuum.sw.study.report import load_subject
    from residuum.sw.train.models import MODELS

    names = [name.strip() for name in models.split(",")]
    if len(set(names)) < len(names):
        raise ResiduumError(f"--models names a model twice: {models}")
    subjects = []
    for name in names:
        if name not in MODELS:
            known = ", ".join(MODELS)
            raise ResiduumError(f"there is no model {name!r}; the known ones are {known}")
        try:
            subjects.append(load_subject(name, zoo))
        except FileNotFoundError as error:
            print(f"{name} is left out: {error}")
    if not subjects:
        raise ResiduumError(f"there is nothing to study: no model of {models} has its files")
    return subjects


def _images(subject: "Subject", count: int | None) -> "Images":
    from residuum.sw.data.data_sets import load_held_out
    from residuum.sw.study.report import Images

    images, labels = load_held_out(subject.dataset)
    if count is not None and count > len(labels):
        raise ResiduumError(
            f"{count} images are wanted, but {subject.dataset} has {len(labels)} held-out images"
        )
    return Images(images[:count], labels[:count])


def _measured(subjects: list["Subject"], data: dict[str, "Images"]) -> list[dict[str, Any]]:
    import time

    from rich.console import Console
    from rich.progress import Progress

    from residuum.sw.files import build_folder
    from residuum.sw.study.report import Study

    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        tasks = {}
        for subject in subjects:
            work = Study.work(len(data[subject.name].labels), four=subject.four is not None)
            tasks[subject.name] = progress.add_task(f"study {subject.name}", total=work)
        for subject in subjects:
            task = tasks[subject.name]

            def advance(work: int, task: Any = task) -> None:
                progress.update(task, advance=work)

            start = time.monotonic()
            study = Study(subject, data[subject.name], build_folder() / "study" / "parts", advance)
            results.append(study.run())
            progress.console.print(
                f"{subject.name}: {len(data[subject.name].labels):,} images, "
                f"{time.monotonic() - start:.0f} s"
            )
    return results
