"""Descriptors, table entries and host addresses as data."""

import itertools

import pytest
from amaranth.lib import data
from hypothesis import given
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import (
    DESCRIPTOR_WORDS,
    DRAIN_FIELDS,
    FIELDS,
    SCAN_FIELDS,
    AxisEntry,
    LayerDescriptor,
)
from residuum.hw.isa.host_map import (
    COUNTER_WORDS,
    HOST_WORD_BITS,
    READABLE,
    WRITABLE,
    Counter,
    HostMap,
    Region,
    host_words,
    split_words,
)
from residuum.hw.isa.image import ImageDescriptor
from residuum.hw.isa.presets import PRESETS

SMALL = EngineConfig(
    lanes=3,
    tile_lanes=3,
    steps=2,
    weight_bits=16,
    shift_bits=0,
    weight_rows=5,
    feature_rows=6,
    parameter_rows=7,
    logit_rows=3,
    table_entries=5,
    layers=3,
)
TILES = SMALL.with_changes(lanes=6, tile_lanes=2)
ONE = EngineConfig(
    lanes=1,
    tile_lanes=1,
    steps=1,
    weight_rows=1,
    feature_rows=2,
    parameter_rows=1,
    logit_rows=1,
    table_entries=2,
    layers=1,
)
LARGEST = EngineConfig(
    lanes=1024,
    tile_lanes=16,
    steps=31,
    weight_rows=1 << 20,
    feature_rows=1 << 20,
    parameter_rows=1 << 16,
    logit_rows=1 << 12,
    table_entries=1 << 16,
    layers=64,
)
CONFIGS = pytest.mark.parametrize(
    "c", [SMALL, TILES, ONE, EngineConfig(), LARGEST, *PRESETS.values()]
)


def descriptor(**changes) -> LayerDescriptor:
    return LayerDescriptor(**{**dict.fromkeys(FIELDS, 0), **changes})


@CONFIGS
def test_a_field_is_whole_in_one_word_and_shares_no_bit(c):
    widths = LayerDescriptor.widths(c)
    places = LayerDescriptor.places(c)
    names = [name for place in places for name in place]
    assert sorted(names) == sorted(FIELDS)
    # Out of their order only where that saves words for an image.
    assert names == list(FIELDS) or sum(widths.values()) > 5 * HOST_WORD_BITS
    for place in places:
        taken = [low + bit for name, low in place.items() for bit in range(widths[name])]
        assert taken == list(range(len(taken)))
        assert len(taken) <= HOST_WORD_BITS


@CONFIGS
def test_a_descriptor_fits_the_words_that_it_has(c):
    assert len(LayerDescriptor.places(c)) <= DESCRIPTOR_WORDS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_room_for_the_descriptor_of_an_image(name):
    assert ImageDescriptor.fits(PRESETS[name])
    assert len(LayerDescriptor.places(PRESETS[name])) <= 8


def test_a_descriptor_takes_few_words():
    """The fetch of a descriptor takes a cycle per word."""
    assert len(LayerDescriptor.places(EngineConfig())) == 7


def test_scanner_and_drain_fields_are_all_fields():
    assert list(dict.fromkeys(SCAN_FIELDS + DRAIN_FIELDS)) == list(FIELDS)


@CONFIGS
def test_every_field_takes_its_largest_value_and_no_larger(c):
    widths = LayerDescriptor.widths(c)
    for name, width in widths.items():
        (index, low) = next(
            (index, place[name])
            for index, place in enumerate(LayerDescriptor.places(c))
            if name in place
        )
        largest = (1 << width) - 1
        words = [0] * len(LayerDescriptor.places(c))
        words[index] = largest << low
        assert descriptor(**{name: largest}).words(c) == words
    for name, width in widths.items():
        with pytest.raises(ValueError, match="must fit") as error:
            descriptor(**{name: 1 << width}).words(c)
        assert str(error.value) == f"{name} must fit {width} bits, not {1 << width}"


def test_a_negative_field_is_refused():
    with pytest.raises(ValueError, match="^groups must fit 3 bits, not -1$"):
        descriptor(groups=-1).words(SMALL)


def test_the_layout_of_a_descriptor():
    """A host that packs descriptors itself relies on these places."""
    words = descriptor(windows_y=31, windows_x=15, max_y=2, max_x=1, table_y=3, output=1).words(
        EngineConfig()
    )
    assert words[0] == 31 | 15 << 8 | 2 << 16 | 1 << 20
    assert words[1] == 3
    assert LayerDescriptor.places(EngineConfig())[1] == {
        "table_y": 0,
        "table_x": 9,
        "table_group": 18,
    }


ENTRY = {name: 6 + 17 * index for index, name in enumerate(AxisEntry.widths(SMALL))}


@pytest.mark.parametrize("c", [SMALL.with_changes(weight_rows=9, feature_rows=8), EngineConfig()])
def test_a_packed_entry_reads_back_field_by_field(c):
    entry = {n: v & (1 << AxisEntry.widths(c)[n]) - 1 for n, v in ENTRY.items()}
    layout = data.StructLayout(AxisEntry.widths(c))
    word = data.Const(layout, AxisEntry(**entry).pack(c))
    assert layout.size == AxisEntry.width(c)
    assert {name: word[name] for name in ENTRY} == entry


