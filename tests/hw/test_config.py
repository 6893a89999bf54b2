"""EngineConfig: limits and derived sizes."""

import dataclasses

import pytest

from residuum.hw.isa.config import EngineConfig, bits_for_count


def config(**changes) -> EngineConfig:
    return EngineConfig(**{"lanes": 4, "tile_lanes": 2, **changes})


@pytest.mark.parametrize(
    ("count", "bits"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (512, 9), (513, 10)]
)
def test_bits_for_count(count, bits):
    assert bits_for_count(count) == bits


@pytest.mark.parametrize(
    ("lanes", "tile_lanes", "sizes"),
    [
        # tiles, slots of a bank, slots of a row; bits of lane, bank, slot
        (1, 1, (1, 1, 1, 0, 0, 0)),
        (2, 1, (2, 1, 2, 0, 1, 1)),
        (3, 3, (1, 4, 4, 2, 0, 2)),
        (3, 1, (3, 1, 3, 0, 2, 2)),
        (5, 5, (1, 8, 8, 3, 0, 3)),
        (6, 2, (3, 2, 6, 1, 2, 3)),
        (16, 8, (2, 8, 16, 3, 1, 4)),
        (64, 16, (4, 16, 64, 4, 2, 6)),
    ],
)
def test_sizes_of_a_row(lanes, tile_lanes, sizes):
    c = config(lanes=lanes, tile_lanes=tile_lanes)
    assert c.banks == c.tiles
    assert (c.tiles, c.bank_slots, c.row_slots, c.lane_bits, c.bank_bits, c.slot_bits) == sizes


@pytest.mark.parametrize(
    ("steps", "shift_bits", "planes", "pixel_planes", "passes", "count_bits"),
    [(1, 4, 1, 0, 1, 1), (3, 4, 3, 0, 1, 2), (4, 4, 4, 4, 2, 3), (4, 3, 4, 0, 1, 3)]
    + [(7, 4, 7, 4, 2, 3), (8, 4, 8, 8, 1, 4), (8, 0, 8, 8, 1, 4), (31, 2, 8, 8, 1, 5)],
)
def test_a_pixel_takes_one_pass_or_two(steps, shift_bits, planes, pixel_planes, passes, count_bits):
    c = config(steps=steps, shift_bits=shift_bits)
    sizes = (c.planes, c.pixel_planes, c.passes, c.step_count_bits)
    assert sizes == (planes, pixel_planes, passes, count_bits)


@pytest.mark.parametrize(("lanes", "streams"), [(2, 1), (4, 1), (6, 2), (16, 4)])
def test_banks_of_a_stream(lanes, streams):
    assert config(lanes=lanes, tile_lanes=2, event_width=1).stream_banks == lanes // 2
    if lanes > 2:
        assert config(lanes=lanes, tile_lanes=2, event_width=2).stream_banks == streams


def test_address_widths():
    rows = {"weight_rows": 1000, "feature_rows": 512, "parameter_rows": 100, "logit_rows": 9}
    c = config(**rows, table_entries=2, layers=1)
    of_rows = (c.weight_row_bits, c.feature_row_bits, c.parameter_row_bits, c.logit_row_bits)
    assert (of_rows, c.table_bits, c.layer_bits) == ((10, 9, 7, 4), 1, 0)


@pytest.mark.parametrize(
    ("lanes", "tile_lanes", "logit_rows", "bits"),
    [(1, 1, 1, 0), (3, 3, 10, 4), (6, 2, 4, 4), (16, 8, 64, 7), (64, 8, 1, 3)],
)
def test_a_class_is_a_logit_row_of_a_tile(lanes, tile_lanes, logit_rows, bits):
    assert config(lanes=lanes, tile_lanes=tile_lanes, logit_rows=logit_rows).class_bits == bits


def test_one_weight_row_still_has_an_address():
    assert config(weight_rows=1).weight_row_bits == 1


RANGES = {
    "lanes": (1, 1024),
    "tile_lanes": (1, 16),
    "steps": (1, 31),
    "weight_bits": (2, 16),
    "accumulator_bits": (4, 32),
    "potential_bits": (8, 32),
    "fraction_bits": (0, 12),
    "shift_bits": (0, 12),
    "weight_rows": (1, 1 << 20),
    "feature_rows": (2, 1 << 20),
    "parameter_rows": (1, 1 << 16),
    "logit_rows": (1, 1 << 12),
    "table_entries": (2, 1 << 16),
    "layers": (1, 64),
    "receive_words": (512, 16384),
}


