"""The best split of a total number of steps into tau (probe) and T (inference)."""

from typing import Any

import numpy as np

from residuum.sw.network.corrections import MASK, check_correction
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter
from residuum.sw.study.measure import right_images
from residuum.sw.study.report import PORTION, paired_difference

# Standard errors from which a paired difference counts as clear.
CLEAR = 3


def divisions(
    network: IntegerNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    correction: str = MASK,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Accuracy of tau = 0 .. steps-1 with T = steps - tau, on uint8 images (N, C, H, W).

    Each row has ``tau``, ``T``, ``accuracy``, and ``difference`` and ``error`` against plain
    conversion with the same total; the last three in percent. ``correction`` is that of the runs
    with tau > 0.

    Raises ``ResiduumError`` if the network has no such correction.
    """
    check_correction(network, correction, 1)
    stages = {tau: steps - tau for tau in range(1, steps)}
    parts = []
    with reporter.task(f"{network.name}, {steps} steps", total=len(labels), unit="images") as task:
        for first in range(0, len(labels), PORTION):
            place = slice(first, first + PORTION)
            parts.append(
                right_images(
                    network,
                    images[place],
                    labels[place],
                    plain_steps=steps,
                    stages=stages,
                    correction=correction,
                )
            )
            task.advance(len(labels[place]))
    rows = []
    plain = np.concatenate([part["plain"][-1] for part in parts])
    for tau in range(steps):
        right = plain if tau == 0 else np.concatenate([part[f"srp_{tau}"][-1] for part in parts])
        difference, error = paired_difference(right, plain)
        rows.append(
            {
                "tau": tau,
                "T": steps - tau,
                "accuracy": 100 * float(right.mean()),
                "difference": difference,
                "error": error,
            }
        )
    return rows


def best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row with the largest accuracy; among equal rows, the shortest probe."""
    return max(rows, key=lambda row: (row["accuracy"], -row["tau"]))


def advice(rows: list[dict[str, Any]]) -> str:
    """Sentence: whether the best split is clearly better than no probe, and equally good splits."""
    chosen = best(rows)
    equal = [row for row in rows if row["accuracy"] == chosen["accuracy"] and row is not chosen]
    if equal:
        others = ", ".join(f"tau {row['tau']} with T {row['T']}" for row in equal)
        return f"equally good: {others}; of equal ones the shortest probe is taken"
    if chosen["tau"] == 0:
        return "no probe does better than plain conversion here"
    if chosen["difference"] > CLEAR * chosen["error"]:
        return f"its gain over plain conversion is clear (more than {CLEAR} standard errors)"
    return (
        "its gain over plain conversion may be chance; plain conversion (tau 0) is as good a choice"
    )
