"""An HTML page about a network and its run: one self-contained file."""

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from residuum.hw.isa.host_map import COUNTER_WORDS, Counter
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import Program
from residuum.sw.data.classes import class_name
from residuum.sw.golden.golden_model import Trace, batch_size, simulate_batches
from residuum.sw.golden.reference import Reference
from residuum.sw.network.bounds import bounds, signed_bits
from residuum.sw.network.corrections import MASK, check_correction, longest_stage
from residuum.sw.network.graph import IMAGE, INPUT, Source, last_readers
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer
from residuum.sw.progress import SILENT, Reporter

# Number of misclassified images shown; largest number of classes with a confusion matrix.
MAX_WRONG = 24
MAX_CLASSES = 20
_FOLDER = Path(__file__).parent
# Height of the feature memory drawing in pixels.
_MEMORY_HEIGHT = 180
# Number of layer colours, used in rotation; the image has another colour.
_LAYER_COLORS = 7


@dataclass
class Activity:
    """Results of the golden model on the images of a run.

    Attributes
    ----------
    fired, silenced, spikes
        Per hidden layer, summed over the images: neurons that fired at least once, silenced
        neurons, and spikes in all steps.
    confusion
        int64 (classes, classes): number of images by label (row) and prediction (column).
    wrong
        Misclassified images: (number, label, prediction, prediction of the reference).
    """

    fired: list[int]
    silenced: list[int]
    spikes: list[int]
    confusion: np.ndarray
    wrong: list[tuple[int, int, int, int]] = field(default_factory=list)
    images: int = 0
    reference_right: int = 0
    agreed: int = 0

    @property
    def right(self) -> int:
        return int(np.trace(self.confusion))


@dataclass(frozen=True)
class Cycles:
    """Counters of an engine per image, float (layers, COUNTER_WORDS), mean over ``images``.

    Attributes
    ----------
    measured
        Whether the simulated engine counted; else the cycle model predicted.
    predicted
        Cycles per image in the cycle model.
    mismatches, first
        If measured: number of values that differ from the golden model, and the first of them.
    """

    counters: np.ndarray
    images: int
    measured: bool
    predicted: float
    mismatches: int = 0
    first: str = ""


def run_golden(
    network: IntegerNetwork,
    reference: Reference,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    reporter: Reporter = SILENT,
) -> Activity:
    """Golden model and reference on uint8 images (N, C, H, W) with labels (N,).

    Raises ``ResiduumError`` as ``simulate`` does.
    """
    hidden = len(network.layers) - 1
    classes = max(network.classes, int(labels.max(initial=0)) + 1)
    found = Activity(
        [0] * hidden, [0] * hidden, [0] * hidden, np.zeros((classes, classes), np.int64)
    )
    expected = reference.batches(images, batch_size(network, tau + T))
    traces = simulate_batches(network, images, tau=tau, T=T, correction=correction)
    name = f"{network.name}, golden model"
    with reporter.task(name, total=len(images), unit="images") as task:
        for trace, theirs in zip(traces, expected, strict=True):
            own = labels[found.images : found.images + len(theirs)]
            _count(found, trace, theirs, own)
            task.advance(len(own))
    return found


def _count(found: Activity, trace: Trace, theirs: np.ndarray, labels: np.ndarray) -> None:
    for index, layer in enumerate(trace.layers):
        found.fired[index] += int(layer.trains.any(axis=1).sum())
        found.silenced[index] += int(layer.silenced.sum())
        found.spikes[index] += int(layer.trains.sum())
    np.add.at(found.confusion, (labels, trace.prediction), 1)
    for place in np.flatnonzero(trace.prediction != labels):
        number = found.images + int(place)
        said = (int(labels[place]), int(trace.prediction[place]), int(theirs[place]))
        found.wrong.append((number, *said))
    found.reference_right += int((theirs == labels).sum())
    found.agreed += int((theirs == trace.prediction).sum())
    found.images += len(labels)


