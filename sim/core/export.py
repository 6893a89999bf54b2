"""The engine as one Verilog file that depends on no board, with a description of its ports, sizes
and addresses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from residuum.hw.core import Core
from residuum.hw.flat import FlatCore
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry, LayerDescriptor
from residuum.hw.isa.host_map import (
    READABLE,
    WRITABLE,
    Control,
    Counter,
    HostMap,
    Region,
    steps_word,
)
from residuum.hw.isa.image import FIRST_IMAGE_WORD, MAX_IMAGE_BYTES, ImageDescriptor
from residuum.sim.verilator.build import verilog_text
from residuum.sw.compiler.exact import engine_code
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import ON_ENGINE
from residuum.sw.network.graph import IMAGE
from residuum.sw.network.integer_network import IntegerNetwork

MODULE = "residuum_engine"
FORMAT = "residuum-core-1"
# Bytes of an image that a core without a network has room for.
DEFAULT_IMAGE_BYTES = 4096

# Of a core, which has no external memory.
CONTENTS: Mapping[Region, str] = {
    Region.CONTROL: "starts runs, sets their steps",
    Region.DESCRIPTORS: "words of the layers; the last ones of layer 0 are the image's",
    Region.TABLES: "axis tables",
    Region.PARAMETERS: "part 0: bias, part 1: threshold, of a lane of a tile",
    Region.WEIGHTS: "weights of a tile, lane 0 lowest",
    Region.TRAINS: "time slot t in bit t, silenced in bit S",
    Region.OCCUPANCY: "lane n in bit n; above: refers to the shared result",
    Region.LOGITS: "signed; class n is in bank n % tiles, row n // tiles",
    Region.COUNTERS: "of the latest run of each layer",
}
CONTROLS: Mapping[Control, str] = {
    Control.RUN: "write: first layer in bits 7..0, last layer in bits 15..8; the pixels do this",
    Control.STEPS: "write: tau in bits 7..0, T in bits 15..8, in bit 16 0: mask, 1: carry",
    Control.STATUS: "read: bit 0 running, bit 1 the last run was refused",
    Control.CLASS: "read: class of the last run",
}
COUNTERS: Mapping[Counter, str] = {
    Counter.EVENTS: "weight rows added",
    Counter.WINDOWS: "windows handed to the neurons",
    Counter.DRAIN_STALLS: "cycles in which the array waits for the neurons",
    Counter.SCAN_STALLS: "cycles in which the array waits for an event",
    Counter.SPIKES: "spike bits of all events",
    Counter.CYCLES: "cycles of the layer",
}
NOTES = (
    "All ports are synchronous to the rising edge of clk; rst is active high and synchronous.",
    "Pixels: uint8, in the order channel, line, position along the line (that of a NumPy array",
    "of shape C, H, W), without a border. Two images are stored, so that the next one arrives",
    "while the present one runs. Each image gets exactly one result, in order.",
    "Results: one transfer per class; or, if the image has a wrong number of bytes, no network is",
    "loaded, or tau + T is not possible, a single one with result_error.",
    "Bus: an access is accepted in a cycle in which bus_ready and bus_write or bus_read are high;",
    "not while an image is packed, run, or sent. A word of more than 32 bits is written in",
    "parts, lowest first; write the lanes of a row of trains in ascending order.",
    "To replace the network: wait until busy is low, write the words of its program, then STEPS.",
)


@dataclass(frozen=True)
class Export:
    """A core.

    Attributes
    ----------
    verilog
        One file, with the description as a comment at its beginning.
    description
        The same for JSON.
    writes
        The program, if there is one, and the steps, as writes of the bus: words by address.
    """

    verilog: str
    description: dict[str, Any]
    writes: dict[int, int]


def image_bytes_of(network: IntegerNetwork | None) -> int:
    """Bytes of an image that a core needs room for, a power of two."""
    if network is None:
        return DEFAULT_IMAGE_BYTES
    return max(2, 1 << (math.prod(network.input_shape) - 1).bit_length())


def export_core(
    config: EngineConfig,
    network: IntegerNetwork | None = None,
    *,
    tau: int,
    T: int,
    correction: str,
    image_bytes: int | None = None,
    version: str = "",
) -> Export:
    """The core with an engine of these sizes.

    Parameters
    ----------
    network
        Its program is the initial content of the memories; None: they are empty.
    tau, T, correction
        Steps of the runs after a reset; one of `residuum.sw.network.corrections`.
    image_bytes
        Most bytes of an image, a power of two; None: those of the network.
    version
        Of Residuum, for the description.

    Raises
    ------
    ResiduumError
        If the network does not fit the engine, reads no images, or yosys is missing.
    """
    depth = image_bytes_of(network) if image_bytes is None else image_bytes
    _check(config, depth, tau=tau, T=T)
    if correction not in ON_ENGINE:
        raise ResiduumError(
            f"the engine has no correction {correction!r}; it runs {', '.join(ON_ENGINE)}"
        )
    program = _program(network, config, tau=tau, T=T, correction=correction)
    if network is not None and depth < (needed := math.prod(network.input_shape)):
        raise ResiduumError(
            f"an image of {network.name} has {needed:,} bytes, and this core room for {depth:,}"
        )
    code = engine_code(correction)
    words = memory_of(program) if program else {}
    core = Core(config, image_bytes=depth, program=words, tau=tau, T=T, correction=code)
    flat = FlatCore(core)
    description: dict[str, Any] = {
        "format": FORMAT,
        "module": MODULE,
        "version": version,
        "network": _network(program),
        "parameters": {**asdict(config), "image_bytes": depth},
        "steps_after_reset": {"tau": tau, "T": T, "word": steps_word(tau, T, code)},
        "ports": [
            {"name": "clk", "direction": "input", "width": 1, "meaning": "the clock"},
            {"name": "rst", "direction": "input", "width": 1, "meaning": "the reset"},
            *(asdict(port) for port in flat.ports),
        ],
        "memory_map": list(_regions(config)),
        "control": [_word(control, text) for control, text in CONTROLS.items()],
        "counters": [_word(counter, text) for counter, text in COUNTERS.items()],
        "layer_descriptor": list(_layer_words(config)),
        "image_descriptor": list(_image_words()),
        "axis_entry": _packed(AxisEntry.widths(config)),
    }
    steps = {HostMap(config).address(Region.CONTROL, word=Control.STEPS): steps_word(tau, T, code)}
    text = _header(description) + verilog_text(flat, name=MODULE)
    return Export(text, description, words | steps)


def _check(config: EngineConfig, image_bytes: int, *, tau: int, T: int) -> None:
    """``ResiduumError`` if there is no such core."""
    if not config.pixel_planes:
        raise ResiduumError(
            f"an engine of {config.steps} steps cannot read images, so it is no core; it needs 8, "
            "or 4 to 7 and weights of a second source that may be 2**4 times larger"
        )
    if not ImageDescriptor.fits(config):
        raise ResiduumError(
            "the layer descriptors of an engine this large leave no room for the image's; give it "
            "smaller memories"
        )
    if not 2 <= image_bytes <= MAX_IMAGE_BYTES or image_bytes & (image_bytes - 1):
        raise ResiduumError(
            f"the most bytes of an image must be a power of two in 2..{MAX_IMAGE_BYTES:,}, not "
            f"{image_bytes:,}"
        )
    if tau < 0 or T < 1 or tau + T > config.steps:
        raise ResiduumError(
            f"tau = {tau} and T = {T} do not fit this engine: T must be at least 1, and tau + T "
            f"at most {config.steps}"
        )


def memory_of(program: Program) -> dict[int, int]:
    """Host words of a program by host address."""
    return dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))


def _program(
    network: IntegerNetwork | None, config: EngineConfig, *, tau: int, T: int, correction: str
) -> Program | None:
    if network is None:
        return None
    if network.input != IMAGE:
        raise ResiduumError(
            f"{network.name} reads spike trains; a core takes images, and runs spike trains only "
            "through its bus: leave the network out, and write it there"
        )
    program = compile_network(network, config, tau=tau, T=T, correction=correction)
    if not program.takes_pixels:
        raise ResiduumError(
            f"a core cannot take the images of {network.name}: it stores at most "
            f"{MAX_IMAGE_BYTES:,} bytes, a border of at most four different values, and either a "
            "border or lines of zeros around it"
        )
    return program


def _network(program: Program | None) -> dict[str, Any] | None:
    if program is None:
        return None
    network = program.network
    return {
        "name": network.name,
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "class_names": list(network.class_names),
        "code": network.code,
        "weight_bits": network.weight_bits,
        "layers": [layer.name for layer in network.layers],
    }


def _regions(config: EngineConfig) -> Iterable[dict[str, Any]]:
    host_map = HostMap(config)
    for region in CONTENTS:
        access = [
            name
            for name, regions in (("write", WRITABLE), ("read", READABLE))
            if region in regions or region == Region.CONTROL
        ]
        yield {
            "region": region.name,
            "first_address": host_map.address(region),
            "words": host_map.size(region),
            "access": access,
            "fields": _packed(dict(host_map.fields(region))),
            "content": CONTENTS[region],
        }


def _packed(widths: Mapping[str, int]) -> dict[str, list[int]]:
    """Lowest bit and width of each field, from their widths, lowest field first."""
    result, low = {}, 0
    for name, width in widths.items():
        result[name] = [low, width]
        low += width
    return result


def _word(word: Control | Counter, meaning: str) -> dict[str, Any]:
    return {"word": int(word), "name": word.name, "meaning": meaning}


def _layer_words(config: EngineConfig) -> Iterable[dict[str, list[int]]]:
    widths = LayerDescriptor.widths(config)
    for place in LayerDescriptor.places(config):
        yield {name: [low, widths[name]] for name, low in place.items() if widths[name]}


def _image_words() -> Iterable[dict[str, Any]]:
    for index, place in enumerate(ImageDescriptor.places()):
        yield {"word": FIRST_IMAGE_WORD + index, "fields": _packed(place)}


def _header(about: Mapping[str, Any]) -> str:
    """The description as a comment."""
    network, steps = about["network"], about["steps_after_reset"]
    shape = " x ".join(map(str, network["input_shape"])) if network else ""
    program = (
        f"Network: {_on_a_line(network['name'])} (images of {shape} bytes, {network['classes']} "
        "classes), in the memories after configuration."
        if network
        else "No network: write a program through the bus before the first image."
    )
    lines = [
        f"{about['module']}: a spiking-network engine (Residuum {about['version']}, "
        "`residuum verilog`).",
        program,
        f"Steps after a reset: tau = {steps['tau']}, T = {steps['T']} "
        f"(STEPS = {steps['word']:#x}).",
        "",
        *NOTES,
        "",
        "PORTS",
        *_table(
            (port["direction"], port["name"], port["width"], port["meaning"])
            for port in about["ports"]
        ),
        "",
        "PARAMETERS (fixed; `residuum verilog --help` chooses them)",
        *_table((name, value) for name, value in about["parameters"].items()),
        "",
        "MEMORY MAP (addresses of 32-bit words; fields of an address, lowest first: name, bits)",
        *_table(
            (
                region["region"],
                f"{region['first_address']:#x}",
                f"{region['words']:,} words",
                ", ".join(region["access"]),
                " ".join(f"{name}:{width}" for name, (_, width) in region["fields"].items()),
            )
            for region in about["memory_map"]
        ),
        *_table((region["region"], region["content"]) for region in about["memory_map"]),
        "",
        "WORDS OF CONTROL",
        *_table((word["word"], word["name"], word["meaning"]) for word in about["control"]),
        "",
        "WORDS OF COUNTERS, for each layer",
        *_table((word["word"], word["name"], word["meaning"]) for word in about["counters"]),
        "",
        "The JSON file beside this one has all this, and the fields of the descriptors.",
    ]
    return "".join(f"// {line}".rstrip() + "\n" for line in lines) + "\n"


def _on_a_line(text: str) -> str:
    """A text from a file, which must not end a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _table(rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows with aligned columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in texts
    ]
    return [f"  {line.rstrip()}" for line in lines]
