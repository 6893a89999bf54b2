"""``residuum eval``."""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import add_images, add_network, add_stages
from residuum.sw.errors import ResiduumError

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.golden.golden_model import Trace
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Run the integer golden model on the held-out images of the network's data set, print the accuracy
and write it to a JSON file."""
EXAMPLES = """\
examples:
  residuum eval digits                      8-bit weights, tau 4, T 4, all held-out digits
  residuum eval mnist --bits 4              4-bit weights, all 10,000 test images
  residuum eval mnist --tau 0 --T 8         plain conversion without the probe
  residuum eval digits --images 50          the first 50 images only
  residuum eval build/zoo/digits-8bit.npz   a network that was just trained

The MNIST files are taken from the folder in RESIDUUM_DATA, else downloaded once.
"""


@dataclass
class Tally:
    """Counts over the batches of a run.

    Attributes
    ----------
    right, images
        Images classified correctly, and images.
    fired, silenced, neurons
        Per hidden layer: neurons that fired at least once, that were silenced, and all of them,
        summed over the images.
    """

    right: int = 0
    images: int = 0
    fired: dict[int, int] = field(default_factory=dict)
    silenced: dict[int, int] = field(default_factory=dict)
    neurons: dict[int, int] = field(default_factory=dict)

    def add(self, trace: "Trace", labels: "np.ndarray") -> None:
        """Count one batch; ``labels`` are those of its images."""
        self.right += int((trace.prediction == labels).sum())
        self.images += len(labels)
        for index, layer in enumerate(trace.layers):
            fired, silenced = layer.trains.any(axis=1), layer.silenced
            self.fired[index] = self.fired.get(index, 0) + int(fired.sum())
            self.silenced[index] = self.silenced.get(index, 0) + int(silenced.sum())
            self.neurons[index] = self.neurons.get(index, 0) + fired.size

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * self.right / self.images


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_images(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="report (default build/eval/MODEL.json)"
    )


def run(args: argparse.Namespace) -> int:
    from residuum.sw.network.library import is_path, load_network

    network = load_network(args.model, args.bits)
    images, labels = held_out(network, args.model, args.images)
    tally = evaluate(network, images, labels, tau=args.tau, T=args.T)
    print(describe(network, tally, args.tau, args.T))
    name = Path(args.model).stem if is_path(args.model) else args.model
    report = {
        "model": name,
        "bits": network.weight_bits,
        "tau": args.tau,
        "T": args.T,
        "images": tally.images,
        "accuracy": round(tally.accuracy, 4),
    }
    write_report(args.json or Path("build") / "eval" / f"{name}.json", report)
    return 0


def held_out(
    network: "IntegerNetwork", model: str, count: int | None
) -> tuple["np.ndarray", "np.ndarray"]:
    """The first ``count`` (None: all) held-out images and labels of the network's data set.

    Raises ``ResiduumError`` if it names none, or has fewer; ``model`` is what the user calls it.
    """
    from residuum.sw.data.data_sets import load_held_out

    dataset = network.metadata.get("dataset")
    if dataset is None:
        raise ResiduumError(f"{model} does not say which data set it is for")
    images, labels = load_held_out(dataset)
    there = len(labels)
    if count is not None and count > there:
        raise ResiduumError(f"{count} images are wanted, but {dataset} has {there} held-out images")
    return images[:count], labels[:count]


def evaluate(
    network: "IntegerNetwork", images: "np.ndarray", labels: "np.ndarray", *, tau: int, T: int
) -> Tally:
    """Run the golden model over uint8 images (N, C, H, W), with a progress bar."""
    from rich.console import Console
    from rich.progress import track

    from residuum.sw.golden.golden_model import simulate_batches

    tally = Tally()
    batches = track(
        simulate_batches(network, images, tau=tau, T=T),
        description=f"{network.name}, {network.weight_bits} bits",
        total=_batches(network, len(images), tau + T),
        console=Console(stderr=True),
        transient=True,
    )
    for trace in batches:
        first = tally.images
        tally.add(trace, labels[first : first + len(trace.prediction)])
    return tally


def describe(network: "IntegerNetwork", tally: Tally, tau: int, T: int) -> str:
    """What a run showed, for a reader."""
    lines = [
        f"{network.name}: {tally.accuracy:.2f} % of {tally.images} images right "
        f"({network.weight_bits}-bit weights, tau {tau}, T {T})"
    ]
    for index, neurons in tally.neurons.items():
        lines.append(
            f"  {network.layers[index].name}: {100 * tally.fired[index] / neurons:.1f} % of the "
            f"neurons fire, {100 * tally.silenced[index] / neurons:.1f} % are silenced"
        )
    return "\n".join(lines)


def write_report(path: Path, report: dict[str, object]) -> None:
    """Write ``report`` as JSON; ``ResiduumError`` if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n")
    except OSError as error:
        raise ResiduumError(f"{path} cannot be written: {error.strerror}") from None
    print(f"written: {path}")


def _batches(network: "IntegerNetwork", images: int, steps: int) -> int:
    from residuum.sw.golden.golden_model import batch_size

    return -(-images // batch_size(network, steps))
