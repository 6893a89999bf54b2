"""Windows over sliced and bordered views, and their padding, position by position."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from residuum.sw.frontend.currents import Term
from residuum.sw.frontend.windows import Axis, Windows

SIZES = st.integers(1, 9)


def read(signal: np.ndarray, position: int) -> float:
    return float(signal[position]) if 0 <= position < len(signal) else 0.0


@given(
    size=SIZES,
    start=st.integers(-4, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    kernel=st.integers(1, 4),
    count=st.integers(1, 6),
)
def test_a_source_reads_the_positions_of_its_windows(
    size: int, start: int, stride: int, dilation: int, kernel: int, count: int
) -> None:
    """Starts inside the map, ends before its end and windows outside become zero weights."""
    weight = np.arange(1.0, kernel + 1)
    signal = np.arange(10.0, 10 + size)
    rows = Windows(size, start, stride, dilation, kernel, count)
    expected = [
        sum(weight[k] * read(signal, start + stride * o + dilation * k) for k in range(kernel))
        for o in range(count)
    ]
    columns = Windows(1, 0, 1, 1, 1, 1)
    source = Term(0, (1, 1), weight[None, None, :, None], 1, rows, columns).source()
    assert source.fault() is None
    assert source.output_shape((1, size, 1)) == (1, count, 1)
    first = [source.stride[0] * o - source.padding[0] for o in range(count)]
    taps = source.weight[0, 0, :, 0]
    assert expected == [
        sum(tap * read(signal, at + source.dilation[0] * k) for k, tap in enumerate(taps))
        for at in first
    ]


@given(
    size=SIZES,
    slices=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), max_size=3),
    border=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_an_axis_holds_the_positions_of_slices(
    size: int, slices: list[tuple[int, int]], border: tuple[int, int]
) -> None:
    positions = list(range(size))
    axis = Axis.whole(size)
    for start, step in slices:
        positions = positions[start::step]
        assume(positions)
        axis = axis.sliced(start, step, len(positions))
    before, after = border
    held = axis.sliced(-before, 1, axis.count + before + after)
    inside = [held.start + held.stride * (before + i) for i in range(axis.count)]
    assert inside == positions
    around = [held.start + held.stride * i for i in range(held.count)]
    added = around[:before] + around[before + axis.count :]
    assert axis.cuts(before, after) == any(0 <= each < size for each in added)
