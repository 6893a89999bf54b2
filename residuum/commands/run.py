"""``residuum run``."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.commands.arguments import (
    GOLDEN,
    add_batch,
    add_images_on_device,
    set_stages,
    stages,
)

if TYPE_CHECKING:
    import numpy as np

    from residuum.sw.data.images import Images
    from residuum.sw.network.integer_network import IntegerNetwork
    from residuum.sw.progress import Reporter

DESCRIPTION = """\
Load a trained network into a device and classify picture files, or held-out images. For pictures,
prints the five best classes of each; for images with labels, the predictions and the accuracy; and
the time of a classification at the clock of the device; images per second end to end, and where
the time goes: bytes to the device, engine, bytes from it, work of the host."""
EXAMPLES = """\
examples:
  residuum run                                       20 digits on the simulated engine
  residuum run --device serial:/dev/ttyUSB0          the same on a board
  residuum run --device serial:/dev/ttyUSB0@115200   at another baud rate
  residuum run --model mnist --images 1000           MNIST, a thousand images
  residuum run --device serial:/dev/ttyUSB0 --loaded with the network already in the board
  residuum run --device sim:lanes=32                 a simulated engine with 32 lanes
  residuum run --device sim:baud=3000000,latency=16  behind a serial port as slow as a board's
  residuum run --model cifar10 cat.jpg dog.png       the classes of two pictures
  residuum run --model my.npz cat.jpg --device golden:   on the golden model, without an engine
  residuum run --model my.npz --data photos/         the held-out pictures of a folder

