"""``residuum explain``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import (
    add_data,
    add_network,
    add_stages,
    image_count,
    set_stages,
    stages,
)

if TYPE_CHECKING:
    from residuum.sw.look.explain import Explanation
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = """\
Find the layer in which a conversion loses its accuracy, and the cause. Runs hybrids of spikes and
activations on held-out images, and compares rates, weights, thresholds and biases of every layer
with the float QCFS network. Prints tables and a remedy, and writes a JSON file."""
EXAMPLES = """\
examples:
  residuum explain digits                      the committed network with 8-bit weights
  residuum explain mnist --bits 4 --images all on all test images
  residuum explain digits --tau 0 --T 2        the effect of too few steps
  residuum explain my-4bit.npz                 your own network, against my-float.npz in its folder
  residuum explain my.npz --against better.npz against another float or integer network
  residuum explain my.npz --data photos/       on pictures in a folder

Without a float network, the reference is made from the integers themselves. Then errors of spikes
are visible, but not errors of rounding.
"""
DEFAULT_IMAGES = 200
# Images at a time for the predictions of the reference.
BATCH = 100


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_data(parser)
    parser.add_argument(
        "--images",
        type=image_count,
        default=argparse.SUPPRESS,
        metavar="N",
        help=f"use the first N images, or all (default {DEFAULT_IMAGES}, or all if there are "
        "fewer)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="reference: a float network, or an integer network with more bits (default: the float "
        "network in the model's folder, if there is one)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="report (default build/explain/MODEL.json)"
    )


def run(args: argparse.Namespace) -> int:
    import numpy as np
    from rich.console import Console

    from residuum.commands.console import ConsoleReporter, write_report
    from residuum.commands.images import chosen_images
    from residuum.sw.files import build_folder, require_writable
    from residuum.sw.golden.reference import find_reference
    from residuum.sw.look.explain import explain, sentences
    from residuum.sw.network.library import load_network, network_name

    name = network_name(args.model, args.bits)
    network = load_network(args.model, args.bits)
    set_stages(args, network)
    reference = find_reference(network, args.model, against=args.against, T=args.T)
    data = chosen_images(args, network, default=DEFAULT_IMAGES)
    labels = data.labels
    if labels is None:
        print(f"without labels, the predictions of {reference.source} are taken as right")
        labels = np.concatenate(list(reference.batches(data.images, BATCH)))
    path = args.json or build_folder() / "explain" / f"{name}.json"
    require_writable(path)
    found = explain(
        network, reference, data.images, labels, **stages(args), reporter=ConsoleReporter()
    )
    _print(network, found)
    Console().print("\n".join(sentences(found)), markup=False, highlight=False)
    write_report(path, {"model": name, **found.to_json()})
    return 0


def _print(network: "IntegerNetwork", found: "Explanation") -> None:
    """Print two tables: loss of accuracy by layer, and errors of each layer by cause."""
    from rich.text import Text

    from residuum.commands.tables import print_records
    from residuum.sw.look.explain import CAUSES
    from residuum.sw.network.corrections import MASK, describe_run

    def percent(share: float | None, digits: int = 1, sign: str = "") -> str:
        return "" if share is None else f"{100 * share:{sign}.{digits}f}"

    radix = found.code == "radix"
    run = describe_run(network, found.tau, found.T, found.correction)
    print(f"{network.name}, {found.weight_bits}-bit weights, {run}\n")
    spiking = "numbers\nto here" if radix else "SNN to\nhere"
    where: list[dict[str, str | Text]] = [
        {
            "layer": Text(layer.name, "bold" if layer is found.worst else ""),
            "ANN to\nhere": f"{layer.activations_until:.2f}",
            spiking: f"{layer.spikes_until:.2f}",
            "loss": f"{layer.loss:+.2f}",
            "rate\nerror": percent(layer.rate_error),
            "rate\nbias": percent(layer.rate_bias, sign="+"),
            "full\nrate": percent(layer.saturated),
            **({"silenced": percent(layer.silenced)} if found.correction == MASK else {}),
            "dead": percent(layer.dead),
        }
        for layer in found.layers
    ]
    what = "numbers" if radix else "spikes"
    title = f"Accuracy in % with activations, or {what}, up to a layer; neurons in %"
    print_records(where, title=title, numbers=[key for key in where[0] if key != "layer"])
    print()
    why: list[dict[str, str | Text]] = []
    for layer in found.layers:
        hidden = layer.rate_error is not None
        errors = {
            cause: Text(percent(error, 2) if hidden or cause in ("weights", "biases") else "")
            for cause, error in layer.errors.items()
        }
        if layer is found.worst and layer.errors[layer.cause] > 0:
            errors[layer.cause].stylize("bold")
        heads = {
            cause: cause.replace("thresholds", "thres-\nholds")
            for cause in CAUSES
            # In radix code neither levels nor steps differ from the reference.
            if not radix or cause not in ("levels", "timing")
        }
        ratio, least = layer.threshold_ratio, layer.smallest_threshold
        why.append(
            {
                "layer": layer.name if hidden else f"{layer.name}*",
                **{head: errors.get(cause, "") for cause, head in heads.items()},
                "given\ndown": percent(layer.handed_down, 2),
                "SQNR\ndB": "exact" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
                "TH\nratio": "" if ratio is None else f"{ratio:.3f}",
                "least\nTH": "" if least is None else str(least),
            }
        )
    title = "Mean error of the rates by cause, in % of the full rate"
    print_records(why, title=title, numbers=[key for key in why[0] if key != "layer"])
    print("* in % of the spread of the logits\n")
