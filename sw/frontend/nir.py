"""Spiking networks from NIR files.

A NIR file says more than a float network in one respect and less in two:

* An IF neuron fires at v > v_threshold, not at v >= v_threshold: its layer is ``strict``.
* It does not say whether the neuron is then reset to v_reset or lowered by the threshold. The
  engine lowers, so the user must say that this is right: ``reset="subtract"``.
* It does not say where v starts: ``start``, "zero" as most simulators have it, or "half" of the
  threshold, which a network converted from an ANN wants.

The currents of a layer are divided by its thresholds, channel by channel, so that every threshold
is 1 and a spike is worth 1; r is a factor of the currents.

If all weights are integers that an integer network can hold, `import_integer_nir` keeps them as
they are: no scale is looked for and nothing is rounded. `nir_export` writes such files, together
with what NIR cannot say, as metadata of the graph: an exported network comes back as it was.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file
from residuum.sw.frontend.nir_graph import Neurons, NirGraph, read_graph
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.graph import HALF, IMAGE, INPUT, SPIKES, ZERO, Preprocessing, from_entry
from residuum.sw.network.integer_network import (
    LARGEST_PIXEL,
    MAX_FRACTION_BITS,
    MAX_WEIGHT_BITS,
    MIN_WEIGHT_BITS,
    IntegerNetwork,
    Layer,
)

SUBTRACT = "subtract"
StrPath = str | os.PathLike[str]


def import_nir(
    path: StrPath, *, reset: str | None, start: str | None = None, name: str | None = None
) -> FloatNetwork:
    """A NIR file as a float network that reads spikes.

    Parameters
    ----------
    reset
        Must be "subtract".
    start
        "zero" or "half"; None: what the file's metadata says, if Residuum wrote it, else "zero".
    name
        Name of the network; None: the name of the file.

    The metadata has the key "notes" if neurons in front of the output were dropped.

    Raises
    ------
    ResiduumError
        If the file cannot be read, or naming the first node that is not supported.
    """
    path, graph = _read(path, reset, start)
    notes = _layer_notes(path, graph)
    image = graph.notes.get("input") == IMAGE
    layers = tuple(
        _float_layer(neurons, entry, start, image)
        for neurons, entry in zip(graph.neurons, notes, strict=True)
    )
    return FloatNetwork(
        name=name or graph.notes.get("name") or path.stem,
        input_shape=graph.input_shape,
        layers=layers,
        levels=None,
        metadata=_metadata(path, graph),
        **_header(path, graph),
    )


def import_integer_nir(
    path: StrPath, *, reset: str | None, start: str | None = None, name: str | None = None
) -> IntegerNetwork | None:
    """A NIR file whose weights are integers as an integer network in rate code, nothing rounded.

    f of a layer is the smallest that makes its thresholds and biases integers, unless the file's
    metadata has it. None if a weight is no integer of 16 bits, or a threshold or bias is none with
    up to 16 fraction bits. Parameters and errors are those of `import_nir`.
    """
    path, graph = _read(path, reset, start)
    layers = []
    for neurons, entry in zip(graph.neurons, _layer_notes(path, graph), strict=True):
        layer = _integer_layer(neurons, entry, start)
        if layer is None:
            return None
        layers.append(layer)
    weights = [source.weight for layer in layers for source in layer.sources]
    bits = graph.notes.get("weight_bits") or _bits(weights)
    return IntegerNetwork(
        name=name or graph.notes.get("name") or path.stem,
        input_shape=graph.input_shape,
        layers=tuple(layers),
        weight_bits=bits,
        logit_scale=graph.notes.get("logit_scale"),
        metadata=_metadata(path, graph),
        **_header(path, graph),
    )


def _read(path: StrPath, reset: str | None, start: str | None) -> tuple[Path, NirGraph]:
    path = Path(path)
    if reset is None:
        raise ResiduumError(
            f"{path} does not say how its neurons are reset; if a spike lowers the potential by "
            f"the threshold, say so with --reset {SUBTRACT}"
        )
    if reset != SUBTRACT:
        raise ResiduumError(
            f"the engine's neurons cannot be reset by {reset!r}, only by {SUBTRACT!r}ing the "
            "threshold; train the network with that reset"
        )
    if start not in (None, HALF, ZERO):
        raise ResiduumError(f"the start potential must be {HALF!r} or {ZERO!r}, not {start!r}")
    return path, read_graph(path)


def _layer_notes(path: Path, graph: NirGraph) -> list[dict[str, Any]]:
    """What the metadata says of each layer; empty for the files of others."""
    if not graph.notes:
        return [{}] * len(graph.neurons)
    notes = graph.notes["layers"]
    if len(notes) != len(graph.neurons) or not all(isinstance(entry, dict) for entry in notes):
        raise ResiduumError(
            f"{path} was changed after Residuum exported it: its metadata has {len(notes)} layers, "
            f"but its graph {len(graph.neurons)}; export it again, or remove the metadata"
        )
    return notes


def _header(path: Path, graph: NirGraph) -> dict[str, Any]:
    notes = graph.notes
    try:
        preprocessing = notes.get("preprocessing")
        return {
            "input": notes.get("input", SPIKES),
            "class_names": tuple(notes.get("class_names", ())),
            "preprocessing": preprocessing and from_entry(Preprocessing, preprocessing),
        }
    except (TypeError, AttributeError):
        raise ResiduumError(
            f"{path} has damaged metadata of Residuum; export the network again"
        ) from None


def _metadata(path: Path, graph: NirGraph) -> dict[str, str]:
    metadata = {
        **graph.notes.get("metadata", {}),
        "source": path.name,
        "source sha256": digest_of_file(path),
    }
    if graph.dropped:
        metadata["notes"] = (
            f"the neurons {graph.dropped} in front of the output are left out: the logits are the "
            "summed currents"
        )
    return metadata


def _float_layer(
    neurons: Neurons, entry: dict[str, Any], start: str | None, image: bool
) -> FloatLayer:
    gain = _gain(neurons)
    sources = []
    for source in neurons.sources:
        # The hub's float networks average windows, and their pictures enter as u / 255.
        unit = source.pool_area * (LARGEST_PIXEL if image and source.map == INPUT else 1)
        sources.append(replace(source, weight=source.weight * gain[:, None, None, None] * unit))
    return FloatLayer(
        name=entry.get("name", neurons.name),
        sources=tuple(sources),
        bias=neurons.bias * gain,
        threshold=None if neurons.output else 1.0,
        **_start(neurons, entry, start),
    )


def _gain(neurons: Neurons) -> np.ndarray:
    """What the currents of each channel are multiplied by, so that the threshold is 1."""
    if neurons.resistance is None or neurons.threshold is None:
        return np.ones_like(neurons.bias)
    return neurons.resistance / neurons.threshold


def _start(neurons: Neurons, entry: dict[str, Any], start: str | None) -> dict[str, Any]:
    if neurons.output:
        # No neurons: what the hub's default is.
        return {"start": entry.get("start", HALF), "strict": entry.get("strict", False)}
    return {"start": start or entry.get("start", ZERO), "strict": entry.get("strict", True)}


def _integer_layer(neurons: Neurons, entry: dict[str, Any], start: str | None) -> Layer | None:
    """None if a number is not an integer; ``ResiduumError`` if the hub refuses the layer."""
    resistance = neurons.resistance
    # Neurons that are dropped would have turned their currents into multiples of the threshold.
    threshold = neurons.threshold
    if resistance is not None and (resistance != 1).any():
        return None
    if neurons.output and threshold is not None and (threshold != threshold[0]).any():
        return None
    shift = int(entry.get("shift", 0))
    weights = [
        source.weight / (1 << shift if number else 1)
        for number, source in enumerate(neurons.sources)
    ]
    limit = 1 << (MAX_WEIGHT_BITS - 1)
    if not all(_integers(w) and w.min() >= -limit and w.max() < limit for w in weights):
        return None
    firing = None if neurons.output else threshold
    values = [neurons.bias] if firing is None else [neurons.bias, firing]
    fraction = entry.get("fraction_bits", _fraction_bits(values))
    if fraction is None or not all(_integers(value * (1 << fraction)) for value in values):
        return None
    return Layer(
        name=entry.get("name", neurons.name),
        sources=tuple(
            replace(source, weight=weight.astype(np.int32))
            for source, weight in zip(neurons.sources, weights, strict=True)
        ),
        bias=(neurons.bias * (1 << fraction)).astype(np.int64),
        threshold=None if firing is None else (firing * (1 << fraction)).astype(np.int64),
        fraction_bits=fraction,
        shift=shift,
        **_start(neurons, entry, start),
    )


def _integers(values: np.ndarray) -> bool:
    return bool((values == np.round(values)).all())


def _fraction_bits(values: list[np.ndarray]) -> int | None:
    """The smallest f that makes all values integers; None if there is none."""
    for bits in range(MAX_FRACTION_BITS + 1):
        if all(_integers(value * (1 << bits)) for value in values):
            return bits
    return None


def _bits(weights: list[np.ndarray]) -> int:
    """The smallest width that holds all weights."""
    reach = max(max(int(w.max()), -int(w.min()) - 1) for w in weights)
    return max(reach.bit_length() + 1, MIN_WEIGHT_BITS)
