"""The design of a board: the accelerator, with a network in its memories."""

from collections.abc import Mapping

from residuum.boards.board import MHZ, Board
from residuum.boards.build.clock import engine_clock
from residuum.boards.build.flow import Network, Order
from residuum.boards.build.layout import Design
from residuum.boards.build.pll import PllDividers, shifted_phase
from residuum.boards.build.sdram import Sdram
from residuum.boards.build.top import BoardTop
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import CONTENTS_DIGEST_BYTES, contents_digest
from residuum.sw.compiler.fit import block_memory_need, describe_sizes, device_of, engine_named
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.files import digest_of_file
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import (
    DEFAULT_BITS,
    is_path,
    load_network,
    network_file,
    network_name,
    widest_bits,
)
from residuum.sw.pieces.depends import code_digest
from residuum.sw.pieces.store import digest_of

# Bytes of the program name in a device's identity.
NAME_CHARACTERS = 16
# What the layout of a design depends on.
LAYOUT_SOURCES = (
    "residuum.boards.build.laid",
    "residuum.boards.build.top",
    "residuum.boards.catalogue",
)


def prepare(
    board: Board,
    *,
    model: str = "",
    bits: int | None = None,
    preset_name: str | None = None,
    sizes: Mapping[str, int] | None = None,
    freq: float | None = None,
    sdram: Sdram | None = None,
    seed: int = 1,
    tries: int = 1,
) -> tuple[Order, Design]:
    """The order and the design for a board.

    Parameters
    ----------
    model, bits
        The network, as for `residuum.sw.network.library.load_network`; no model means empty
        memories. Without ``bits``, a committed network has the widest weights that the engine
        supports, up to 8 bits.
    preset_name, sizes, freq
        Engine, sizes of it that differ from the preset (by the names of `EngineConfig`), and clock
        in MHz; the defaults are those of the board.
    sdram
        That of the board, for an engine that needs one; None: the slowest.

    Raises
    ------
    ResiduumError
        If a name is unknown, there is no engine of these sizes or the device is too small for it,
        the PLL cannot make the clock, or the network does not fit.
    """
    preset_name = preset_name or board.preset
    sizes = sizes or {}
    config = engine_named(preset_name, sizes)
    memories = block_memory_need(config, device_of(board.preset))
    if not memories.fits:
        raise ResiduumError(memories.sentence)
    bits = _bits(model, bits, config)
    dividers = engine_clock(board, preset_name, freq)
    if config.external:
        sdram = sdram or Sdram()
        config = sdram.engine(config, board, preset_name, round(dividers.output_hz))
    elif sdram is not None:
        raise ResiduumError(
            f"the engine {preset_name} reads no weights from an SDRAM; leave out --sdram and "
            "--sdram-phase, or choose a preset whose name ends in -sdram"
        )
    program, network, name = None, None, ""
    if model:
        loaded = load_network(model, bits)
        program = contents(loaded, config)
        name = network_name(model, bits)
        network = Network(
            name=name,
            weight_bits=loaded.weight_bits,
            digest=digest_of_file(network_file(model, bits)),
            contents=contents_digest(program).hex(),
        )

    laid, phase = sdram and sdram.laid, None
    if sdram is not None and sdram.shift is not None:
        phase = shifted_phase(dividers, sdram.shift)

    def make_top(digest: bytes | None) -> BoardTop:
        if digest is None:
            return BoardTop(board, config, dividers, digest=b"", sdram=laid)
        return BoardTop(
            board,
            config,
            dividers,
            digest=identity_digest(digest, program),
            program=program,
            name=program_name(name),
            sdram=sdram,
        )

    design = Design(board, make_top, key=layout_key(board, config, dividers, laid), phase=phase)
    order = Order(
        board=board,
        preset=describe_sizes(preset_name, sizes),
        lanes=config.lanes,
        steps=config.steps,
        network=network,
        target_mhz=float(dividers.output_hz) / MHZ,
        seed=seed,
        tries=tries,
    )
    return order, design


def memory_contents(
    model: str, bits: int | None, config: EngineConfig
) -> tuple[str, Mapping[int, int]]:
    """The name of a network, and its `contents` on an engine; ``model`` and ``bits`` are those of
    `prepare`."""
    bits = _bits(model, bits, config)
    return network_name(model, bits), contents(load_network(model, bits), config)


def _bits(model: str, bits: int | None, config: EngineConfig) -> int | None:
    if bits is None and not is_path(model):
        return widest_bits(model, min(DEFAULT_BITS, config.weight_bits))
    return bits


def layout_key(
    board: Board, config: EngineConfig, dividers: PllDividers, sdram: Sdram | None
) -> str:
    """A digest of everything that the layout of a design depends on, except its seed: board, sizes,
    clock, SDRAM without its phase, sources and tools."""
    sources = [code_digest(module) for module in LAYOUT_SOURCES]
    return digest_of([board.name, config, dividers, sdram, sources], {}).hex()


def identity_digest(design: bytes, program: Mapping[int, int] | None) -> bytes:
    """The digest in a device's identity: 8 bytes of that of the design, without a network, and 8 of
    that of the network (`contents_digest`)."""
    return design[:CONTENTS_DIGEST_BYTES] + contents_digest(program or {})


def contents(network: IntegerNetwork, config: EngineConfig) -> Mapping[int, int]:
    """Memory contents of a network on an engine, as host words by host address.

    Raises
    ------
    ResiduumError
        If the network does not fit.
    """
    # The contents do not depend on tau and T. The largest T checks all widths for overflow.
    program = compile_network(network, config, tau=0, T=config.steps)
    return dict(zip(program.addresses.tolist(), program.words.tolist(), strict=True))


def program_name(network: str) -> str:
    """Program name in the identity: the name of the network, cut to the width of the field."""
    return network.encode("ascii", "replace").decode()[:NAME_CHARACTERS]
