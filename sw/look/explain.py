"""Which layer of a spiking network loses its accuracy, and why.

Two families of hybrid networks are run. One uses the reference's activations up to layer k, and
feeds them as constant currents to spiking layers. The other uses spikes up to layer k, and feeds
their firing rates to the reference's activations. In a graph, "up to layer k" means the first k
layers of its order, so that later layers may read maps of both kinds. The loss of a layer is the
mean of the two drops in accuracy at this layer:

    loss of k = ((activations up to k) - (activations up to k-1)
                 + (spikes up to k-1) - (spikes up to k)) / 2

These losses add up to the accuracy of the reference minus that of the spiking network.

The cause of a layer's error: the layer gets the reference's input, and one property at a time
(weights, thresholds, ...) is changed from the reference's to the spiking layer's.

In radix code the numbers of the maps take the place of the spikes. They have the levels of the
reference, and no timing, so that only weights, thresholds and biases cause errors.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum.sw.golden.golden_model import (
    LayerTrace,
    Trace,
    batch_size,
    divide,
    integrate_and_fire,
    simulate,
)
from residuum.sw.golden.reference import RateLayer, Reference, from_integers, staircase
from residuum.sw.network.corrections import MASK, check_correction
from residuum.sw.network.forward import convolve, max_pooled
from residuum.sw.network.graph import HALF, IMAGE, INPUT, Source
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer
from residuum.sw.progress import SILENT, Reporter

CAUSES = ("weights", "thresholds", "biases", "levels", "timing")
# Rounding and fine-tuning change a threshold by less than this share of the reference threshold.
_WRONG_RATIO = 0.25
# Integer sums below this limit are exact in float32, for any order of summation.
_SAFE_FLOAT32 = 1 << 21


@dataclass
class LayerFindings:
    """Findings on one layer. Shares and rates are 0..1, accuracies in percent.

    Attributes
    ----------
    activations_until, spikes_until
        Accuracy of the two hybrids that switch after this layer.
    loss
        Points of accuracy that the layer loses.
    rate_error, rate_bias
        Means over neurons and images of |N/T - r| and of N/T - r, where N/T is the firing rate and
        r the activation. None in the output layer.
    saturated, silenced, dead
        Shares of neurons that fire in every inference step (in radix code, that have the largest
        number), that are silenced (both as means over the images), and that fire on no image. In
        radix code ``silenced`` is None.
    errors
        Mean rate error from each of ``CAUSES`` alone. "timing" is measured on the actual spikes
        against a constant current of the same mean, the other causes on the reference's input. In
        the output layer: mean error of the logits / standard deviation of the logits.
    handed_down
        Error that the layer inherits: the same measure for the reference's layer on actual input.
    sqnr_db
        Signal to quantisation noise of the weights; None if the weights agree exactly.
    threshold_ratio
        TH / TH of the reference, median over the channels; None in the output layer.
    smallest_threshold
        Smallest TH of the layer; None in the output layer.
    biases_zero
        All biases of the layer are 0, and those of the reference are not.
    """

    name: str
    neurons: int
    activations_until: float = 0.0
    spikes_until: float = 0.0
    loss: float = 0.0
    rate_error: float | None = None
    rate_bias: float | None = None
    saturated: float | None = None
    silenced: float | None = None
    dead: float | None = None
    errors: dict[str, float] = field(default_factory=dict)
    handed_down: float = 0.0
    sqnr_db: float | None = None
    threshold_ratio: float | None = None
    smallest_threshold: int | None = None
    biases_zero: bool = False

    @property
    def cause(self) -> str:
        """The largest of ``errors``."""
        return max(self.errors, key=lambda name: self.errors[name])

    @property
    def threshold_wrong(self) -> bool:
        """Whether rounding alone cannot explain the error of the thresholds."""
        return self.threshold_ratio is not None and abs(self.threshold_ratio - 1) > _WRONG_RATIO


@dataclass
class Explanation:
    """Findings on a network.

    Attributes
    ----------
    spiking, reference
        Accuracy in percent of the spiking network and of the reference.
    disagreements
        Images that exactly one of the two networks classifies correctly.
    levels, T
        L of the reference, and the inference steps.
    correction
        One of `residuum.sw.network.corrections`.
    code
        "rate" or "radix".
    """

    layers: list[LayerFindings]
    images: int
    spiking: float
    reference: float
    disagreements: int
    source: str
    own: bool
    levels: int
    weight_bits: int
    tau: int
    T: int
    correction: str
    code: str = "rate"

    @property
    def lost(self) -> float:
        """Lost accuracy in percentage points."""
        return self.reference - self.spiking

    @property
    def significant(self) -> bool:
        """Whether the loss exceeds two standard deviations of chance.

        By chance, the number of images lost has the standard deviation sqrt(disagreements).
        """
        return self.lost / 100 * self.images > 2 * self.disagreements**0.5

    @property
    def worst(self) -> LayerFindings:
        """The layer with the largest loss; without a significant loss, the hidden layer with the
        largest of ``errors``."""
        if self.significant:
            return max(self.layers, key=lambda layer: layer.loss)
        return max(self.layers[:-1] or self.layers, key=lambda layer: max(layer.errors.values()))

    def to_json(self) -> dict[str, Any]:
        """All findings as plain values."""
        return {
            **{key: value for key, value in asdict(self).items() if key != "layers"},
            "lost": self.lost,
            "significant": self.significant,
            "worst": self.worst.name,
            "cause": self.worst.cause,
            "layers": [asdict(layer) for layer in self.layers],
        }


@dataclass(frozen=True)
class _Parts:
    """The spiking layer, the reference layer, and the reference layer with one property changed.

    ``gain`` (out,) is the least-squares factor from the reference's e to the layer's e. e / gain
    has only the error of the weights: a wrong threshold is a factor, and so is in the gain.
    """

    actual: RateLayer
    exact: RateLayer
    weights: RateLayer
    biases: RateLayer
    gain: Tensor


def take_apart(actual: RateLayer, exact: RateLayer) -> _Parts:
    """Split the difference of two layers into weights, thresholds (gain) and biases."""
    e, e0 = _weights(actual), _weights(exact)
    if actual.output:  # one scale for all classes
        product, power = (e * e0).sum().expand(len(e)), (e0 * e0).sum().expand(len(e))
    else:
        product, power = (e * e0).sum(dim=1), (e0 * e0).sum(dim=1)
    gain = torch.where(product > 0, product / power.clamp(min=1e-300), torch.ones_like(power))
    sources = tuple(
        replace(source, weight=source.weight / gain.numpy()[:, None, None, None])
        for source in actual.sources
    )
    return _Parts(
        actual,
        exact,
        replace(exact, sources=sources),
        replace(exact, bias=actual.bias / gain),
        gain,
    )


def _weights(layer: RateLayer) -> Tensor:
    """e of all sources, (out, inputs of a window)."""
    rows = [torch.from_numpy(source.weight).flatten(1) for source in layer.sources]
    return torch.cat(rows, dim=1)


def explain(
    network: IntegerNetwork,
    reference: Reference,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    reporter: Reporter = SILENT,
) -> Explanation:
    """Run all hybrids on uint8 images (N, C, H, W) with labels (N,).

    Raises ``ResiduumError`` as ``residuum.sw.golden.golden_model.simulate`` does.
    """
    correction = check_correction(network, correction, tau)
    totals = _Totals(network, reference, tau, T, correction)
    size = batch_size(network, tau + T)
    with reporter.task(f"{network.name}, hybrids", total=len(images), unit="images") as task:
        for first in range(0, len(images), size):
            batch = slice(first, first + size)
            totals.add(images[batch], labels[batch])
            task.advance(len(labels[batch]))
    return totals.explanation()


class _Totals:
    """Sums over the batches."""

    def __init__(
        self, network: IntegerNetwork, reference: Reference, tau: int, T: int, correction: str
    ):
        self.network, self.reference = network, reference
        self.tau, self.T, self.correction = tau, T, correction
        self.steps: dict[str, Any] = {"tau": tau, "T": T, "correction": correction}
        own = from_integers(network, reference.levels, "", own=True)
        self.parts = [take_apart(*pair) for pair in zip(own.layers, reference.layers, strict=True)]
        depth = len(network.layers)
        self.images = self.disagreements = 0
        # Correct images of the hybrids that switch after k layers.
        self.activations = np.zeros(depth + 1, np.int64)
        self.spikes = np.zeros(depth + 1, np.int64)
        self.sums = [dict.fromkeys((*CAUSES, "handed_down"), 0.0) for _ in range(depth)]
        self.rates = [
            dict.fromkeys(("error", "bias", "saturated", "silenced"), 0.0) for _ in range(depth)
        ]
        self.alive = [np.zeros(shape, bool) for shape in network.shapes[:-1]]

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        golden = simulate(self.network, images, **self.steps)
        exact, logits = self.reference.rates(images)
        picture = self.reference.inputs(images)
        actual = [firing_rates(layer) for layer in golden.layers]

        def right(found: Tensor | np.ndarray) -> np.ndarray:
            return np.asarray(found) == labels

        spiking, whole = right(golden.prediction), right(logits.argmax(dim=1))
        self.images += len(labels)
        self.disagreements += int((spiking != whole).sum())
        depth = len(self.network.layers)
        self.activations[0] += spiking.sum()
        self.activations[depth] += whole.sum()
        self.spikes[0] += whole.sum()
        self.spikes[depth] += spiking.sum()
        for k in range(1, depth):
            found = spikes_from(
                self.network, k, images, exact[:k], self.reference.levels, **self.steps
            )
            self.activations[k] += right(found.argmax(dim=1)).sum()
            self.spikes[k] += right(self.reference.logits_from(k, images, actual).argmax(1)).sum()
        right_maps, maps = ({INPUT: picture, **dict(enumerate(m))} for m in (exact, actual))
        with torch.inference_mode():
            for index, layer in enumerate(self.network.layers):
                self._errors(
                    index,
                    [right_maps[source.map] for source in layer.sources],
                    [maps[source.map] for source in layer.sources],
                    maps.get(index),
                )
        self._rates(golden, exact, actual)

    def _errors(
        self, index: int, exact: list[Tensor], actual: list[Tensor], fired: Tensor | None
    ) -> None:
        """Add up the errors of one layer.

        ``exact`` and ``actual`` are its inputs in the reference and in the spiking network;
        ``fired`` are its firing rates, None in the output layer.
        """
        parts, sums = self.parts[index], self.sums[index]
        drive = parts.exact.drive(exact)
        changed = {"weights": parts.weights.drive(exact), "biases": parts.biases.drive(exact)}
        handed = parts.exact.drive(actual)
        if fired is None:
            spread = max(float(drive.std(dim=1).mean()) if drive.shape[1] > 1 else 1.0, 1e-12)
            for cause, z in changed.items():
                sums[cause] += float((z - drive).abs().mean(dim=(1, 2, 3)).sum()) / spread
            sums["handed_down"] += float((handed - drive).abs().mean(dim=(1, 2, 3)).sum()) / spread
            return
        changed["thresholds"] = drive * parts.gain[:, None, None]
        right = parts.exact.activation(drive)
        found = {cause: parts.exact.activation(z) for cause, z in changed.items()}
        found["handed_down"] = parts.exact.activation(handed)
        if self.network.code != RADIX:
            found["levels"] = staircase(drive, self.T, parts.exact.start)
            constant = staircase(parts.actual.drive(actual), self.T, parts.actual.start)
            sums["timing"] += float((fired - constant).abs().mean(dim=(1, 2, 3)).sum())
        for cause, rates in found.items():
            sums[cause] += float((rates - right).abs().mean(dim=(1, 2, 3)).sum())

    def _rates(self, golden: Trace, exact: list[Tensor], actual: list[Tensor]) -> None:
        for index, layer in enumerate(golden.layers):
            difference = actual[index] - exact[index]
            sums = self.rates[index]
            sums["error"] += float(difference.abs().mean(dim=(1, 2, 3)).sum())
            sums["bias"] += float(difference.mean(dim=(1, 2, 3)).sum())
            sums["saturated"] += float((actual[index] == 1).double().mean(dim=(1, 2, 3)).sum())
            sums["silenced"] += float(layer.silenced.mean(axis=(1, 2, 3)).sum())
            self.alive[index] |= layer.trains.any(axis=(0, 1))

    def explanation(self) -> Explanation:
        count = max(self.images, 1)
        activations, spikes = 100 * self.activations / count, 100 * self.spikes / count
        layers = []
        for index, (layer, shape) in enumerate(
            zip(self.network.layers, self.network.shapes, strict=True)
        ):
            steps = activations[index + 1] - activations[index], spikes[index] - spikes[index + 1]
            means = {key: value / count for key, value in self.sums[index].items()}
            found = LayerFindings(
                layer.name,
                int(np.prod(shape)),
                activations_until=float(activations[index + 1]),
                spikes_until=float(spikes[index + 1]),
                loss=float(sum(steps)) / 2,
                handed_down=means.pop("handed_down"),
                errors=means,
            )
            self._describe(index, layer, found)
            if layer.threshold is not None:
                rates = {key: value / count for key, value in self.rates[index].items()}
                found.rate_error, found.rate_bias = rates["error"], rates["bias"]
                found.saturated = rates["saturated"]
                if self.network.code != RADIX:
                    found.silenced = rates["silenced"]
                found.dead = float((~self.alive[index]).mean())
            layers.append(found)
        return Explanation(
            layers,
            self.images,
            spiking=float(spikes[-1]),
            reference=float(spikes[0]),
            disagreements=self.disagreements,
            source=self.reference.source,
            own=self.reference.own,
            levels=self.reference.levels,
            weight_bits=self.network.weight_bits,
            **self.steps,
            code=self.network.code,
        )

    def _describe(self, index: int, layer: Layer, found: LayerFindings) -> None:
        """Compare weights, thresholds and biases with the reference's."""
        parts = self.parts[index]
        weights = _weights(parts.exact)
        noise = float((_weights(parts.weights) - weights).square().sum())
        signal = float(weights.square().sum())
        # Two roundings of the same number in float64 agree to about 300 dB.
        if noise > 1e-24 * signal > 0:
            found.sqnr_db = float(10 * np.log10(signal / noise))
        if layer.threshold is not None:
            found.threshold_ratio = float(1 / parts.gain.median())
            found.smallest_threshold = int(layer.threshold.min())
        # No fault if the reference's biases are so small that they round to 0.
        found.biases_zero = not layer.bias.any() and bool((parts.exact.bias.abs() > 1e-3).any())


