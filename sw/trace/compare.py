"""Comparison of engine and golden model, spike by spike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from residuum.sw.golden.golden_model import Trace
from residuum.sw.network.integer_network import RATE, IntegerNetwork
from residuum.sw.trace.engine_trace import EngineTrace


@dataclass(frozen=True)
class Comparison:
    """Number of differing values, and a sentence on the first of them ('' if none)."""

    mismatches: int
    first: str


def compare(
    network: IntegerNetwork, engine: EngineTrace, golden: Trace, *, first_image: int = 0
) -> Comparison:
    """Compare all trains, masks, logits and classes.

    The first difference is the first in the order layer, image, step or bit, row, column, channel.
    Image numbers start at ``first_image``.
    """
    total, first = 0, ""

    def note(ours: np.ndarray, theirs: np.ndarray, describe: str) -> None:
        nonlocal total, first
        differs = np.argwhere(ours != theirs)
        total += len(differs)
        if len(differs) and not first:
            place = tuple(int(value) for value in differs[0])
            values = f"is {int(ours[place])} in the engine, {int(theirs[place])} in the model"
            first = f"{describe.format(place[0] + first_image, *place[1:])} {values}"

    slot = "step" if network.code == RATE else "bit"
    for index, layer in enumerate(golden.layers):
        where = f"layer {network.layers[index].name!r}, image {{0}}, "
        note(
            engine.trains[index].transpose(0, 1, 3, 4, 2),
            layer.trains.transpose(0, 1, 3, 4, 2),
            where + f"position ({{2}}, {{3}}), channel {{4}}, {slot} {{1}}: the spike",
        )
        # In radix code nobody is silenced, and the trace of the model is that of the neurons.
        silenced = engine.silenced[index]
        masks = layer.silenced if network.code == RATE else np.zeros_like(silenced)
        note(
            silenced.transpose(0, 2, 3, 1),
            masks.transpose(0, 2, 3, 1),
            where + "position ({1}, {2}), channel {3}: silenced",
        )
    where = f"layer {network.layers[-1].name!r}, image {{0}}"
    note(engine.logits, golden.logits, where + ", class {1}: the logit")
    note(engine.prediction, golden.prediction, where + ": the class")
    return Comparison(total, first)
