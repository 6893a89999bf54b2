"""Places in memories: blocks with a lifetime, and rectangles of columns."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.sw.compiler.blocks import (
    Block,
    end_of,
    place_blocks,
    rows_in_use,
    stack_columns,
    stack_height,
)

BLOCKS = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 9), st.integers(0, 9)).map(
        lambda block: Block(block[0], min(block[1:]), max(block[1:]))
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=200)
@given(blocks=BLOCKS, enough=st.sampled_from([1, 1000]))
def test_no_row_is_used_twice_at_a_time(blocks, enough):
    rows = place_blocks(blocks, enough)
    memory = np.zeros((10, end_of(blocks, rows)), int)
    for row, block in zip(rows, blocks, strict=True):
        assert row >= 0
        memory[block.first : block.last + 1, row : row + block.rows] += 1
    assert memory.max() == 1
    assert rows_in_use(blocks) == {layer: int(memory[layer].sum()) for layer in rows_in_use(blocks)}


@settings(deadline=None, max_examples=100)
@given(sizes=st.lists(st.integers(1, 50), min_size=2, max_size=12))
def test_a_chain_takes_no_more_than_its_largest_pair(sizes):
    blocks = [Block(size, index, index + 1) for index, size in enumerate(sizes)]
    pairs = [first + second for first, second in zip(sizes, sizes[1:], strict=False)]
    assert end_of(blocks, place_blocks(blocks, 1)) == max(pairs)


@settings(deadline=None, max_examples=200)
@given(
    columns=st.integers(1, 16),
    data=st.data(),
)
def test_rectangles_do_not_overlap(columns, data):
    sizes = data.draw(
        st.lists(st.tuples(st.integers(1, 20), st.integers(1, columns)), min_size=1, max_size=10)
    )
    places = stack_columns(sizes, columns)
    memory = np.zeros((stack_height(sizes, places), columns), int)
    for (rows, width), (row, first) in zip(sizes, places, strict=True):
        assert first + width <= columns
        memory[row : row + rows, first : first + width] += 1
    assert memory.max() == 1


def test_narrow_rectangles_stand_beside_each_other():
    assert stack_height([(10, 2)] * 4, stack_columns([(10, 2)] * 4, 8)) == 10
