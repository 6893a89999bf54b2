"""Accuracy of the golden model, and activity of its neurons."""

from dataclasses import dataclass, field

import numpy as np

from residuum.sw.golden.golden_model import Trace, simulate_batches
from residuum.sw.network.corrections import MASK, check_correction, describe_run
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.progress import SILENT, Reporter


@dataclass
class Tally:
    """Counts over the batches of a run.

    Attributes
    ----------
    right, images
        Correctly classified images, and all images.
    fired, silenced, neurons
        Per hidden layer, summed over the images: positions of its map that fired at least once (in
        radix code, whose number is not 0), silenced neurons, and all positions.
    """

    right: int = 0
    images: int = 0
    fired: dict[int, int] = field(default_factory=dict)
    silenced: dict[int, int] = field(default_factory=dict)
    neurons: dict[int, int] = field(default_factory=dict)

    def add(self, trace: Trace, labels: np.ndarray) -> None:
        """Count one batch with its labels."""
        self.right += int((trace.prediction == labels).sum())
        self.images += len(labels)
        for index, layer in enumerate(trace.layers):
            fired, silenced = layer.trains.any(axis=1), layer.silenced
            self.fired[index] = self.fired.get(index, 0) + int(fired.sum())
            self.silenced[index] = self.silenced.get(index, 0) + int(silenced.sum())
            self.neurons[index] = self.neurons.get(index, 0) + fired.size

    @property
    def accuracy(self) -> float:
        """Accuracy in percent."""
        return 100 * self.right / self.images


def evaluate(
    network: IntegerNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    reporter: Reporter = SILENT,
) -> Tally:
    """Run the golden model over images, as `simulate` takes them, with int64 labels (N,)."""
    tally = Tally()
    name = f"{network.name}, {network.weight_bits} bits"
    with reporter.task(name, total=len(images), unit="images") as task:
        for trace in simulate_batches(network, images, tau=tau, T=T, correction=correction):
            first, count = tally.images, len(trace.prediction)
            tally.add(trace, labels[first : first + count])
            task.advance(count)
    return tally


def describe(
    network: IntegerNetwork, tally: Tally, tau: int, T: int, correction: str | None = None
) -> str:
    """The results of a run, in a few lines."""
    correction = check_correction(network, correction, tau)
    run = describe_run(network, tau, T, correction)
    lines = [
        f"{network.name}: {tally.accuracy:.2f} % of {tally.images} images right "
        f"({network.weight_bits}-bit weights, {run})"
    ]
    for index, neurons in tally.neurons.items():
        silenced = f", {100 * tally.silenced[index] / neurons:.1f} % are silenced"
        lines.append(
            f"  {network.layers[index].name}: {100 * tally.fired[index] / neurons:.1f} % of the "
            f"neurons fire{silenced if correction == MASK else ''}"
        )
    return "\n".join(lines)