def firing_rates(layer: LayerTrace) -> Tensor:
    """The map of a layer in rates 0..1, float64 (N, C, H, W): spikes per inference step, or numbers
    as shares of the largest one."""
    return torch.from_numpy(layer.values / layer.worth.sum())


def spikes_from(
    network: IntegerNetwork,
    index: int,
    images: np.ndarray,
    rates: list[Tensor],
    count: int,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
) -> Tensor:
    """Logits, int64 (N, classes), of spiking layers from ``index`` >= 1 on, fed with activations.

    Parameters
    ----------
    images
        As `simulate` takes them.
    rates
        The maps of the layers before ``index``, (N, C, H, W): whole numbers of ``count`` levels, or
        in radix code of as many levels as the map has. They act as a constant current, as ideally
        even spike trains would.
    """
    correction = check_correction(network, correction, tau)

    def step(number: int, layer: Layer, inputs: list[_Signal]) -> _Signal:
        if number < index:
            levels = count if layer.bits is None else (1 << layer.bits) - 1
            whole = torch.round(rates[number] * levels)[:, None]
            return _Signal(whole, count if layer.bits is None else 1)
        return _spiking(layer, inputs, tau, T, correction)

    picture = torch.from_numpy(np.ascontiguousarray(images))
    if network.input == IMAGE:
        picture = torch.from_numpy(network.with_border(images))[:, None]
    with torch.inference_mode():
        logits: Tensor = network.walk(_Signal(picture, 1), step).values.flatten(1)
        return logits


