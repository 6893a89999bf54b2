"""Where blocks of rows go in a memory: blocks with a lifetime, and blocks of a few columns."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Random orders that are tried where the others take too many rows.
_SHUFFLES = 50


@dataclass(frozen=True)
class Block:
    """Rows of a memory that are in use from layer ``first`` to layer ``last``, both included."""

    rows: int
    first: int
    last: int

    def meets(self, other: "Block") -> bool:
        """Whether both are in use at a time."""
        return self.first <= other.last and other.first <= self.last


def rows_in_use(blocks: Sequence[Block]) -> dict[int, int]:
    """Rows of the blocks that are in use, by layer."""
    layers = range(min(block.first for block in blocks), max(block.last for block in blocks) + 1)
    return {
        layer: sum(block.rows for block in blocks if block.first <= layer <= block.last)
        for layer in layers
    }


def place_blocks(blocks: Sequence[Block], enough: int) -> list[int]:
    """The first row of each block, so that no two blocks share a row while both are in use.

    Tries several orders and keeps the one that takes the fewest rows. The search goes on with
    random orders only while this is more than ``enough``.
    """
    least = max(rows_in_use(blocks).values())
    best: list[int] = []
    height = -1
    for rows in _placements(blocks, least):
        top = end_of(blocks, rows)
        if not best or top < height:
            best, height = rows, top
        if height == least:
            break
    shuffled = random.Random(0)
    order = list(range(len(blocks)))
    for _ in range(_SHUFFLES if height > max(least, enough) else 0):
        shuffled.shuffle(order)
        rows = _first_fit(blocks, order)
        if (top := end_of(blocks, rows)) < height:
            best, height = rows, top
        if height <= max(least, enough):
            break
    return best


def end_of(blocks: Sequence[Block], rows: Sequence[int]) -> int:
    """Rows up to the last one that is used."""
    return max(row + block.rows for row, block in zip(rows, blocks, strict=True))


def _placements(blocks: Sequence[Block], least: int) -> Iterator[list[int]]:
    numbers = range(len(blocks))

    def length(index: int) -> int:
        return blocks[index].last - blocks[index].first + 1

    yield _from_both_ends(blocks, least)
    yield _first_fit(blocks, sorted(numbers, key=lambda i: blocks[i].first))
    yield _first_fit(blocks, sorted(numbers, key=lambda i: -blocks[i].rows))
    yield _first_fit(blocks, sorted(numbers, key=lambda i: -blocks[i].rows * length(i)))
    yield _first_fit(blocks, sorted(numbers, key=lambda i: -length(i)))


def _first_fit(blocks: Sequence[Block], order: Sequence[int]) -> list[int]:
    """Each block at the lowest free rows, in this order."""
    rows = [0] * len(blocks)
    placed: list[int] = []
    for index in order:
        rows[index] = _free(blocks, rows, placed, index)[0]
        placed.append(index)
    return rows


def _from_both_ends(blocks: Sequence[Block], end: int) -> list[int]:
    """Blocks in the order of their layers, by turns at the lowest and the highest free rows below
    ``end``: best for a chain."""
    rows = [0] * len(blocks)
    placed: list[int] = []
    for turn, index in enumerate(sorted(range(len(blocks)), key=lambda i: blocks[i].first)):
        lowest, highest = _free(blocks, rows, placed, index, end)
        rows[index] = highest if turn % 2 else lowest
        placed.append(index)
    return rows


def _free(
    blocks: Sequence[Block], rows: list[int], placed: list[int], index: int, end: int = 0
) -> tuple[int, int]:
    """The lowest free place of a block, and the highest one that ends at ``end`` or below (the
    lowest, if there is none)."""
    block = blocks[index]
    taken = sorted(
        (rows[other], rows[other] + blocks[other].rows)
        for other in placed
        if block.meets(blocks[other])
    )
    lowest, highest, row = -1, -1, 0
    above = max([end, *(high for _, high in taken)]) + block.rows
    for low, high in [*taken, (above, above)]:
        last = min(low, end) - block.rows
        if low - row >= block.rows:
            lowest = row if lowest < 0 else lowest
            highest = max(highest, last if last >= row else -1)
        row = max(row, high)
    return lowest, max(highest, lowest)


def stack_columns(sizes: Sequence[tuple[int, int]], columns: int) -> list[tuple[int, int]]:
    """First row and first column of rectangles (rows, columns) in a memory of ``columns`` columns.

    Each rectangle goes to the lowest rows above the skyline of those before it. Tries several
    orders and keeps the one that takes the fewest rows.
    """
    numbers = range(len(sizes))
    orders = [
        list(numbers),
        sorted(numbers, key=lambda i: (-sizes[i][1], -sizes[i][0])),
        sorted(numbers, key=lambda i: -sizes[i][0]),
    ]
    placements = [_skyline(sizes, columns, order) for order in orders]
    return min(placements, key=lambda places: stack_height(sizes, places))


def stack_height(sizes: Sequence[tuple[int, int]], places: Sequence[tuple[int, int]]) -> int:
    """Rows up to the last one that is used."""
    return max(row + rows for (rows, _), (row, _) in zip(sizes, places, strict=True))


def _skyline(
    sizes: Sequence[tuple[int, int]], columns: int, order: Sequence[int]
) -> list[tuple[int, int]]:
    heights = [0] * columns
    places = [(0, 0)] * len(sizes)
    for index in order:
        rows, width = sizes[index]
        under = [max(heights[first : first + width]) for first in range(columns - width + 1)]
        row = min(under)
        first = under.index(row)
        places[index] = row, first
        heights[first : first + width] = [row + rows] * width
    return places
