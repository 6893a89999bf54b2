"""``residuum sim``: a trained network on the simulated engine, every spike compared."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sw.commands.arguments import add_network, add_stages, positive_number

if TYPE_CHECKING:
    import numpy as np

    from sw.compiler import Program
    from sw.engine_trace import EngineTrace
    from sw.golden import Trace
    from sw.network import IntegerNetwork

DESCRIPTION = """\
Run held-out images through the engine under Verilator and compare every spike train, mask, logit
and class with the integer golden model. Prints a table, with the cycles that the cycle model
predicts, and writes build/sim/report.json; ends with status 1 if anything differs."""
EXAMPLES = """\
examples:
  residuum sim digits                        100 held-out digits on 16 lanes, tau 4, T 4
  residuum sim mnist --images 50 --lanes 32  MNIST on 32 lanes
  residuum sim digits --tau 0 --T 8          plain conversion without the probe
  residuum sim digits --images 1 --waves     and record every signal in build/waves

`make sim MODEL=mnist IMAGES=50 LANES=32` is the same from a fresh clone.
"""

DEFAULT_STEPS = 8
# Images of one simulation, so that the traces of many images never lie in memory together.
CHUNK = 100


@dataclass
class Totals:
    """Sums over all images.

    Attributes
    ----------
    counters, predicted
        int64 (layers, COUNTER_WORDS): the engine's, and the cycle model's.
    fired
        Neurons that fired at least once, per hidden layer.
    """

    counters: np.ndarray
    predicted: np.ndarray
    fired: list[int]
    images: int = 0
    mismatches: int = 0
    first: str = ""
    engine_right: int = 0
    golden_right: int = 0


def configure(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_stages(parser)
    parser.add_argument(
        "--images",
        type=positive_number,
        default=100,
        metavar="N",
        help="how many held-out images, from the first (default %(default)s)",
    )
    parser.add_argument(
        "--lanes",
        type=positive_number,
        default=16,
        help="output channels that the engine computes side by side (default %(default)s)",
    )
    parser.add_argument(
        "--waves", action="store_true", help="record every signal, as build/waves/engine-LANES.vcd"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=Path("build") / "sim" / "report.json",
        metavar="FILE",
        help="report (default %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from hw.config import EngineConfig
    from sim.engine import Case, build_engine, run_engine
    from sw.commands.evaluate import held_out, write_report
    from sw.compiler import compile_network, grow_to_fit
    from sw.errors import ResiduumError
    from sw.golden import simulate
    from sw.library import load_network

    network = load_network(args.model, args.bits)
    all_images, all_labels = held_out(network, args.model, args.images)
    try:
        steps = max(DEFAULT_STEPS, args.tau + args.T)
        config = EngineConfig.for_lanes(args.lanes, steps=steps)
    except ValueError as error:
        raise ResiduumError(f"this engine cannot be built: {error}") from None
    config = grow_to_fit(network, config)
    program = compile_network(network, config, tau=args.tau, T=args.T)

    console = Console(stderr=True)
    console.print(f"building the engine: {config.lanes} lanes x {config.steps} steps")
    simulation = build_engine(config, waves=args.waves)
    totals: Totals | None = None
    for first in range(0, args.images, CHUNK):
        last = min(first + CHUNK, args.images)
        images, labels = all_images[first:last], all_labels[first:last]
        golden = simulate(network, images, tau=args.tau, T=args.T)
        case = Case(network, images, args.tau, args.T)
        (engine,) = run_engine(config, [case], simulation=simulation)
        totals = _add(totals, program, images, labels, engine, golden)
    assert totals is not None

    report = _report(args, program, totals)
    _print(network, report, totals)
    write_report(args.json, report)
    if args.waves:
        print("written: build/waves")
    if totals.mismatches:
        message = f"{totals.mismatches} values differ; the first: {totals.first}"
        print(f"residuum: {message}", file=sys.stderr)
        return 1
    return 0


def _add(
    totals: Totals | None,
    program: Program,
    images: np.ndarray,
    labels: np.ndarray,
    engine: EngineTrace,
    golden: Trace,
) -> Totals:
    import numpy as np

    from sw.compare import compare
    from sw.cycles import predict

    if totals is None:
        shape = engine.counters.shape[1:]
        hidden = len(golden.layers)
        totals = Totals(np.zeros(shape, np.int64), np.zeros(shape, np.int64), [0] * hidden)
    found = compare(program.network, engine, golden, first_image=totals.images)
    totals.mismatches += found.mismatches
    totals.first = totals.first or found.first
    totals.images += len(images)
    totals.engine_right += int((engine.prediction == labels).sum())
    totals.golden_right += int((golden.prediction == labels).sum())
    totals.counters += engine.counters.sum(axis=0)
    for index, image in enumerate(images):
        totals.predicted += predict(program, image, golden, index)
    for index, layer in enumerate(golden.layers):
        totals.fired[index] += int(layer.trains.any(axis=1).sum())
    return totals


def _report(args: argparse.Namespace, program: Program, totals: Totals) -> dict[str, Any]:
    """What ``report.json`` holds; all amounts per image."""
    from hw.program import Counter
    from sw.library import is_path

    network, images = program.network, totals.images
    layers = []
    for index, plan in enumerate(program.layers):
        counters, predicted = totals.counters[index] / images, totals.predicted[index] / images
        channels, height, width = network.shapes[index]
        neurons = channels * height * width
        # Every group of lanes sees the same spikes; a synaptic operation is one weight for one.
        sops = counters[Counter.SPIKES] / plan.groups * channels
        layers.append(
            {
                "name": plan.layer.name,
                "neurons": neurons,
                "firing": None
                if index == len(totals.fired)
                else totals.fired[index] / images / neurons,
                "events": counters[Counter.EVENTS],
                "sops": sops,
                "cycles": counters[Counter.CYCLES],
                "predicted_cycles": predicted[Counter.CYCLES],
                "utilisation": counters[Counter.EVENTS] / counters[Counter.CYCLES],
                "windows": counters[Counter.WINDOWS],
                "drain_stalls": counters[Counter.DRAIN_STALLS],
                "scan_stalls": counters[Counter.SCAN_STALLS],
            }
        )

    def total(name: str) -> float:
        return float(sum(layer[name] for layer in layers))

    return {
        "model": Path(args.model).stem if is_path(args.model) else args.model,
        "bits": network.weight_bits,
        "tau": args.tau,
        "T": args.T,
        "lanes": program.config.lanes,
        "steps": program.config.steps,
        "images": images,
        "mismatches": totals.mismatches,
        "rtl_accuracy": 100 * totals.engine_right / images,
        "golden_accuracy": 100 * totals.golden_right / images,
        "cycles_per_image": total("cycles"),
        "predicted_cycles_per_image": total("predicted_cycles"),
        "events_per_image": total("events"),
        "cycles_per_event": total("cycles") / max(total("events"), 1),
        "sops_per_image": total("sops"),
        "layers": layers,
    }


def _print(network: IntegerNetwork, report: dict[str, Any], totals: Totals) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{network.name}, {network.weight_bits}-bit weights, per image")
    for column in ("layer", "neurons", "fire", "events", "SOPs", "cycles", "utilisation"):
        table.add_column(column, justify="left" if column == "layer" else "right")

    def row(name: str, neurons: str, fire: str, of: dict[str, Any], share: float) -> None:
        amounts = (f"{of[key]:,.0f}" for key in ("events", "sops", "cycles"))
        table.add_row(name, neurons, fire, *amounts, f"{100 * share:.1f} %")

    for layer in report["layers"]:
        firing = layer["firing"]
        fire = "" if firing is None else f"{100 * firing:.1f} %"
        row(layer["name"], f"{layer['neurons']:,}", fire, layer, layer["utilisation"])
    table.add_section()
    keys = ("events", "sops", "cycles")
    whole = {key: report[f"{key}_per_image"] for key in keys}
    neurons = sum(layer["neurons"] for layer in report["layers"])
    row("all", f"{neurons:,}", "", whole, whole["events"] / whole["cycles"])
    Console().print(table)

    print(
        f"{report['images']} images, tau {report['tau']}, T {report['T']}, {report['lanes']} lanes "
        f"x {report['steps']} steps: {report['mismatches']} mismatches"
    )
    print(
        f"accuracy {report['rtl_accuracy']:.2f} % on the engine, "
        f"{report['golden_accuracy']:.2f} % in the golden model"
    )
    cycles, predicted = report["cycles_per_image"], report["predicted_cycles_per_image"]
    print(
        f"{cycles:,.1f} cycles per image ({predicted:,.1f} in the cycle model), "
        f"{report['cycles_per_event']:.3f} per event"
    )