@pytest.mark.parametrize(
    ("field", "value", "bits"),
    [("row", 8, 3), ("weight", 8, 3), ("count", 256, 8), ("span", -1, 8), ("tail", 4, 2)]
    + [("second_row", 8, 3), ("second_head", 5, 2)],
)
def test_an_entry_that_does_not_fit_names_the_field(field, value, bits):
    with pytest.raises(ValueError, match=f"^{field} must fit {bits} bits, not {value}$"):
        AxisEntry(**{field: value}).pack(SMALL)


def test_an_entry_is_zero_unless_said_otherwise():
    assert AxisEntry().pack(EngineConfig()) == 0


@pytest.mark.parametrize("name", PRESETS)
def test_an_entry_fits_two_block_memories(name):
    """A DP16KD holds 512 words of 36 bits."""
    assert AxisEntry.width(PRESETS[name]) <= 72


@pytest.mark.parametrize(("width", "words"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_host_words(width, words):
    assert host_words(width) == words


@given(st.integers(1, 130).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, (1 << w) - 1))))
def test_split_words_are_the_digits_of_the_value(case):
    width, value = case
    words = list(split_words(value, width))
    assert len(words) == host_words(width)
    assert int("".join(f"{word:08x}" for word in reversed(words)), 16) == value


def places(c: EngineConfig) -> list[tuple[Region, dict[str, int]]]:
    """All addressable words in an engine."""
    counts = {
        Region.CONTROL: {"word": 4},
        Region.DESCRIPTORS: {"word": DESCRIPTOR_WORDS, "layer": c.layers},
        Region.TABLES: {"part": host_words(AxisEntry.width(c)), "entry": c.table_entries},
        Region.PARAMETERS: {"part": 2, "bank": c.tiles, "row": c.parameter_rows},
        Region.WEIGHTS: {
            "part": host_words(c.tile_lanes * c.weight_bits),
            "bank": c.tiles,
            "row": c.weight_rows,
        },
        Region.TRAINS: {"lane": c.tile_lanes, "bank": c.tiles, "row": c.feature_rows},
        Region.OCCUPANCY: {"bank": c.tiles, "row": c.feature_rows},
        Region.LOGITS: {"bank": c.tiles, "row": c.logit_rows},
        Region.COUNTERS: {"word": COUNTER_WORDS, "layer": c.layers},
    }
    return [
        (region, dict(zip(sizes, indices, strict=True)))
        for region, sizes in counts.items()
        for indices in itertools.product(*(range(count) for count in sizes.values()))
    ]


@pytest.mark.parametrize("c", [SMALL, TILES, ONE])
def test_addresses_are_unique_and_fit(c):
    host_map = HostMap(c)
    addresses = [host_map.address(region, **values) for region, values in places(c)]
    assert len(set(addresses)) == len(addresses)
    assert 0 <= min(addresses) <= max(addresses) < 1 << host_map.address_bits


@CONFIGS
def test_the_highest_four_bits_are_the_region(c):
    host_map = HostMap(c)
    assert [host_map.address(r) >> host_map.address_bits - 4 for r in Region] == list(Region)


def test_an_unknown_address_field_is_refused():
    with pytest.raises(ValueError, match="^region LOGITS has no field 'lane'$"):
        HostMap(SMALL).address(Region.LOGITS, lane=1, row=1)


def test_counters_fit_the_words_of_a_layer():
    assert sorted(Counter) == [0, *range(2, COUNTER_WORDS)]


def test_sizes_of_regions():
    # 6 rows of 2 lanes (1 bit) in 3 banks (2 bits), 3 layers of 16 and of 8 words, and so on.
    sizes = {region.name: HostMap(TILES).size(region) for region in Region}
    assert sizes == {
        "CONTROL": 4,
        "DESCRIPTORS": 3 * 16,
        "TABLES": 5 * 2,
        "PARAMETERS": 7 * 2 * 4,
        "WEIGHTS": 5 * 4,
        "TRAINS": 6 * 2 * 4,
        "OCCUPANCY": 6 * 4,
        "LOGITS": 3 * 4,
        "COUNTERS": 3 * 8,
        "EXTERNAL": 0,
        "MEMORY_TEST": 0,
    }


@CONFIGS
@pytest.mark.parametrize("region", Region)
def test_a_region_ends_in_its_address_space(c, region):
    host_map = HostMap(c)
    least = 0 if region in (Region.EXTERNAL, Region.MEMORY_TEST) and not c.external else 1
    most = 1 << sum(width for _, width in host_map.fields(region))
    assert least <= host_map.size(region) <= (most if least else 0)


def test_what_a_host_may_access():
    assert set(Region) - READABLE == {Region.CONTROL}
    results = {Region.OCCUPANCY, Region.LOGITS, Region.COUNTERS}
    assert results == READABLE - WRITABLE
    assert WRITABLE < READABLE