A board needs a bitstream first (`make bitstream`, `make program`); `residuum info` shows whether it
answers. `residuum serve` offers the simulated engine on a serial port.
"""

IMAGES = 20
# Longer runs print only the wrong predictions.
SHOWN = 20
BEST = 5


@dataclass(frozen=True)
class Answer:
    """The class of an image; its logits, int64 (classes,), if they were read; cycles of the run."""

    prediction: int
    logits: np.ndarray | None
    cycles: int | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pictures",
        nargs="*",
        metavar="PICTURE",
        help="files to classify, in any format and size, instead of --data",
    )
    add_images_on_device(parser, images=IMAGES, golden=True)
    add_batch(parser)
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write the classes of every image, with the best five, to a file",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, write_report
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import require_writable
    from residuum.sw.network.corrections import describe_run
    from residuum.sw.network.library import load_network, network_name

    reporter = ConsoleReporter()
    network = load_network(args.model, args.bits)
    set_stages(args, network, engine=args.device != GOLDEN)
    data = _images(args, network)
    if args.json is not None:
        require_writable(args.json)
    # Logits may cost a request of their own for each image.
    scores = data.labels is None or args.json is not None
    if args.device == GOLDEN:
        if args.batch != 1:
            raise ResiduumError(f"--batch is for a device, and {GOLDEN} is none")
        answers, lines = _on_golden_model(args, network, data, reporter)
    else:
        answers, lines = _on_device(args, network, data, reporter, scores=scores)
    entries = list(_entries(args, answers, network, data)) if scores else []
    print(lines[0])
    if data.labels is None:
        _print_best(entries, network)
    else:
        _print_predictions(answers, data)
        right = sum(
            answer.prediction == label for answer, label in zip(answers, data.labels, strict=True)
        )
        print(
            f"{network.name}: {right} of {len(answers)} images right "
            f"({100 * right / len(answers):.2f} %), {network.weight_bits}-bit weights, "
            f"{describe_run(network, **stages(args))}"
        )
    for line in lines[1:]:
        print(line)
    if args.json is not None:
        report = {
            "model": network_name(args.model, args.bits),
            "device": args.device,
            **stages(args),
            "images": entries,
        }
        write_report(args.json, report)
    return 0


def _images(args: argparse.Namespace, network: IntegerNetwork) -> Images:
    from residuum.commands.console import data_access
    from residuum.commands.images import chosen_images
    from residuum.sw.data.images import load_files
    from residuum.sw.errors import ResiduumError
    from residuum.sw.network.library import zoo_names

    if not args.pictures:
        return chosen_images(args, network, default=IMAGES)
    if args.data is not None or "images" in args:
        raise ResiduumError("give picture files, or --data and --images, but not both")
    for name in args.pictures:
        if name in zoo_names() or name.endswith(".npz"):
            raise ResiduumError(f"{name} is no picture; name a network with --model {name}")
        if Path(name).is_dir():
            raise ResiduumError(f"{name} is a folder; give it with --data {name}")
    return load_files(args.pictures, network, data_access(args))


def _on_golden_model(
    args: argparse.Namespace, network: IntegerNetwork, data: Images, reporter: Reporter
) -> tuple[list[Answer], list[str]]:
    """Answers, and what to print about the run."""
    from residuum.sw.errors import ResiduumError
    from residuum.sw.golden.golden_model import simulate_batches

    if args.loaded:
        raise ResiduumError(f"--loaded is for a device, and {GOLDEN} is none")
    answers: list[Answer] = []
    traces = simulate_batches(network, data.images, **stages(args), keep_layers=False)
    with reporter.task("classifying", total=len(data), unit="images") as task:
        for trace in traces:
            found = zip(trace.prediction, trace.logits, strict=True)
            answers += [Answer(int(prediction), logits) for prediction, logits in found]
            task.advance(len(trace.prediction))
    return answers, ["golden model, no engine"]


def _on_device(
    args: argparse.Namespace,
    network: IntegerNetwork,
    data: Images,
    reporter: Reporter,
    *,
    scores: bool,
) -> tuple[list[Answer], list[str]]:
    """As `_on_golden_model`, with the logits only if ``scores``."""
    from residuum.commands.devices import describe_device, open_device, prepare
    from residuum.sw.compiler.runnable import not_runnable
    from residuum.sw.errors import ResiduumError
    from residuum.sw.host.links import latency_note
    from residuum.sw.host.stopwatch import Stopwatch

    if refused := not_runnable(network):
        raise ResiduumError(f"{refused[0]}; --device {GOLDEN} classifies without an engine")
    answers: list[Answer] = []
    with open_device(args.device, reporter, network=network, steps=args.tau + args.T) as device:
        classifier = prepare(device, network, args, reporter)
        watch = Stopwatch(device)
        with reporter.task(
            f"classifying on {device.link.name}", total=len(data), unit="images"
        ) as task:
            for found in classifier.classify_all(data.images, logits=scores):
                answers.append(Answer(found.prediction, found.logits, found.cycles))
                task.advance()
        cycles = sum(answer.cycles or 0 for answer in answers)
        spent = watch.stop(images=len(answers), cycles=cycles)
        each = cycles / len(answers)
        lines = [
            describe_device(device),
            f"{each:,.1f} cycles per image: {1e6 * each / device.identity.clock_hz:.1f} us at the "
            f"clock of the device",
            spent.sentence,
        ]
        if note := latency_note(device.link):
            lines.append(note)
        if device.retries:
            lines.append(f"{device.retries} requests had to be sent again; check the cable")
    return answers, lines


def _print_predictions(answers: Sequence[Answer], data: Images) -> None:
    from residuum.commands.tables import print_records

    assert data.labels is not None
    short = len(answers) <= SHOWN
    rows = [
        {
            "image": name,
            "label": data.class_name(int(label)),
            "prediction": data.class_name(answer.prediction),
            **({} if answer.cycles is None else {"cycles": f"{answer.cycles:,}"}),
            "": "" if answer.prediction == label else "wrong",
        }
        for name, label, answer in zip(data.names, data.labels, answers, strict=True)
        if short or answer.prediction != label
    ]
    if rows:
        title = "predictions" if short else "wrong predictions"
        print_records(rows, title=title, numbers=("image", "label", "prediction", "cycles"))


def _print_best(entries: Sequence[dict[str, Any]], network: IntegerNetwork) -> None:
    """The best classes of each image; of many images, the best class."""
    from residuum.commands.tables import print_records

    count = BEST if len(entries) <= SHOWN else 1
    kind = "confidence" if "confidence" in entries[0]["best"][0] else "logit"

    def cell(best: dict[str, Any]) -> str:
        return f"{best[kind]:,}" if kind == "logit" else f"{100 * best[kind]:.1f} %"

    print_records(
        [
            {
                "image": entry["image"],
                "class": "\n".join(best["class"] for best in entry["best"][:count]),
                kind: "\n".join(cell(best) for best in entry["best"][:count]),
            }
            for entry in entries
        ],
        title=f"{network.name}, {network.weight_bits}-bit weights",
        numbers=(kind,),
    )


def _entries(
    args: argparse.Namespace, answers: Sequence[Answer], network: IntegerNetwork, data: Images
) -> Iterator[dict[str, Any]]:
    """The answers, whose logits were read, as JSON values."""
    import numpy as np

    from residuum.sw.errors import ResiduumError
    from residuum.sw.golden.confidence import best_classes, confidences, logit_scale
    from residuum.sw.golden.reference import find_reference

    reference = None
    # A float network of other layers may lie in the folder; it is not needed.
    with contextlib.suppress(ResiduumError):
        reference = find_reference(network, args.model, against=None, T=args.T)
    scale = logit_scale(network, reference)
    logits = np.array([answer.logits for answer in answers])
    sure = None if scale is None else confidences(logits, scale, args.T)
    for index, answer in enumerate(answers):
        entry: dict[str, Any] = {
            "image": data.names[index],
            "prediction": answer.prediction,
            "class": data.class_name(answer.prediction),
            "best": [],
        }
        for label in best_classes(logits[index], BEST):
            best = {"class": data.class_name(label), "label": label}
            best["logit"] = int(logits[index, label])
            if sure is not None:
                best["confidence"] = round(float(sure[index, label]), 6)
            entry["best"].append(best)
        if data.labels is not None:
            entry["label"] = int(data.labels[index])
        yield entry
