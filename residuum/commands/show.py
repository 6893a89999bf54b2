"""``residuum show``."""

import argparse
from pathlib import Path

from residuum.commands.arguments import (
    add_data,
    add_network,
    add_stages,
    set_stages,
    stages,
    whole_number,
)

DESCRIPTION = """\
Draw one held-out image on its way through a network, in one picture: spikes of every layer in probe
and inference, residual potentials and silenced neurons, firing rates and activations of the ANN,
logits and class. The integer golden model computes them."""
EXAMPLES = """\
examples:
  residuum show digits --image 3                the fourth held-out digit
  residuum show mnist --image 115 --bits 4      4-bit weights
  residuum show digits --image 3 --tau 0 --T 8  plain conversion without the probe
  residuum show my.npz --image 0 --out my.svg   your own network, as a vector drawing
  residuum show my.npz --data my-cat.jpg        your own picture

The ANN is the float network in the model's folder (NAME-float.npz), else the network's own
integers.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    add_data(parser)
    parser.add_argument(
        "--image",
        type=whole_number,
        default=0,
        metavar="N",
        help="number of the held-out image, from 0 on (default %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="ANN: a float network, or an integer network with more bits",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".png, .svg or .pdf (default build/show/MODEL-N.png)",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.commands.console import ConsoleReporter, say_written
    from residuum.commands.images import chosen_images
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import build_folder, require_writable, write_whole
    from residuum.sw.golden.reference import find_reference
    from residuum.sw.look.picture import Scene, check_format, draw
    from residuum.sw.network.library import load_network, network_name

    name = network_name(args.model, args.bits)
    path = args.out or build_folder() / "show" / f"{name}-{args.image}.png"
    file_format = check_format(path)
    network = load_network(args.model, args.bits)
    set_stages(args, network)
    reference = find_reference(network, args.model, against=args.against, T=args.T)
    data = chosen_images(args, network, default=args.image + 1)
    if args.image >= len(data):
        raise ResiduumError(
            f"there is no image {args.image}; the {len(data)} {args.split} images are numbered "
            f"0 .. {len(data) - 1}"
        )
    require_writable(path)
    with ConsoleReporter().task(f"{network.name}: image {args.image}"):
        scene = Scene.of(
            network,
            reference,
            data.images[args.image],
            index=args.image,
            label=None if data.labels is None else int(data.labels[args.image]),
            **stages(args),
        )
        write_whole(path, draw(scene, file_format))
    name = data.names[args.image]
    print(f"image {name}: {scene.verdict}")
    say_written(path)
    return 0
