"""Initial contents of the block memories: of a design, and of a layout in nextpnr's text form.

A layout does not depend on the initial contents of its block memories (DP16KD). Its text form has
them in blocks ``.bram_init NUMBER``, numbered by nextpnr. To learn which block belongs to which
cell, `tag` writes a number into each memory of the netlist before placement, and `tagged` reads the
numbers back from the layout. `fill` then replaces the contents.

A memory has 2,048 words of 9 bits here, whatever the widths of its ports: ``uint16 (2048,)``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable, Fragment, Instance

WORDS, WORD_BITS = 2048, 9
CELL = "DP16KD"
# INITVAL_00 to INITVAL_3F hold 16 groups of 18 bits each, 20 bits apart (Lattice TN-02204).
PARAMETERS, GROUPS, GROUP_BITS, GROUP_STEP = 64, 16, 18, 20
# A tag stands in word 0, and its complement in word 1.
TAG_MASK = (1 << WORD_BITS) - 1

_BLOCK = re.compile(rf"^\.bram_init (\d+)\n((?:[0-9a-f]{{3}}[ \n]){{{WORDS}}})", re.MULTILINE)
# Amaranth and yosys append $NUMBER to a name that exists twice in a module.
_NUMBERED = re.compile(r"\$\d+(?=\.|$)")

Memories = Mapping[str, np.ndarray]


def memories_of(top: Elaboratable, platform: Any) -> dict[str, np.ndarray]:
    """The initial contents of all block memories of a design, by the path of their cell."""
    found = dict(_walk(Fragment.get(top, platform), ""))
    return {path: image(values) for path, values in found.items()}


def _walk(fragment: Fragment, path: str) -> Iterator[tuple[str, dict[str, int]]]:
    for inner, name, _ in fragment.subfragments:
        place = f"{path}.{name}" if path else str(name)
        if not isinstance(inner, Instance):
            yield from _walk(inner, place)
        elif inner.type == CELL:
            values = inner.parameters.items()
            yield place, {key: value.value for key, value in values if key.startswith("INITVAL_")}


def image(initial: Mapping[str, int]) -> np.ndarray:
    """The words of a cell with these parameters INITVAL_00 to INITVAL_3F; a missing one is 0."""
    words = np.zeros(WORDS, np.uint16)
    for row in range(PARAMETERS):
        value = initial.get(f"INITVAL_{row:02X}", 0)
        for group in range(GROUPS):
            pair = value >> group * GROUP_STEP & (1 << GROUP_BITS) - 1
            place = 2 * (row * GROUPS + group)
            words[place], words[place + 1] = pair & TAG_MASK, pair >> WORD_BITS
    return words


def tag(netlist: Mapping[str, Any]) -> list[str]:
    """Number the block memories in a netlist of yosys; returns the paths of their cells.

    Raises
    ------
    ValueError
        If two memories have the same path, or there are too many.
    """
    cells = {
        plain(name): cell
        for name, cell in netlist["modules"]["top"]["cells"].items()
        if cell["type"] == CELL
    }
    count = sum(cell["type"] == CELL for cell in netlist["modules"]["top"]["cells"].values())
    if len(cells) < count or count > TAG_MASK:
        raise ValueError(f"the {count} block memories of the netlist cannot be told apart")
    for number, cell in enumerate(cells.values()):
        parameters = cell["parameters"]
        for name in [name for name in parameters if name.startswith("INITVAL_")]:
            del parameters[name]
        value = number | (number ^ TAG_MASK) << WORD_BITS
        parameters["INITVAL_00"] = f"{value:0{GROUPS * GROUP_STEP}b}"
    return list(cells)


def plain(path: str) -> str:
    """The path of a cell without the numbers that tools append to names."""
    return _NUMBERED.sub("", path)


def tagged(layout: str, paths: list[str]) -> dict[int, str]:
    """The path of each ``.bram_init`` block of a layout whose netlist was numbered by `tag`.

    Raises
    ------
    ValueError
        If a block has no tag, or a memory no block.
    """
    found = {}
    for number, words in blocks(layout).items():
        tag = int(words[0])
        if tag ^ TAG_MASK != words[1] or words[2:].any() or tag >= len(paths):
            raise ValueError(f"the block memory {number} of the layout holds something else")
        found[number] = paths[tag]
    if sorted(found.values()) != sorted(paths):
        raise ValueError(f"the layout has {len(found)} block memories, the netlist {len(paths)}")
    return found


def blocks(layout: str) -> dict[int, np.ndarray]:
    """The contents of the ``.bram_init`` blocks of a layout, by number."""
    return {
        int(found[1]): np.array([int(word, 16) for word in found[2].split()], np.uint16)
        for found in _BLOCK.finditer(layout)
    }


def fill(layout: str, places: Mapping[int, str], memories: Memories) -> str:
    """A layout with other contents of its block memories.

    Parameters
    ----------
    places
        The path of each block, from `tagged`.
    memories
        The contents by path, from `memories_of`. Synthesis may have removed some of them.

    Raises
    ------
    ValueError
        If the layout has other blocks than ``places``, or one of them has no contents.
    """
    contents = {plain(path): words for path, words in memories.items()}
    numbers = {int(found[1]) for found in _BLOCK.finditer(layout)}
    if numbers != places.keys() or len(contents) < len(memories):
        raise ValueError("the layout has other block memories than its table says")
    if strange := set(places.values()) - contents.keys():
        raise ValueError(f"the design has no block memory {min(strange)}")

    def replaced(found: re.Match[str]) -> str:
        rows = contents[places[int(found[1])]].reshape(-1, 8)
        lines = (" ".join(f"{word:03x}" for word in row) for row in rows.tolist())
        return f".bram_init {found[1]}\n" + "\n".join(lines) + "\n"

    return _BLOCK.sub(replaced, layout)