def predict_cycles(
    program: Program,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    reporter: Reporter = SILENT,
) -> Cycles:
    """Mean counters per image in the cycle model."""
    total = np.zeros((len(program.layers), COUNTER_WORDS), np.int64)
    first = 0
    with reporter.task("cycle model", total=len(images), unit="images") as task:
        traces = simulate_batches(program.network, images, tau=tau, T=T, correction=correction)
        for trace in traces:
            for index in range(len(trace.prediction)):
                total += predict(program, images[first + index], trace, index)
                task.advance()
            first += len(trace.prediction)
    mean = total / len(images)
    return Cycles(mean, len(images), False, float(mean[:, Counter.CYCLES].sum()))


# Fields of a bitstream report that the page shows, with their types.
_BITSTREAM = {"board": str, "device": str, "lanes": int, "target_mhz": float, "fmax_mhz": float}
_BITSTREAM |= {"lut": int, "ff": int, "ebr": int}
_TIMING = {"board": str, "lanes": int, "fmax_min_mhz": float, "fmax_median_mhz": float, "lut": int}


def board_reports(build: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All bitstream reports (``build``/BOARD/report.json) and all timing reports.

    Reports that cannot be read, or lack a field that the page shows, are left out.
    """
    try:
        paths = sorted(build.glob("*/report.json"))
    except OSError:
        paths = []
    boards = [report for path in paths if _has(report := _read_json(path), _BITSTREAM)]
    timing = _read_json(build / "timing" / "report.json")
    rows = timing if isinstance(timing, list) else []
    return boards, [row for row in rows if _has(row, _TIMING)]


def _has(report: Any, fields: Mapping[str, type]) -> bool:
    """Whether a report has all fields, each of its type; a whole number may stand for a float."""
    return isinstance(report, dict) and all(
        isinstance(report.get(name), (int, float) if kind is float else kind)
        for name, kind in fields.items()
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def render(
    network: IntegerNetwork,
    *,
    command: str,
    tau: int,
    T: int,
    correction: str | None = None,
    program: Program | None,
    no_program: str = "",
    images: np.ndarray | None = None,
    activity: Activity | None = None,
    reference: Reference | None = None,
    cycles: Cycles | None = None,
    boards: Sequence[dict[str, Any]] = (),
    timing: Sequence[dict[str, Any]] = (),
) -> bytes:
    """The page as UTF-8.

    Parameters
    ----------
    command
        Command line that makes the page again.
    program
        Program for the engine of the page, or None; ``no_program`` then says why.
    images, activity, reference
        Images, results and reference of the run, or None if the network names no known data set.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    correction = check_correction(network, correction, tau)
    layers = _layers(network, tau, T, correction)
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,.0f}"
    environment.filters["one"] = lambda value: f"{value:,.1f}"
    environment.filters["two"] = lambda value: f"{value:,.2f}"
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    page = environment.get_template("page.html.jinja").render(
        network=network,
        command=command,
        tau=tau,
        T=T,
        steps=longest_stage(network.layers[0], correction, tau, T),
        layers=layers,
        stages="radix code"
        if network.code == RADIX
        else f"tau = {tau} probe steps, T = {T} inference steps, correction {correction}",
        masked=correction == MASK,
        medium="numbers" if network.code == RADIX else "spikes",
        radix=network.code == RADIX,
        weights=sum(row["weights"] for row in layers),
        memory=_memory(program) if program else None,
        no_program=no_program,
        config=program.config if program else None,
        activity=activity,
        layer_activity=_layer_activity(network, activity) if activity else [],
        reference=reference,
        confusion=_confusion(network, activity) if activity else None,
        wrong=_wrong(network, activity, images) if activity and images is not None else [],
        cycles=_cycle_rows(network, cycles) if cycles else None,
        run=cycles,
        boards=boards,
        timing=timing,
    )
    return page.encode()


