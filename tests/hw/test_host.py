"""HostDecoder: regions, offsets, and memory words of several host words."""

import random

import pytest

from residuum.hw.host.port import HostDecoder, address_layout
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HostMap, Region, split_words
from tests.hw.simulation import plain, simulate

SMALL = EngineConfig(
    lanes=6, tile_lanes=2, steps=3, weight_rows=5, feature_rows=6, parameter_rows=6, layers=3
)
ONE = EngineConfig(lanes=1, tile_lanes=1, steps=1, weight_rows=1, feature_rows=2, layers=1)
CONFIGS = pytest.mark.parametrize("c", [SMALL, ONE, EngineConfig()], ids=["small", "one", "usual"])


def decoded(c: EngineConfig, accesses: list[dict], *, longest: int = 96, width: int = 96) -> list:
    """The outputs of the decoder, one cycle after each access."""
    dut = HostDecoder(c, longest=longest)
    seen = []

    async def testbench(ctx):
        for access in accesses:
            for name in ("address", "write_data", "write", "read"):
                ctx.set(getattr(dut.port, name), access.get(name, 0))
            await ctx.tick()
            seen.append(
                {
                    "write": [r for r in Region if plain(ctx.get(dut.write))[r]],
                    "read": [r for r in Region if plain(ctx.get(dut.read))[r]],
                    "offset": ctx.get(dut.offset),
                    "word": ctx.get(dut.word(width)),
                }
            )

    simulate(dut, testbench)
    return seen


@CONFIGS
@pytest.mark.parametrize("kind", ["write", "read"])
def test_an_access_is_for_one_region(c, kind):
    accesses = [{"address": HostMap(c).address(region), kind: 1} for region in Region]
    other = {"write": "read", "read": "write"}[kind]
    seen = decoded(c, accesses)
    assert [(cycle[kind], cycle[other]) for cycle in seen] == [([r], []) for r in Region]


@CONFIGS
def test_an_address_without_an_access_is_for_none(c):
    seen = decoded(c, [{"address": HostMap(c).address(region)} for region in Region])
    assert [(cycle["write"], cycle["read"]) for cycle in seen] == [([], [])] * len(Region)


def test_an_unknown_region_is_for_none():
    host_map = HostMap(SMALL)
    unknown = set(range(16)) - set(Region)
    accesses = [
        {"address": region << host_map.offset_bits, kind: 1}
        for region in unknown
        for kind in ("read", "write")
    ]
    seen = decoded(SMALL, accesses)
    assert [(cycle["write"], cycle["read"]) for cycle in seen] == [([], [])] * len(accesses)


@CONFIGS
@pytest.mark.parametrize("region", Region)
def test_the_offset_holds_the_address_fields(c, region):
    rng = random.Random(region)
    layout = address_layout(c, region)
    places = [
        {name: rng.randrange(1 << layout[name].width) for name in layout.members} for _ in range(20)
    ]
    accesses = [{"address": HostMap(c).address(region, **p), "write": 1} for p in places]
    offsets = [cycle["offset"] for cycle in decoded(c, accesses)]
    views = [layout.from_bits(offset & (1 << layout.size) - 1) for offset in offsets]
    assert [plain(view) for view in views] == places
    assert max(offsets) < 1 << layout.size


@pytest.mark.parametrize(("longest", "width"), [(96, 96), (96, 70), (96, 33), (96, 32), (96, 5)])
@pytest.mark.parametrize("pauses", [False, True], ids=["at once", "with pauses and reads"])
def test_a_long_word_is_whole_with_its_last_part(longest, width, pauses):
    rng = random.Random(width)
    address = HostMap(SMALL).address(Region.WEIGHTS)
    words = [rng.getrandbits(width) for _ in range(5)]
    accesses, last = [], []
    for word in words:
        for part in split_words(word, width):
            for _ in range(rng.randint(0, 2) if pauses else 0):
                noise = {"address": rng.randrange(99), "write_data": rng.getrandbits(32)}
                accesses.append(noise | {"read": rng.randrange(2)})
            accesses.append({"address": address, "write": 1, "write_data": part})
        last.append(len(accesses) - 1)
    seen = decoded(SMALL, accesses, longest=longest, width=width)
    assert [seen[index]["word"] for index in last] == words


@pytest.mark.parametrize("longest", [1, 32])
def test_words_of_one_part_need_no_memory(longest):
    accesses = [{"write": 1, "write_data": value} for value in (1, 0xFFFF_FFFF, 0)]
    seen = decoded(ONE, accesses, longest=longest, width=longest)
    assert [cycle["word"] for cycle in seen] == [1, (1 << longest) - 1, 0]