@pytest.mark.parametrize(
    ("name", "low", "high", "value"),
    [(n, low, high, v) for n, (low, high) in RANGES.items() for v in (low - 1, high + 1, -5)],
)
def test_a_size_out_of_range_is_refused(name, low, high, value):
    reason = r" \(.*32 bits\)" if name == "steps" else ""
    message = rf"^{name} must be in {low}\.\.{high}{reason}, not {value}$"
    with pytest.raises(ValueError, match=message):
        config(**{name: value})


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [1.0, "4", True, None])
def test_a_size_must_be_an_integer(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be an integer, not {value!r}$"):
        config(**{name: value})


@pytest.mark.parametrize(
    "ends",
    [
        {"lanes": 1, "tile_lanes": 1},
        {"lanes": 1024, "tile_lanes": 16},
        {"steps": 1, "feature_rows": 2, "table_entries": 2, "layers": 1},
        {"weight_rows": 1, "parameter_rows": 1, "logit_rows": 1},
        {"steps": 31, "layers": 64, "weight_rows": 1 << 20, "feature_rows": 1 << 20},
        {"parameter_rows": 1 << 16, "logit_rows": 1 << 12, "table_entries": 1 << 16},
        {"weight_bits": 2, "accumulator_bits": 4, "potential_bits": 8, "shift_bits": 2},
        {"weight_bits": 16, "accumulator_bits": 20, "potential_bits": 32, "fraction_bits": 12},
        {"weight_bits": 8, "accumulator_bits": 8, "shift_bits": 0},
        {"weight_bits": 8, "accumulator_bits": 20, "shift_bits": 12},
        {"lanes": 5, "tile_lanes": 5},
        {"receive_words": 512},
        {"receive_words": 16384},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(ends):
    c = config(**ends)
    assert {name: getattr(c, name) for name in ends} == ends


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 6, "tile_lanes": 4}, "lanes must be a multiple of tile_lanes 4, not 6"),
        (
            {"lanes": 6, "tile_lanes": 3},
            "tile_lanes must be a power of two when there are several tiles, not 3",
        ),
        (
            {"weight_bits": 9, "accumulator_bits": 8, "shift_bits": 0},
            "accumulator_bits must be at least weight_bits + shift_bits = 9, not 8",
        ),
        (
            {"weight_bits": 8, "accumulator_bits": 12, "shift_bits": 5},
            "accumulator_bits must be at least weight_bits + shift_bits = 13, not 12",
        ),
        (
            {"accumulator_bits": 16, "fraction_bits": 5, "potential_bits": 20},
            "potential_bits must be at least accumulator_bits + fraction_bits = 21, not 20",
        ),
        ({"memory": "sram"}, 'memory must be "inferred" or "ecp5", not \'sram\''),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(changes, message):
    with pytest.raises(ValueError, match="not") as error:
        config(**changes)
    assert str(error.value) == message


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().lanes = 8  # type: ignore[misc]


def test_a_copy_with_changes_is_a_new_configuration():
    before = config(lanes=4)
    after = before.with_changes(lanes=8, memory="ecp5")
    assert (before.tiles, after.tiles, after.memory) == (2, 4, "ecp5")


def test_a_copy_with_changes_is_checked():
    with pytest.raises(ValueError, match=r"^lanes must be in 1\.\.1024, not 0$"):
        config().with_changes(lanes=0)


@pytest.mark.parametrize(
    ("lanes", "tile_lanes"), [(1, 1), (3, 3), (8, 8), (10, 2), (12, 4), (16, 8), (64, 16)]
)
def test_a_number_of_lanes_chooses_its_tiles(lanes, tile_lanes):
    c = EngineConfig.for_lanes(lanes, steps=3)
    assert (c.lanes, c.tile_lanes, c.steps) == (lanes, tile_lanes, 3)


def test_every_number_of_lanes_has_tiles():
    assert [EngineConfig.for_lanes(lanes).lanes for lanes in range(1, 70)] == list(range(1, 70))


def test_memory_for_requests_is_whole_block_memories():
    with pytest.raises(ValueError, match="^receive_words must be a multiple of 512, not 1000$"):
        config(receive_words=1000)