@dataclass(frozen=True)
class _Signal:
    """A map (N, S', C, H, W) in units of 1/``factor``; S' = 1 if it is the same in all steps."""

    values: Tensor
    factor: int


def _spiking(layer: Layer, inputs: list[_Signal], tau: int, T: int, correction: str) -> _Signal:
    """The map that a layer writes."""
    factor = max(signal.factor for signal in inputs)
    if layer.threshold is None:
        used = [
            replace(s, values=s.values if s.values.shape[1] == 1 else s.values[:, tau:])
            for s in inputs
        ]
        current = _current(layer, used, factor)
        return _Signal(current.sum(dim=1) * (T if current.shape[1] == 1 else 1), 1)
    current = _current(layer, inputs, factor)
    if layer.bits is not None:
        numbers = divide(current[:, 0], layer.threshold, layer.bits)[0]
        pooled = max_pooled(layer.max_pool, numbers.to(torch.float32))
        return _Signal(pooled[:, None], 1)
    # `current` is in units of 1/factor, so the threshold is scaled too.
    threshold = layer.threshold * factor
    start = (threshold >> 1 if layer.start == HALF else 0 * threshold) - int(layer.strict)
    current = current.expand(-1, tau + T, -1, -1, -1)
    return _Signal(integrate_and_fire(current, threshold, tau, start, correction)[0], 1)


