"""What a bitstream holds: its device, the identity that it tells the host, its memory contents."""

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from residuum.boards.build import toolchain
from residuum.boards.build.memories import WORD_BITS, Memories, blocks, memories_of
from residuum.hw.accelerator import Accelerator
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import CONTENTS_DIGEST_BYTES, Contents, contents_digest
from residuum.hw.isa.host_map import HOST_WORD_BITS, Region
from residuum.hw.isa.memories import ebr_geometry
from residuum.hw.isa.presets import PRESETS
from residuum.hw.isa.protocol import IDENTITY_WORDS, Identity
from residuum.hw.link.link import HostLink
from residuum.sw.errors import ResiduumError
from residuum.sw.files import shown, told

_DEVICE = re.compile(r"^\.device (\S+)", re.MULTILINE)
# The cells of a tile's weights, by the block of rows and the lowest bit.
_WEIGHTS = re.compile(r"(.*)\.weights(?:\$\d+)?\.rows\.ebr_(\d+)_(\d+)\.")


@dataclass(frozen=True)
class Unpacked:
    """The contents of a bitstream.

    Attributes
    ----------
    device
        Its name in the data sheet.
    identity
        What the device will tell the host.
    blocks
        Words of the block memories, by number: as in `residuum.boards.build.memories`.
    """

    device: str
    identity: Identity
    blocks: Mapping[int, np.ndarray]

    @property
    def config(self) -> EngineConfig:
        return replace(self.identity.config, memory="ecp5")

    @property
    def presets(self) -> list[str]:
        """The names of the presets with these sizes."""
        return [name for name, config in PRESETS.items() if config == self.config]

    @property
    def design_digest(self) -> bytes:
        """The start of the digest of the design without a network."""
        return self.identity.digest[:-CONTENTS_DIGEST_BYTES]

    @property
    def contents_digest(self) -> bytes:
        """The digest of the network's words (`residuum.hw.isa.contents.contents_digest`)."""
        return self.identity.digest[-CONTENTS_DIGEST_BYTES:]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The memories of a bitstream beside those of a network.

    Attributes
    ----------
    same_digest
        Whether the bitstream names the digest of this network.
    weights, weights_differing
        Number of weights in the memories, and of those that differ.
    memories_differing
        The paths of the cells whose contents differ.
    """

    same_digest: bool
    weights: int
    weights_differing: int
    memories_differing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return self.same_digest and not self.memories_differing


def unpack(path: Path) -> Unpacked:
    """Read a bitstream back with ecpunpack.

    Raises
    ------
    ResiduumError
        If the file is missing or damaged, or not one of this version of Residuum.
    """
    text = layout_of(path)
    found, device = blocks(text), _DEVICE.search(text)
    identity = find_identity(found)
    if device is None or identity is None:
        raise ResiduumError(
            f"{shown(path)} is a bitstream, but not one of this version of Residuum"
        )
    return Unpacked(device[1], identity, found)


def layout_of(path: Path) -> str:
    """The text form of a bitstream."""
    toolchain.find("ecpunpack")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with told(path, "read"):
            shutil.copyfile(path, folder / "in.bit")
        arguments = ["in.bit", "out.config"]
        status = toolchain.run("ecpunpack", arguments, folder=folder, log="log")
        if status != 0 or not (folder / "out.config").exists():
            lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
            reason = next((line for line in reversed(lines) if line.strip()), "no message")
            raise ResiduumError(
                f"{shown(path)} is not a bitstream of an ECP5, or it is damaged ({reason.strip()})"
            )
        return (folder / "out.config").read_text()


class _Numbered(Identity):
    """An identity whose words are their own numbers, from 1 on."""

    def words(self) -> tuple[int, ...]:
        return tuple(range(1, IDENTITY_WORDS + 1))


def identity_places() -> list[int]:
    """Where the words of the identity are in their block memory, in words of 36 bits."""
    config = EngineConfig.for_lanes(4, memory="ecp5")
    found = memories_of(HostLink(_Numbered(config=config, clock_hz=1)), None)
    words = next(wide for wide in map(_wide, found.values()) if wide.any())
    return [int(np.flatnonzero(words == number)[0]) for number in range(1, IDENTITY_WORDS + 1)]


def find_identity(found: Mapping[int, np.ndarray]) -> Identity | None:
    """The identity in one of the block memories."""
    places = identity_places()
    for block in found.values():
        words = _wide(block)[places]
        if (words < 1 << HOST_WORD_BITS).all():
            try:
                return Identity.from_words(words.tolist())
            except (TypeError, ValueError):
                continue
    return None


def _wide(block: np.ndarray) -> np.ndarray:
    """The words of a memory as those of 36 bits, int64 (512,)."""
    parts = block.astype(np.int64).reshape(-1, 4)
    return parts @ (1 << WORD_BITS * np.arange(4, dtype=np.int64))


def compare(unpacked: Unpacked, program: Mapping[int, int]) -> Comparison:
    """Compare all memories with those of a network, given as host words by host address.

    A bitstream does not name its memories. So each memory of the network is compared with the block
    that is most similar to it.
    """
    identity, config = unpacked.identity, unpacked.config
    accelerator = Accelerator(
        config,
        clock_hz=identity.clock_hz,
        digest=identity.digest,
        program=program,
        name=identity.name,
    )
    wanted = memories_of(accelerator, None)
    matched = match(wanted, unpacked.blocks)
    differing = {
        path: words ^ matched[path]
        for path, words in wanted.items()
        if (words != matched[path]).any()
    }
    contents = Contents(config, program)
    rows = [len(contents.words(Region.WEIGHTS, 1, bank=tile)) for tile in range(config.tiles)]
    return Comparison(
        same_digest=unpacked.contents_digest == contents_digest(program),
        weights=sum(rows) * config.tile_lanes,
        weights_differing=len(set(_weights(differing, config))),
        memories_differing=tuple(differing),
    )


def match(wanted: Memories, found: Mapping[int, np.ndarray]) -> dict[str, np.ndarray]:
    """For each memory the most similar block; each block is taken once, and zeros stand for a
    missing one: synthesis removes memories that nothing reads."""
    left, matched = dict(found), dict[str, np.ndarray]()
    alike: dict[bytes, list[int]] = defaultdict(list)
    for number, block in found.items():
        alike[block.tobytes()].append(number)
    for path, words in wanted.items():
        if same := alike[words.tobytes()]:
            matched[path] = left.pop(same.pop())
    rest = wanted.keys() - matched.keys()
    pairs = [
        (int((wanted[path] != block).sum()), path, number)
        for path in rest
        for number, block in left.items()
    ]
    for _, path, number in sorted(pairs):
        if path not in matched and number in left:
            matched[path] = left.pop(number)
    return {path: matched.get(path, np.zeros_like(words)) for path, words in wanted.items()}


def _weights(memories: Memories, config: EngineConfig) -> Iterator[tuple[str, int, int]]:
    """Tile, row and lane of each bit that is set in the memories of weights."""
    rows_of_a_block, bits = ebr_geometry(
        width=config.tile_lanes * config.weight_bits,
        depth=max(2, config.weight_rows),
        dual=config.event_width == 2,
    )
    # A word of the memory has 9 bits of the port's words; 8 if these are narrower.
    step = WORD_BITS if bits >= WORD_BITS else WORD_BITS - 1
    for path, words in memories.items():
        if cell := _WEIGHTS.match(path):
            tile, block, low = cell[1], int(cell[2]), int(cell[3])
            places, which = np.nonzero(words[:, None] >> np.arange(WORD_BITS) & 1)
            rows, columns = np.divmod(places * step + which, bits)
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
                yield tile, block * rows_of_a_block + row, (low + column) // config.weight_bits
