"""Comparison of a device with the golden model, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np

from residuum.sw.golden.golden_model import Trace, simulate
from residuum.sw.host.classifier import Classifier
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.trace.compare import Comparison, compare


def check(classifier: Classifier, images: np.ndarray, *, reporter: Reporter = SILENT) -> Comparison:
    """Compare every spike train, mask, logit and class for uint8 images (N, C, H, W); class and
    logits also as `Classifier.classify` gives them.

    Raises ``ResiduumError`` as `Classifier.classify` does, or if the device gives no answer.
    """
    network, mismatches, first = classifier.program.network, 0, ""
    steps: dict[str, Any] = {name: getattr(classifier, name) for name in ("tau", "T", "correction")}
    name = f"comparing {classifier.device.link.name} with the golden model"
    with reporter.task(name, total=len(images), unit="images") as task:
        for index, image in enumerate(images):
            golden = simulate(network, image[None], **steps)
            answer = wrong_answer(classifier, image, golden)
            found = compare(network, classifier.trace(image), golden, first_image=index)
            mismatches += found.mismatches + bool(answer)
            first = first or found.first or (f"image {index}: {answer}" if answer else "")
            task.advance()
    return Comparison(mismatches, first)


def wrong_answer(classifier: Classifier, image: np.ndarray, golden: Trace, index: int = 0) -> str:
    """What differs in the classification of an image from image ``index`` of a golden trace; empty
    if nothing."""
    found = classifier.classify(image)
    if found.prediction != golden.prediction[index]:
        return f"classified as {found.prediction} instead of {golden.prediction[index]}"
    if found.logits is not None and not np.array_equal(found.logits, golden.logits[index]):
        return f"its answer has the logits {found.logits.tolist()}"
    return ""
