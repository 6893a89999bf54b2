"""``residuum export``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.commands.arguments import add_network

if TYPE_CHECKING:
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.integer_network import IntegerNetwork

DESCRIPTION = "Write a network as a NIR or an ONNX file, for other programs."
EXAMPLES = """\
examples:
  residuum export snn.npz -o snn.nir            spikes: neurons, thresholds, integer weights
  residuum export mynet.npz -o mynet.onnx       the ANN that the network computes
  residuum export digits --bits 4 -o x.onnx     a committed network
  residuum export digits-float.npz -o x.onnx    a float network
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the file to write: its name ends in .nir or .onnx",
    )


def run(args: argparse.Namespace) -> int:
    from residuum.sw.errors import ResiduumError
    from residuum.sw.files import shown
    from residuum.sw.frontend.nir_export import export_nir
    from residuum.sw.frontend.onnx_export import export_onnx
    from residuum.sw.network.float_network import FloatNetwork

    suffix = args.output.suffix.lower()
    if suffix not in (".nir", ".onnx"):
        raise ResiduumError(
            f"{args.output} does not end in .nir or .onnx, so its format is not known"
        )
    network = _load(args.model, args.bits)
    if suffix == ".onnx":
        advice = export_onnx(network, args.output)
    elif isinstance(network, FloatNetwork):
        raise ResiduumError(
            f"{args.model} is a float network, and NIR files hold integers; export it as ONNX, or "
            "convert it first"
        )
    else:
        advice = export_nir(network, args.output)
    print(f"{shown(args.output)}: {advice}")
    return 0


def _load(model: str, bits: int | None) -> FloatNetwork | IntegerNetwork:
    """A network of either kind; both are .npz files."""
    from residuum.sw.errors import ResiduumError
    from residuum.sw.network.float_network import FloatNetwork
    from residuum.sw.network.library import is_path, load_network

    if is_path(model):
        with contextlib.suppress(ResiduumError):
            return FloatNetwork.load(model)
    return load_network(model, bits)
