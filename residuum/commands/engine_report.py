"""Prints the report of images on the simulated engine."""

import sys
from collections.abc import Mapping
from typing import Any

from residuum.commands.tables import print_records

COLUMNS = ("layer", "neurons", "fire", "events", "SOPs", "cycles", "utilisation")


def print_report(report: Mapping[str, Any]) -> int:
    """Print the layers and the sums of a `residuum.sim.bench.measure.report` as a table.

    Returns the exit status, which is 1, with a sentence on stderr, if values differ.
    """
    whole = {key: report[f"{key}_per_image"] for key in ("events", "sops", "cycles")}
    neurons = sum(layer["neurons"] for layer in report["layers"])
    every = {
        "name": "all layers",
        "neurons": neurons,
        "firing": None,
        "utilisation": report["utilisation"],
    }
    print_records(
        [_cells(layer) for layer in (*report["layers"], {**every, **whole})],
        title=f"{report['model']}, per image",
        numbers=COLUMNS[1:],
    )
    print(
        f"{report['images']} images, {report['run']}, {report['lanes']} lanes "
        f"x {report['steps']} steps: {report['mismatches']} mismatches"
    )
    if report["rtl_accuracy"] is not None:
        print(
            f"accuracy {report['rtl_accuracy']:.2f} % on the engine, "
            f"{report['golden_accuracy']:.2f} % in the golden model"
        )
    cycles, predicted = report["cycles_per_image"], report["predicted_cycles_per_image"]
    print(
        f"{cycles:,.1f} cycles per image ({predicted:,.1f} in the cycle model), "
        f"{cycles / max(report['least_cycles_per_image'], 1):.3f} times those of the events alone"
    )
    if not report["mismatches"]:
        return 0
    message = f"{report['mismatches']} values differ; the first: {report['first_mismatch']}"
    print(f"residuum: {message}", file=sys.stderr)
    return 1


def without_labels(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report on images that have no labels, and so no accuracy."""
    return {**report, "rtl_accuracy": None, "golden_accuracy": None}


def _cells(layer: Mapping[str, Any]) -> dict[str, str]:
    firing = layer["firing"]
    cells = (
        layer["name"],
        f"{layer['neurons']:,}",
        "" if firing is None else f"{100 * firing:.1f} %",
        *(f"{layer[key]:,.0f}" for key in ("events", "sops", "cycles")),
        f"{100 * layer['utilisation']:.1f} %",
    )
    return dict(zip(COLUMNS, cells, strict=True))