def _layers(network: IntegerNetwork, tau: int, T: int, correction: str) -> list[dict[str, Any]]:
    rows = []
    for index, (layer, shape, written) in enumerate(
        zip(network.layers, network.neuron_shapes, network.shapes, strict=True)
    ):
        limits = bounds(network, layer, longest_stage(layer, correction, tau, T))
        threshold, reads = layer.threshold, layer.sources
        rows.append(
            {
                "name": layer.name,
                "input": _joined(_read(network, index, source) for source in reads),
                "pool": _joined(
                    " × ".join(map(str, source.pool)) if source.pooled else "" for source in reads
                ),
                "kernel": _joined(_kernel(source) for source in reads),
                "stride": _joined(_sizes(source.stride) for source in reads),
                "padding": _joined(_sizes(source.padding) for source in reads),
                "shape": " × ".join(map(str, written)) + _maximum(layer),
                "neurons": int(np.prod(shape)),
                "weights": sum(source.weight.size for source in reads),
                "fraction": layer.fraction_bits,
                "threshold": "" if threshold is None else _span(threshold.min(), threshold.max()),
                "accumulator": signed_bits(int(limits.acc_min.min()), int(limits.acc_max.max())),
                "potential": signed_bits(
                    int(limits.potential_min.min()), int(limits.potential_max.max())
                ),
            }
        )
    return rows


def _joined(cells: Iterable[str]) -> str:
    """The cells of both sources of a layer in one; empty if both are."""
    texts = list(cells)
    return " + ".join(text or "-" for text in texts) if any(texts) else ""


def _read(network: IntegerNetwork, index: int, source: Source) -> str:
    """What a source of layer ``index`` reads."""
    if source.map == INPUT:
        return "pixels" if network.input == IMAGE else "spikes"
    if source.map == index - 1 and len(network.layers[index].sources) == 1:
        return "numbers" if network.code == RADIX else "spikes"
    return network.layers[source.map].name


def _kernel(source: Source) -> str:
    text = " × ".join(map(str, source.kernel))
    if source.dilation != (1, 1):
        text += f" dilated {_sizes(source.dilation)}"
    return text if source.groups == 1 else f"{text} in {source.groups} groups"


def _maximum(layer: Layer) -> str:
    if layer.max_pool is None:
        return ""
    return f" (maximum of {' × '.join(map(str, layer.max_pool.kernel))})"


def _sizes(sizes: tuple[int, ...]) -> str:
    """Equal sizes as one number."""
    return str(sizes[0]) if len(set(sizes)) == 1 else ", ".join(map(str, sizes))


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} .. {high:,}"


def _memory(program: Program) -> dict[str, Any]:
    """Use of the engine's memories, and the rows and layers in which each map is in use."""
    config, plans = program.config, program.layers
    parameters = [plan.groups * (plan.descriptor.last_lane + 1) for plan in plans]
    names = [plan.layer.name for plan in plans]
    used = program.feature_rows
    return {
        "bars": [
            _bar(
                "feature rows, at most in use", ["maps"], [used], config.feature_rows, color="blue"
            ),
            _bar("weight rows", ["weights"], [program.weight_rows], config.weight_rows, "blue"),
            _bar(
                "axis table entries",
                ["tables"],
                [program.table_entries],
                config.table_entries,
                "blue",
            ),
            _bar("parameter rows", names, parameters, config.parameter_rows),
            _bar("layer descriptors", names, [1] * len(plans), config.layers),
        ],
        "maps": _maps(program, used),
        "used_rows": used,
        "height": _MEMORY_HEIGHT,
        "columns": names,
        "feature_rows": config.feature_rows,
    }


def _bar(
    title: str, names: list[str], amounts: list[int], size: int, color: str = ""
) -> dict[str, Any]:
    """A stacked bar: segments with start and width in percent of the memory.

    All segments get ``color``, or, without it, the colours of their layers.
    """
    segments, start = [], 0
    for index, (name, amount) in enumerate(zip(names, amounts, strict=True)):
        segments.append(
            {
                "name": name,
                "amount": amount,
                "color": color or f"s{index % _LAYER_COLORS}",
                "start": 100 * start / size,
                "width": 100 * amount / size,
            }
        )
        start += amount
    return {"title": title, "segments": segments, "used": start, "size": size}


