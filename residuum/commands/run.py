"""``residuum run``."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from residuum.commands.arguments import add_images_on_device, set_stages

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.host.classifier import Classification

DESCRIPTION = """\
Load a trained network into a device and classify held-out images. Prints the predictions, the
accuracy, and the time of a classification at the clock of the device."""
EXAMPLES = """\
examples:
  residuum run                                       20 digits on the simulated engine
  residuum run --device serial:/dev/ttyUSB0          the same on a board
  residuum run --device serial:/dev/ttyUSB0@115200   at another baud rate
  residuum run --model mnist --images 1000           MNIST, a thousand images
  residuum run --device serial:/dev/ttyUSB0 --loaded with the network already in the board
  residuum run --device sim:lanes=32                 a simulated engine with 32 lanes

A board needs a bitstream first (`make bitstream`, `make program`); `residuum info` shows whether it
answers. `residuum serve` offers the simulated engine on a serial port.
"""

# Longer runs print only the wrong predictions.
SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    add_images_on_device(parser, images=20)


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, data_access
    from residuum.commands.devices import describe_device, open_device, prepare
    from residuum.sw.data.held_out import held_out
    from residuum.sw.network.library import load_network

    reporter = ConsoleReporter()
    network = load_network(args.model, args.bits)
    set_stages(args, network)
    images, labels = held_out(network, args.model, args.images, data_access(args))
    with open_device(args.device, reporter, network=network, steps=args.tau + args.T) as device:
        classifier = prepare(device, network, args, reporter)
        results = []
        start = time.monotonic()
        with reporter.task(
            f"classifying on {device.link.name}", total=len(images), unit="images"
        ) as task:
            for image in images:
                results.append(classifier.classify(image))
                task.advance()
        seconds = time.monotonic() - start
        print(describe_device(device))
        _print_predictions(results, labels, network.metadata.get("dataset"))
        right = sum(
            result.prediction == label for result, label in zip(results, labels, strict=True)
        )
        cycles = sum(result.cycles for result in results) / len(results)
        print(
            f"{network.name}: {right} of {len(results)} images right "
            f"({100 * right / len(results):.2f} %), {network.weight_bits}-bit weights, "
            f"tau {args.tau}, T {args.T}"
        )
        print(
            f"{cycles:,.1f} cycles per image: {1e6 * cycles / device.identity.clock_hz:.1f} us at "
            f"the clock of the device; with the link {1e3 * seconds / len(results):.1f} ms"
        )
        if device.retries:
            print(f"{device.retries} requests had to be sent again; check the cable")
    return 0


def _print_predictions(
    results: list[Classification], labels: np.ndarray, dataset: str | None
) -> None:
    from residuum.commands.tables import print_records
    from residuum.sw.data.classes import class_name

    short = len(results) <= SHOWN
    rows = [
        {
            "image": str(index),
            "label": class_name(dataset, int(label)),
            "prediction": class_name(dataset, result.prediction),
            "cycles": f"{result.cycles:,}",
            "": "" if result.prediction == label else "wrong",
        }
        for index, (label, result) in enumerate(zip(labels, results, strict=True))
        if short or result.prediction != label
    ]
    if rows:
        title = "predictions" if short else "wrong predictions"
        print_records(rows, title=title, numbers=("image", "label", "prediction", "cycles"))
