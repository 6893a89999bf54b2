"""Layout: shared tables, and which rows a group of output channels reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.sw.compiler.layout import Part, lay_out, lay_out_wide, parts_read, share_tables
from residuum.sw.network.graph import Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from tests.sw.networks import identity


@given(tables=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1))
def test_every_table_is_stored_whole(tables):
    given = [tuple(AxisEntry(row=row) for row in table) for table in tables]
    entries, starts = share_tables(given)
    for table, start in zip(given, starts, strict=True):
        assert entries[start : start + len(table)] == table
    assert len(entries) <= sum(map(len, {tuple(table) for table in tables}))


def test_a_part_of_a_table_is_not_stored_again():
    whole = tuple(AxisEntry(row=row) for row in range(300))
    entries, starts = share_tables([whole[100:200], whole, whole[:5]])
    assert (len(entries), starts) == (300, [100, 0, 0])


def weight(out: int, channels: int, *places: tuple[int, int]) -> np.ndarray:
    result = np.zeros((out, channels, 1, 1), int)
    for place in places:
        result[place] = 1
    return result


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (Source(identity(8, 8, 1)), [Part(0, 4), Part(1, 4)]),
        (Source(identity(12, 4, 1, 4)), [Part(0, 1), Part(0, 4), Part(0, 1)]),
        (Source(np.ones((8, 1, 3, 3), int), groups=8), [Part(0, 4), Part(1, 4)]),
        (Source(np.ones((8, 5, 3, 3), int), groups=2), [Part(0, 5), Part(1, 6)]),
        (Source(weight(3, 12, (0, 5), (2, 9))), [Part(1, 6)]),
        (Source(weight(5, 12, (0, 0), (0, 11))), [Part(0, 12), Part(1, 1)]),
        (Source(np.ones((6, 3, 1, 1), int)), [Part(0, 3), Part(0, 3)]),
    ],
)
def test_rows_that_a_group_reads(source, parts):
    assert parts_read(source, 4) == tuple(parts)


def residual(classes: int) -> IntegerNetwork:
    """A block of 4 channels on 4 x 4 positions, and a dense layer."""
    conv = Source(np.ones((4, 4, 3, 3), int), padding=(1, 1, 1, 1))
    zero, threshold = np.zeros(4, int), np.full(4, 9)
    layers = [Layer("a", (conv,), zero, threshold, 0)]
    for index in range(3):
        before, middle = 2 * index, 2 * index + 1
        first = Source(conv.weight, before, padding=(1, 1, 1, 1))
        second = Source(conv.weight, middle, padding=(1, 1, 1, 1))
        short = Source(identity(4, 4, 1), before)
        layers.append(Layer(f"b{index}", (first,), zero, threshold, 0))
        layers.append(Layer(f"c{index}", (second, short), zero, threshold, 0, 4))
    dense = Source(np.ones((classes, 4, 4, 4), int), 6)
    layers.append(Layer("out", (dense,), np.zeros(classes, int), None, 0))
    return IntegerNetwork("residual", (4, 4, 4), tuple(layers), 8)


def test_a_residual_network_takes_two_maps():
    """Each sum is written over its identity; each map has one row for windows without events."""
    config = EngineConfig(lanes=4, tile_lanes=4)
    layout = lay_out(residual(3), config)
    assert layout.placement.rows == 2 * 16 + 3
    sums = [layer for layer in layout.layers if len(layer.readings) == 2]
    assert all(layer.output.row == layer.readings[1].plan.row for layer in sums)


def test_maps_are_packed_only_where_they_must_be():
    config = EngineConfig(lanes=16, tile_lanes=16, feature_rows=35)
    assert lay_out(residual(3), config).placement.rows == 35
    layout = lay_out(residual(3), config.with_changes(feature_rows=12))
    assert layout.placement.rows == 12
    assert all(not layer.skip_empty for layer in layout.layers)


def test_equal_layers_share_tables():
    """On 4 lanes: the tables of all 3 x 3 convolutions with one source, and with two."""
    layout = lay_out(residual(3), EngineConfig(lanes=4, tile_lanes=4))
    groups = 8 + 3
    packed_image, single, double, dense = 4, 2 * 4, 2 * 4, 1
    assert len(layout.entries) <= groups + packed_image + single + double + dense


def positions(network: IntegerNetwork, config: EngineConfig) -> list[int]:
    return [layer.positions for layer in lay_out_wide(network, config).layers]


def test_windows_are_wide_where_lanes_would_idle():
    """4 channels of 4 x 4 positions on 16 lanes; a 3 x 3 convolution reads 3 x 6 positions for four
    outputs, and an identity 16 channels. The dense layer has one position."""
    config = EngineConfig(lanes=16, tile_lanes=16, weight_rows=4096)
    layout = lay_out_wide(residual(3), config)
    assert positions(residual(3), config) == [4] * 7 + [1]
    sizes = [4 * 3 * 6 + 16 * (len(layer.readings) - 1) for layer in layout.layers[:-1]]
    assert [layer.weight_rows for layer in layout.layers[:-1]] == sizes
    assert all(len(layer.columns) == 1 for layer in layout.layers)
    assert lay_out(residual(3), config).weight_rows < layout.weight_rows


def test_wide_windows_take_no_more_than_the_memories_have():
    config = EngineConfig(lanes=16, tile_lanes=16, weight_rows=4096)
    most, least = (layout(residual(3), config).weight_rows for layout in (lay_out_wide, lay_out))
    for rows in range(least, most + 1, 24):
        layout = lay_out_wide(residual(3), config.with_changes(weight_rows=rows))
        assert layout.weight_rows <= rows
    assert positions(residual(3), config.with_changes(weight_rows=least)) == [1] * 8
    few = positions(residual(3), config.with_changes(weight_rows=(least + most) // 2))
    assert 0 < few.count(4) < 7


def test_windows_stay_narrow_where_they_would_wait_for_the_drain():
    """1 x 1 convolutions read as many positions either way, and the drain takes 16 cycles."""
    source = Source(np.ones((4, 4, 1, 1), int))
    layers = [
        Layer("a", (source,), np.zeros(4, int), np.full(4, 9), 0),
        Layer("out", (Source(np.ones((3, 4, 4, 4), int), 0),), np.zeros(3, int), None, 0),
    ]
    network = IntegerNetwork("points", (4, 4, 4), tuple(layers), 8)
    config = EngineConfig(lanes=16, tile_lanes=16, weight_rows=4096)
    assert positions(network, config) == [1, 1]
