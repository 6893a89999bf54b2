"""Comparison of a device with the golden model, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np

from residuum.sw.golden.golden_model import simulate
from residuum.sw.host.classifier import Classifier
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.trace.compare import Comparison, compare


def check(classifier: Classifier, images: np.ndarray, *, reporter: Reporter = SILENT) -> Comparison:
    """Compare every spike train, mask, logit and class for uint8 images (N, C, H, W).

    Raises ``ResiduumError`` as `Classifier.classify` does, or if the device gives no answer.
    """
    network, mismatches, first = classifier.program.network, 0, ""
    steps: dict[str, Any] = {name: getattr(classifier, name) for name in ("tau", "T", "correction")}
    name = f"comparing {classifier.device.link.name} with the golden model"
    with reporter.task(name, total=len(images), unit="images") as task:
        for index, image in enumerate(images):
            golden = simulate(network, image[None], **steps)
            found = compare(network, classifier.trace(image), golden, first_image=index)
            mismatches += found.mismatches
            first = first or found.first
            task.advance()
    return Comparison(mismatches, first)
