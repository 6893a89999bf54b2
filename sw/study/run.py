"""A study of several models: load them, and measure one after another."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residuum.sw.errors import ResiduumError
from residuum.sw.pieces.run import Pool
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.study.report import Images, Study, Subject, load_subject
from residuum.sw.train.models import MODELS


def load_subjects(names: Sequence[str], zoo: Path, reporter: Reporter = SILENT) -> list[Subject]:
    """The models whose files are in the folder ``zoo``; reports those without files.

    Raises ``ResiduumError`` if a name is unknown, a file is damaged, or no model has its files.
    """
    subjects, missing = [], []
    for name in names:
        if name not in MODELS:
            known = ", ".join(MODELS)
            raise ResiduumError(f"there is no model {name!r}; the known ones are {known}")
        try:
            subjects.append(load_subject(name, zoo))
        except FileNotFoundError as error:
            missing.append(f"{name} is left out: {error}")
    if not subjects:
        raise ResiduumError(
            f"there is nothing to study: no model of {','.join(names)} has its files; {missing[0]}"
        )
    for line in missing:
        reporter.say(line)
    return subjects


def measure(
    subjects: Sequence[Subject],
    data: Mapping[str, Images],
    pool: Pool,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """The report of each model; the portions of images are measured where ``pool`` says."""
    results = []
    for subject in subjects:
        images, start = data[subject.name], time.monotonic()
        results.append(Study(subject, images, pool, reporter).run())
        seconds = time.monotonic() - start
        reporter.say(f"{subject.name}: {len(images.labels):,} images, {seconds:.0f} s")
    return results
