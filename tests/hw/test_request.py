"""RequestCheck against the rules as plain Python, over random requests near every limit."""

import random

import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HostMap, Region
from residuum.hw.isa.protocol import Command, Status
from residuum.hw.link.request import RequestCheck
from tests.hw.simulation import simulate

SMALL = EngineConfig(
    lanes=6,
    tile_lanes=2,
    steps=3,
    weight_rows=5,
    feature_rows=6,
    parameter_rows=6,
    logit_rows=2,
    layers=3,
    receive_words=512,
)
ONE = EngineConfig(
    lanes=1,
    tile_lanes=1,
    steps=1,
    weight_rows=1,
    feature_rows=2,
    parameter_rows=1,
    logit_rows=1,
    layers=1,
)
EXTERNAL = EngineConfig(
    lanes=8, tile_lanes=4, event_width=2, weight_rows=16, masks=0, external=12, receive_words=512
)
CONFIGS = pytest.mark.parametrize(
    "c", [SMALL, ONE, EngineConfig(), EXTERNAL], ids=["small", "one", "usual", "external"]
)
LATENCY = 5

# Listed independently of residuum.hw.isa.host_map.
READS = {r for r in Region if r.name != "CONTROL"}
WRITES = {
    Region[name]
    for name in (
        *("DESCRIPTORS", "TABLES", "PARAMETERS", "WEIGHTS", "TRAINS"),
        *("EXTERNAL", "MEMORY_TEST"),
    )
}


def rows(c: EngineConfig, region: Region) -> int:
    """Values of the highest address field."""
    return {
        "DESCRIPTORS": c.layers,
        "TABLES": c.table_entries,
        "PARAMETERS": c.parameter_rows,
        "WEIGHTS": c.weight_rows,
        "TRAINS": c.feature_rows,
        "OCCUPANCY": c.feature_rows,
        "LOGITS": c.logit_rows,
        "COUNTERS": c.layers,
        "CONTROL": 4,
        # Words of 16 bits, two in an address.
        "EXTERNAL": 1 << c.external - 1 if c.external else 0,
        "MEMORY_TEST": 16 if c.external else 0,
    }[region.name]


def row_size(c: EngineConfig, region: Region) -> int:
    """Addresses of one value of the highest address field."""
    return 1 << sum(width for _, width in HostMap(c).fields(region)[:-1])


# Bytes of the image that the program takes; None: it takes none.
IMAGES = (None, 1, 4, 50)


