"""Layout: shared tables, and which rows a group of output channels reads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import AxisEntry
from residuum.sw.compiler.layout import Part, lay_out, parts_read, share_tables
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
