"""A Verilog example that uses the core, and its test bench, run by Verilator."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from residuum.sim.core.export import Export
from residuum.sim.verilator.build import SimulationError, build_program, scratch_folder
from residuum.sw.golden.golden_model import Trace, simulate
from residuum.sw.network.integer_network import IntegerNetwork

SOURCES = ("reader.v", "bench.v", "clock.cpp")
# Far more than twenty images of a small network take.
SECONDS = 1800


def example_files(
    export: Export,
    network: IntegerNetwork,
    images: np.ndarray,
    *,
    tau: int,
    T: int,
    correction: str,
) -> dict[str, str]:
    """The texts of the example by file name, without the core: reader, test bench, images, uint8
    (N, C, H, W), and the results that the golden model has for them."""
    trace = simulate(network, images, tau=tau, T=T, correction=correction)
    widths = {port["name"]: port["width"] for port in export.description["ports"]}
    sizes = {
        "IMAGES": len(images),
        "PIXELS": images[0].size,
        "CLASSES": network.classes,
        "CLASS_BITS": widths["result_class"],
    }
    folder = Path(__file__).parent
    return {
        "sizes.v": "".join(f"`define {name} {value}\n" for name, value in sizes.items()),
        **{name: (folder / name).read_text() for name in SOURCES},
        "images.hex": "".join(f"{value:02x}\n" for value in images.reshape(-1).tolist()),
        "expected.hex": "".join(f"{word & 0xFFFFFFFF:08x}\n" for word in _expected(trace)),
    }


def _expected(trace: Trace) -> list[int]:
    """Per image: class, largest logit less the second largest, logits."""
    words: list[int] = []
    for best, logits in zip(trace.prediction.tolist(), trace.logits.tolist(), strict=True):
        *_, second, first = sorted(logits) if len(logits) > 1 else (-(1 << 31), *logits)
        words += [best, first - second, *logits]
    return words


def run_example(verilog: str, files: Mapping[str, str]) -> str:
    """Compile the core and the `example_files`, run the bench, and return the lines that it prints.

    Raises
    ------
    ResiduumError
        If the example cannot be built, or does not end.
    """
    sources = {"sizes.v": files["sizes.v"], "engine.v": verilog}
    sources |= {name: files[name] for name in SOURCES}
    program = build_program(sources, name="core-example")
    with scratch_folder() as scratch:
        for name in ("images.hex", "expected.hex"):
            (scratch / name).write_text(files[name])
        try:
            done = subprocess.run(
                [program], cwd=scratch, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise SimulationError(f"the example did not end within {SECONDS} seconds") from None
    if done.returncode != 0:
        raise SimulationError(f"the example ended with status {done.returncode}: {done.stderr}")
    # Verilator adds a line for $finish.
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("- "))


def passed(said: str, images: int) -> bool:
    """Whether the bench found all results of the images right, from what it printed."""
    return said.startswith(f"{images} images, 0 mismatches, ")