def expected(
    c: EngineConfig, request: dict, words: int, running: bool, image: int | None
) -> Status:
    """The expected status of a request; `request` has whole 32-bit words."""
    command, address, count = (request[name] for name in ("command", "address", "count"))
    if running and command not in (Command.STATUS, Command.RESET):
        return Status.BUSY
    if command not in list(Command):
        return Status.UNKNOWN
    payload = {
        Command.READ: 0 if 1 <= count <= 256 else None,
        Command.WRITE: count if 1 <= count <= 256 else None,
        Command.WRITE_BYTES: -(-count // 4) if 1 <= count <= 1024 else None,
        Command.RUN: 1 if count == 1 else None,
        Command.CLASSIFY: 1 + -(-count // 4) if image in (None, count) and count else None,
    }.get(command, 0 if count == 0 else None)
    if words - 4 != payload:
        return Status.LENGTH
    if command in (Command.READ, Command.WRITE, Command.WRITE_BYTES):
        region, offset = divmod(address, 1 << HostMap(c).offset_bits)
        allowed = READS if command == Command.READ else WRITES
        if region not in allowed or offset + count > rows(c, Region(region)) * row_size(
            c, Region(region)
        ):
            return Status.RANGE
    if command in (Command.RUN, Command.CLASSIFY):
        first, last = address & 0xFF, address >> 8
        if not first <= last < c.layers:
            return Status.RANGE
        tau, T = request["steps"] & 0xFF, request["steps"] >> 8 & 0xFF
        if request["steps"] >> 17 or not T or tau + T > c.steps:
            return Status.REFUSED
        if tau and not (request["steps"] >> 16 or c.masks):
            return Status.REFUSED
        if command == Command.CLASSIFY and image is None:
            return Status.REFUSED
    return Status.OK


def check(c: EngineConfig, cases: list[tuple[dict, int, bool, int | None]]) -> list[Status]:
    dut = RequestCheck(c)
    seen = []

    async def testbench(ctx):
        for request, words, running, image in cases:
            tau, T = request["steps"] & 0xFF, request["steps"] >> 8 & 0xFF
            limit = 1 << c.step_count_bits
            fields = {
                "steps_plain": request["steps"] >> 17 == 0 and max(tau, T) < limit,
                "tau": tau % limit,
                "inference": T % limit,
                "carry": request["steps"] >> 16 & 1,
                "words": words,
            }
            for name in ("command", "address", "count"):
                value, width = request[name], dut.request.shape()[name].width
                if name == "address":
                    plain = value >> HostMap(c).address_bits == 0
                else:
                    plain = value >> width == 0
                fields |= {name: value & (1 << width) - 1, f"{name}_plain": plain}
            ctx.set(dut.request, fields)
            ctx.set(dut.image.present, image is not None)
            ctx.set(dut.image.pixels, (image or 7) - 1)
            ctx.set(dut.running, running)
            await ctx.tick().repeat(LATENCY)
            seen.append(Status(ctx.get(dut.status)))

    simulate(dut, testbench)
    return seen


def near(rng: random.Random, value: int) -> int:
    """The value or a neighbour, sometimes with one bit inverted."""
    value = max(0, value + rng.choice([0, 0, 0, 0, -1, 1]))
    return value ^ (1 << rng.randrange(32) if rng.random() < 0.1 else 0)


def random_case(rng: random.Random, c: EngineConfig) -> tuple[dict, int, bool, int | None]:
    command = rng.choice([*Command, *Command, 0, 9, rng.randrange(1 << 16)])
    image = rng.choice(IMAGES)
    region = rng.choice([*Region, *Region, *range(11, 16)])
    size = rows(c, region) * row_size(c, region) if region in list(Region) else 16
    limit = {Command.READ: 256, Command.WRITE: 256, Command.WRITE_BYTES: 1024}.get(command, 1)
    count = rng.choice([1, limit, rng.randint(0, limit), size, rng.randint(0, size)])
    offset = max(0, rng.choice([size - count, rng.randint(0, size)]))
    address = (region << HostMap(c).offset_bits) + near(rng, offset)
    if command in (Command.RUN, Command.CLASSIFY):
        first, last = (rng.choice([0, c.layers - 1, rng.randint(0, c.layers)]) for _ in range(2))
        address = near(rng, first | last << 8)
    if command not in (Command.READ, Command.WRITE, Command.WRITE_BYTES):
        count = {Command.RUN: 1, Command.CLASSIFY: image or 5}.get(command, 0)
    count = near(rng, count)
    in_bytes = -(-count // 4)
    payload = {Command.WRITE: count, Command.WRITE_BYTES: in_bytes, Command.RUN: 1}
    payload[Command.CLASSIFY] = 1 + in_bytes
    words = max(4, min(260, 4 + payload.get(command, 0) + rng.choice([0] * 9 + [1])))
    S = c.steps
    good = [tau | T << 8 for tau in range(S) for T in range(1, S - tau + 1)]
    odd = [0x2_0100, 0x1_0000, S | 1 << 8, 0xFFFF, 0xFF01, rng.getrandbits(16)]
    steps = rng.choice([*good, rng.choice(odd), rng.choice(odd), rng.choice(good) | 1 << 16])
    request = {"command": command, "address": address, "count": count, "steps": steps}
    return request, words, rng.random() < 0.1, image


@CONFIGS
@pytest.mark.parametrize("seed", range(3))
def test_every_request_ends_as_the_rules_say(c, seed):
    rng = random.Random(seed)
    cases = [random_case(rng, c) for _ in range(700)]
    wanted = [expected(c, *case) for case in cases]
    assert set(wanted) == set(Status)
    assert list(zip(cases, check(c, cases), strict=True)) == list(zip(cases, wanted, strict=True))


@CONFIGS
@pytest.mark.parametrize("command", [Command.READ, Command.WRITE, Command.WRITE_BYTES])
@pytest.mark.parametrize("region", Region)
def test_the_last_address_of_a_region_and_the_one_behind_it(c, command, region):
    size = rows(c, region) * row_size(c, region)
    last = HostMap(c).address(region) + max(size - 1, 0)
    payload = {Command.READ: (0, 0), Command.WRITE: (1, 2), Command.WRITE_BYTES: (1, 1)}[command]
    cases = [
        ({"command": command, "address": last, "count": count, "steps": 0}, 4 + words, False, None)
        for count, words in zip((1, 2), payload, strict=True)
    ]
    allowed = (READS if command == Command.READ else WRITES) if size else set()
    assert check(c, cases) == [Status.OK if region in allowed else Status.RANGE, Status.RANGE]