def _maps(program: Program, size: int) -> list[dict[str, Any]]:
    """The maps in the first ``size`` rows of the feature memory, as boxes.

    x is the layer, in percent of the width; y is the row, in pixels.
    """
    layers = program.network.layers
    column, last = 100 / len(layers), last_readers(layers)
    boxes = []
    for number, plan in program.maps.items():
        first = max(number, 0)
        name = "input" if number == INPUT else layers[number].name
        if number == INPUT and program.network.input == IMAGE:
            name = "image"
        boxes.append(
            {
                "name": name,
                "x": column * first,
                "width": column * (last[number] - first + 1),
                "y": _MEMORY_HEIGHT * plan.row / size,
                "height": max(_MEMORY_HEIGHT * plan.rows_taken / size, 2),
                "row": plan.row,
                "rows": plan.rows_taken,
            }
        )
    return boxes


def _layer_activity(network: IntegerNetwork, activity: Activity) -> list[dict[str, Any]]:
    rows = []
    for index, (layer, shape) in enumerate(
        zip(network.layers[:-1], network.shapes[:-1], strict=True)
    ):
        # In radix code, positions of the map behind max-pooling.
        neurons, images = int(np.prod(shape)), max(activity.images, 1)
        rows.append(
            {
                "name": layer.name,
                "neurons": neurons,
                "fired": activity.fired[index] / images / neurons,
                "silenced": activity.silenced[index] / images / neurons,
                "spikes": activity.spikes[index] / images,
            }
        )
    return rows


def _cycle_rows(network: IntegerNetwork, cycles: Cycles) -> list[dict[str, Any]]:
    """Cycles of each layer, split into events, stalls and the rest."""
    largest = max(float(cycles.counters[:, Counter.CYCLES].max()), 1)
    rows = []
    for layer, counters in zip(network.layers, cycles.counters, strict=True):
        total = float(counters[Counter.CYCLES])
        parts = {
            "events": float(counters[Counter.EVENTS]),
            "scan": float(counters[Counter.SCAN_STALLS]),
            "drain": float(counters[Counter.DRAIN_STALLS]),
        }
        parts["rest"] = max(total - sum(parts.values()), 0)
        segments, start = [], 0.0
        for kind, amount in parts.items():
            width = 100 * amount / largest
            segments.append({"kind": kind, "amount": amount, "start": start, "width": width})
            start += width
        rows.append({"name": layer.name, "cycles": total, "segments": segments, **parts})
    return rows


def _confusion(network: IntegerNetwork, activity: Activity) -> list[dict[str, Any]] | None:
    """Rows of the confusion matrix, or None if there are too many classes.

    A row has the name of its class, and cells with a strength 0..1 for the colour.
    """
    table = activity.confusion
    if len(table) > MAX_CLASSES:
        return None
    largest_right = max(int(np.diag(table).max()), 1)
    off = table - np.diag(np.diag(table))
    largest_wrong = max(int(off.max()), 1)
    return [
        {
            "name": _class(network, row),
            "cells": [
                {
                    "count": int(count),
                    "right": row == column,
                    "strength": float(count) / (largest_right if row == column else largest_wrong),
                }
                for column, count in enumerate(line)
            ],
        }
        for row, line in enumerate(table)
    ]


def _class(network: IntegerNetwork, label: int) -> str:
    return class_name(network, label)


def _wrong(network: IntegerNetwork, activity: Activity, images: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "label": _class(network, label),
            "said": _class(network, said),
            "reference": _class(network, theirs),
            "source": picture_uri(images[number]),
        }
        for number, label, said, theirs in activity.wrong[:MAX_WRONG]
    ]


def picture_uri(image: np.ndarray) -> str:
    """An image uint8 (C, H, W), RGB if C = 3, else grey, as a PNG in a ``data:`` URI.

    Spike trains (S, C, H, W) are shown as rates.
    """
    from matplotlib.image import imsave

    if image.ndim == 4:
        image = np.rint(255 * image.mean(axis=0)).astype(np.uint8)
    pixels = image.transpose(1, 2, 0)
    if pixels.shape[2] != 3:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    content = io.BytesIO()
    imsave(content, np.ascontiguousarray(pixels), format="png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
