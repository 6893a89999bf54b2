"""The ladder of an import: what each step from the float model to the integers costs.

Each rung is the network after one more step, run on the same held-out images. Where a rung loses,
the step is repeated for one layer at a time, which names the layers that lose.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from residuum.sw.convert.to_integer import Conversion
from residuum.sw.golden.float_snn import simulate_float
from residuum.sw.golden.golden_model import simulate_batches
from residuum.sw.network.float_network import FloatLayer, FloatNetwork
from residuum.sw.network.forward import Activation, clipped, forward, rounded_to
from residuum.sw.network.integer_network import LARGEST_PIXEL, RADIX, IntegerNetwork
from residuum.sw.progress import SILENT, Reporter, Task
from residuum.sw.threads import no_spinning_threads

# A rung that loses more than this share of the images is looked at layer by layer.
NOTABLE = 0.01
# Images of that look, and layers that are named.
_LOOK = 500
_NAMED = 3
# Trains at a time in the float spiking network.
_FLOAT_BATCH = 50
# Numbers in the largest map of a batch.
_BATCH_NUMBERS = 1 << 23

Predict = Callable[[np.ndarray], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Attributes
    ----------
    name
        What is new in it.
    share
        Share (0..1) of the images that are right; without labels, that agree with the first rung.
    losers
        Layers (name, share of the images lost when only they take the step), the worst first; empty
        if the rung loses no more than `NOTABLE`.
    cure
        What to try if the rung loses too much.
    """

    name: str
    share: float
    losers: tuple[tuple[str, float], ...] = ()
    cure: str = ""


@dataclass(frozen=True)
class Step:
    """A step of the ladder before it is run: its name, the network after it, and the network in
    which only one layer has taken it, by number."""

    name: str
    predict: Predict
    layers: tuple[str, ...] = ()
    only: Callable[[int], Predict] | None = None
    cure: str = ""


def climb(
    steps: Sequence[Step],
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    reporter: Reporter = SILENT,
) -> list[Rung]:
    """Run every step on the images, uint8 (N, C, H, W) or spike trains.

    Without ``labels``, the predictions of the first step take their place.
    """
    rungs: list[Rung] = []
    for number, step in enumerate(steps):
        with reporter.task(step.name, total=len(images), unit="images") as task:
            predictions = _all(step.predict(images), task)
        if labels is None:
            labels = predictions
        share = float((predictions == labels).mean())
        lost = rungs[-1].share - share if rungs else 0.0
        losers: tuple[tuple[str, float], ...] = ()
        if lost > NOTABLE and step.only is not None:
            losers = _losers(steps[number - 1], step, images[:_LOOK], labels[:_LOOK], reporter)
        rungs.append(Rung(step.name, share, losers, step.cure if lost > NOTABLE else ""))
    return rungs


def _losers(
    before: Step, step: Step, images: np.ndarray, labels: np.ndarray, reporter: Reporter
) -> tuple[tuple[str, float], ...]:
    assert step.only is not None
    name = f"{step.name}, layer by layer"
    found = []
    with reporter.task(name, total=len(step.layers), unit="layers") as task:
        right = float((_all(before.predict(images)) == labels).mean())
        for index, layer in enumerate(step.layers):
            share = float((_all(step.only(index)(images)) == labels).mean())
            found.append((layer, right - share))
            task.advance()
    found.sort(key=lambda each: -each[1])
    return tuple((layer, lost) for layer, lost in found[:_NAMED] if lost > 0)


def _all(batches: Iterator[np.ndarray], task: Task | None = None) -> np.ndarray:
    found = []
    for batch in batches:
        found.append(batch)
        if task is not None:
            task.advance(len(batch))
    return np.concatenate(found)


def float_steps(
    folded: FloatNetwork, calibrated: FloatNetwork, conversion: Conversion, *, levels: int
) -> list[Step]:
    """The steps from the folded network to rounded weights.

    ``levels`` is the number of levels above zero of every activation: 2**K - 1 in radix code, T in
    rate code.
    """
    names = tuple(layer.name for layer in folded.layers)
    hidden = names[:-1]
    rounding = rounded_to(levels)
    # QCFS activations are rounded from the start.
    own = clipped if folded.levels is None else rounded_to(folded.levels)
    steps = [Step("folded", ann(folded, own))]
    if folded.pad is not None and conversion.network.pad is not None:
        pixel = tuple(value / LARGEST_PIXEL for value in conversion.network.pad.pixel)
        folded = replace(folded, pad=replace(folded.pad, pixel=pixel))
        calibrated = replace(calibrated, pad=folded.pad)
        steps.append(
            Step(
                "padding pixel rounded",
                ann(folded, own),
                cure="train the network without a mean in the normalisation",
            )
        )
    steps.append(
        Step(
            "activations rounded",
            ann(calibrated, rounding),
            hidden,
            lambda index: ann(_mixed(folded, calibrated, index), _only(index, rounding, own)),
            "more --bits-per-activation, or --fine-tune EPOCHS",
        )
    )
    integers = replace(conversion.rounded, pad=folded.pad)
    steps.append(
        Step(
            "weights rounded",
            ann(integers, rounding),
            names,
            lambda index: ann(_mixed(calibrated, integers, index), rounding),
            "more --bits, or --fine-tune EPOCHS",
        )
    )
    return steps


def integer_step(
    network: IntegerNetwork, *, tau: int, T: int, correction: str | None = None
) -> Step:
    """The last step: the golden model."""
    cure = "more --potential-bits" if network.code == RADIX else "another --tau and --T"

    def predict(images: np.ndarray) -> Iterator[np.ndarray]:
        for trace in simulate_batches(network, images, tau=tau, T=T, correction=correction):
            yield trace.prediction

    return Step("integers", predict, cure=cure)


def spiking_step(network: FloatNetwork, *, tau: int, T: int, correction: str | None = None) -> Step:
    """The float spiking network, for networks that read spikes."""

    def predict(trains: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(trains), _FLOAT_BATCH):
            part = trains[first : first + _FLOAT_BATCH]
            yield simulate_float(network, part, tau=tau, T=T, correction=correction).prediction

    return Step("float spikes", predict)


def ann(network: FloatNetwork, activation: Activation = clipped) -> Predict:
    """Predictions of the float network as an ANN, batch by batch."""
    largest = max(int(np.prod(shape)) for shape in (network.padded_shape, *network.neuron_shapes))
    size = max(_BATCH_NUMBERS // largest, 1)

    def predict(images: np.ndarray) -> Iterator[np.ndarray]:
        for first in range(0, len(images), size):
            x = torch.from_numpy(images[first : first + size]).float() / LARGEST_PIXEL
            with no_spinning_threads(), torch.inference_mode():
                logits = forward(network, x, activation=activation)
            yield logits.argmax(dim=1).numpy()

    return predict


def _mixed(network: FloatNetwork, other: FloatNetwork, index: int) -> FloatNetwork:
    """``network`` with layer ``index`` of ``other``."""
    layers = list(network.layers)
    layers[index] = other.layers[index]
    return replace(network, layers=tuple(layers))


def _only(number: int, activation: Activation, others: Activation) -> Activation:
    """``activation`` in layer ``number``, and ``others`` in the others."""

    def chosen(index: int, layer: FloatLayer, z: Tensor) -> Tensor:
        return (activation if index == number else others)(index, layer, z)

    return chosen