def _current(layer: Layer, inputs: list[_Signal], factor: int) -> Tensor:
    """I(t) * factor, int64 (N, S', out, H', W')."""
    current = torch.from_numpy(layer.bias * factor)[:, None, None]
    for source, signal, scale in zip(layer.sources, inputs, layer.factors, strict=True):
        sums = _sums(source, signal.values.flatten(0, 1)).unflatten(0, signal.values.shape[:2])
        current = current + sums * (scale * factor // signal.factor)
    return current


def _sums(source: Source, maps: Tensor) -> Tensor:
    """Weight sums, int64 (M, out, H', W'), of maps (M, C, H, W) of whole numbers."""
    rows = np.abs(source.weight.astype(np.int64)).reshape(source.out_channels, -1)
    reach = int(rows.sum(axis=1).max()) * source.pool_area * max(int(maps.max()), 1)
    dtype = torch.float32 if reach < _SAFE_FLOAT32 else torch.float64
    weight = torch.from_numpy(source.weight.copy()).to(dtype)
    return torch.round(convolve(source, maps.to(dtype), weight, pooling="sum")).to(torch.int64)


def sentences(found: Explanation) -> Iterator[str]:
    """The findings in sentences, most important first."""
    spiking, reference = f"{found.spiking:.2f} %", f"{found.reference:.2f} %"
    how = "numbers in radix code" if found.code == RADIX else "spikes"
    worst = found.worst
    if not found.significant:
        yield (
            f"Nothing is lost beyond chance: {spiking} of {found.images} images are right with "
            f"{how}, {reference} with the activations of {found.source}."
        )
        yield (
            f"The largest error that a layer makes itself is in {worst.name}: "
            f"{_percent(worst.errors[worst.cause])} of the full rate, from its {worst.cause}."
        )
    else:
        yield (
            f"{spiking} of {found.images} images are right with {how}, {reference} with the "
            f"activations of {found.source}: {found.lost:.1f} points are lost."
        )
        yield f"Layer {worst.name} loses {worst.loss:.1f} of them: {_because(worst, found)}"
        yield f"What to do: {_remedy(worst, found)}"
        for other in found.layers:
            if other is not worst and other.loss >= max(0.25 * found.lost, 0.5):
                yield f"Layer {other.name} loses {other.loss:.1f}: {_because(other, found)}"
    for layer in found.layers:
        named = found.significant and layer is worst
        if layer.biases_zero and not (named and layer.cause == "biases"):
            yield f"The biases of {layer.name} are all 0, and those of the reference are not."
        if layer.threshold_wrong and not (named and layer.cause == "thresholds"):
            yield (
                f"The thresholds of {layer.name} are {layer.threshold_ratio:.2f} times those of "
                f"the reference."
            )
    if found.own:
        yield (
            "Activations of the network's own integers share its rounding: errors of weights, "
            "thresholds and biases show only against a float network, or one of more bits "
            "(--against FILE)."
        )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _because(layer: LayerFindings, found: Explanation) -> str:
    """The cause of a layer's error, as the end of a sentence."""
    cause, error = layer.cause, layer.errors[layer.cause]
    unit = "of the spread of the logits" if layer.rate_error is None else "of the full rate"
    size = f"they change its {'output' if layer.rate_error is None else 'rates'} by "
    size += f"{_percent(error)} {unit} on the mean."
    if cause == "weights":
        ratio = "" if layer.sqnr_db is None else f" (signal to noise {layer.sqnr_db:.1f} dB)"
        return f"its weights differ from those of the reference{ratio}; {size}"
    if cause == "biases":
        what = "are all 0" if layer.biases_zero else "differ from those of the reference"
        return f"its biases {what}; {size}"
    if cause == "thresholds" and layer.threshold_ratio is not None:
        if layer.threshold_wrong:
            return (
                f"its thresholds are {layer.threshold_ratio:.2f} times those of the reference; "
                f"{size}"
            )
        return f"its thresholds are coarse, the smallest TH is {layer.smallest_threshold}; {size}"
    if cause == "levels":
        return (
            f"{found.T} inference steps cannot tell the {found.levels} levels of the activation "
            f"apart; its rates change by {_percent(error)} of the full rate on the mean."
        )
    masked = ""
    if found.correction == MASK:
        masked = f" ({_percent(layer.silenced or 0)} of the neurons are silenced)"
    return (
        f"its spikes come unevenly, which changes its rates by {_percent(error)} of the full rate "
        f"on the mean{masked}."
    )


def _remedy(layer: LayerFindings, found: Explanation) -> str:
    """How to reduce a layer's error, as the end of a sentence."""
    if layer.cause == "weights":
        return (
            f"more than {found.weight_bits} weight bits, or fine-tuning with rounded weights; if "
            f"other layers of as many bits are well, look at the weights of {layer.name}."
        )
    if layer.cause == "thresholds":
        if layer.threshold_wrong:
            return (
                f"this is no rounding: see that TH of {layer.name} is made from its own lambda, "
                f"weight scale and input amplitude."
            )
        return f"more fraction bits f for {layer.name}, which make TH larger and so finer."
    if layer.cause == "biases":
        if layer.biases_zero:
            return (
                f"see that the bias of {layer.name}, with what BatchNorm leaves, is converted too."
            )
        return f"more fraction bits f, and see that the bias of {layer.name} has its own units."
    if layer.cause == "levels":
        return f"at least as many steps as levels, --T {found.levels} or a multiple of it."
    more = "a longer probe (--tau) and" if found.tau else "a probe (--tau 4) or"
    return f"{more} more inference steps (--T {2 * found.T}), in which spikes even out."
