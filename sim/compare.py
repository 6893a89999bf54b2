"""Engine against golden model, spike by spike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.driver import EngineTrace
from sw.golden import Trace


@dataclass(frozen=True)
class Comparison:
    """How many values differ, and a sentence on the first of them ('' if none)."""

    mismatches: int
    first: str


def compare(engine: EngineTrace, golden: Trace, image: int, names: list[str]) -> Comparison:
    """Compare all trains, masks, logits and the class of one image.

    `golden` is batched, `image` its index there. The first difference is the first in the order
    layer, step, row, column, channel.
    """
    total, first = 0, ""
    for index, layer in enumerate(golden.layers):
        for what, ours, theirs in (
            ("train", engine.trains[index], layer.trains[image]),
            ("silenced", engine.silenced[index][None], layer.silenced[image][None]),
        ):
            differs = np.argwhere((ours != theirs).transpose(0, 2, 3, 1))
            total += len(differs)
            if len(differs) and not first:
                step, y, x, channel = (int(value) for value in differs[0])
                where = f"layer {names[index]!r}, position ({y}, {x}), channel {channel}"
                if what == "train":
                    where += f", step {step}"
                values = [int(a[step, channel, y, x]) for a in (ours, theirs)]
                first = f"{where}: {what} is {values[0]} in the engine, {values[1]} in the model"
    for index in np.flatnonzero(engine.logits != golden.logits[image]):
        total += 1
        first = first or (
            f"layer {names[-1]!r}, class {index}: logit is {engine.logits[index]} in the engine, "
            f"{golden.logits[image][index]} in the model"
        )
    if engine.prediction != golden.prediction[image]:
        total += 1
        first = first or (
            f"layer {names[-1]!r}: class is {engine.prediction} in the engine, "
            f"{golden.prediction[image]} in the model"
        )
    return Comparison(total, first)
