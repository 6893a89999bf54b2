"""Contents: host writes, converted to memory words."""

import random
from hashlib import sha256

import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import STORED, Contents, contents_digest
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS
from residuum.hw.isa.host_map import HostMap, Region
from tests.hw.simulation import refusal

CONFIG = EngineConfig(lanes=8, tile_lanes=4, weight_bits=12, weight_rows=20)


def test_parts_are_put_together_lowest_first():
    address = HostMap(CONFIG).address
    writes = {
        address(Region.WEIGHTS, row=2, bank=1, part=0): 0x89ABCDEF,
        address(Region.WEIGHTS, row=2, bank=1, part=1): 0x4567,
        address(Region.WEIGHTS, row=0, bank=1, part=1): 0xFFFF_0001,
        address(Region.WEIGHTS, row=1, bank=0, part=0): 5,
    }
    contents = Contents(CONFIG, writes)
    assert contents.words(Region.WEIGHTS, 48, bank=0) == [0, 5]
    # Bits beyond the width of the memory are dropped.
    assert contents.words(Region.WEIGHTS, 48, bank=1) == [1 << 32, 0, 0x456789ABCDEF]


def test_a_word_lies_where_the_memory_is_addressed():
    """The address in the memory consists of all fields but bank and part, lowest first."""
    writes = {
        HostMap(CONFIG).address(Region.PARAMETERS, row=11, bank=1, part=1): 7,
        HostMap(CONFIG).address(Region.DESCRIPTORS, layer=1, word=3): 5,
    }
    contents = Contents(CONFIG, writes)
    assert contents.words(Region.PARAMETERS, 64, bank=1) == [0] * 11 + [7 << 32]
    assert contents.words(Region.DESCRIPTORS, 32) == [0] * (DESCRIPTOR_WORDS + 3) + [5]


@pytest.mark.parametrize("region", sorted(STORED))
def test_nothing_is_left_out(region):
    """Every address of a region is a separate word."""
    config = EngineConfig(
        lanes=8, tile_lanes=4, weight_rows=16, parameter_rows=8, table_entries=16, layers=2
    )
    rng = random.Random(region)
    host_map = HostMap(config)
    first = host_map.address(region)
    writes = {first + i: rng.getrandbits(32) for i in range(host_map.size(region))}
    banks = dict(host_map.fields(region)).get("bank", 0)
    contents = Contents(config, writes)
    seen = []
    for bank in range(1 << banks):
        for word in contents.words(region, 128, bank=bank):
            seen += [word >> low & 0xFFFFFFFF for low in range(0, 128, 32)]
    parts = 1 << dict(host_map.fields(region)).get("part", 0)
    found = [value for index, value in enumerate(seen) if index % 4 < parts]
    assert sorted(found) == sorted(writes.values())


@pytest.mark.parametrize(
    ("address", "word", "error"),
    [
        (HostMap(CONFIG).address(Region.TRAINS), 0, "address must be that of a stored memory"),
        (HostMap(CONFIG).address(Region.CONTROL), 0, "address must be that of a stored memory"),
        (HostMap(CONFIG).address(Region.WEIGHTS, row=20), 0, "address must be that of a stored"),
        (1 << 30, 0, "address must be that of a stored memory"),
        (HostMap(CONFIG).address(Region.WEIGHTS), 1 << 32, "word must fit 32 bits"),
        (HostMap(CONFIG).address(Region.WEIGHTS), -1, "word must fit 32 bits"),
    ],
)
def test_what_cannot_be_stored_is_refused(address, word, error):
    kind, message = refusal(lambda: Contents(CONFIG, {address: word}))
    assert kind is ValueError
    assert message.startswith(error)


def test_the_digest_of_contents_is_that_of_sorted_addresses_and_words():
    pairs = bytes([3, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0])
    assert contents_digest({5: 7, 3: 1}) == sha256(pairs).digest()[:8]
    assert contents_digest({5: 7, 3: 2}) != contents_digest({5: 7, 3: 1})
    assert contents_digest({}) == bytes(8)
