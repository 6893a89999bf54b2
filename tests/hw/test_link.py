"""HostLink: effect and reply of every request; no other frame has an effect."""

import random

import pytest
from amaranth.hdl import Signal

from residuum.hw.isa import protocol
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Control, Correction, HostMap, Region
from residuum.hw.isa.protocol import Command, Frame, Identity, Status
from residuum.hw.link.link import HostLink
from tests.hw.bad_frames import DAMAGED, MAP, REFUSED, TRAINS, WIRE, WRITE
from tests.hw.host import IDENTITY, SMALL, FakeEngine, converse
from tests.hw.simulation import refusal
from tests.hw.streams import PAUSES, wait

RUN = protocol.run(0, 2, tau=1, T=2).with_tag(7)


def asked(*requests, **options) -> tuple[list[list[Frame]], FakeEngine]:
    """The replies to each request, one request after the other."""
    replies = []

    async def script(ctx, host, engine):
        for request in requests:
            replies.append(await host.ask(ctx, request))

    engine = converse(script, **options)
    return replies, engine


def reply(request: Frame, payload=(), status: Status = Status.OK) -> list[Frame]:
    return [
        Frame(
            command=request.command & 0xFF,
            tag=request.tag,
            address=request.address,
            count=len(payload),
            payload=tuple(payload),
            status=status,
        )
    ]


def test_identify():
    request = protocol.identify().with_tag(0xC0DB)
    assert asked(request)[0] == [reply(request, IDENTITY.words())]


@pytest.mark.parametrize("pauses", PAUSES.values(), ids=PAUSES)
@pytest.mark.parametrize("latency", [1, 4, 9])
def test_what_was_written_is_read(pauses, latency):
    words = [0xC0C0_C0C0, 0xDBDB_DBDB, 0, 0xFFFF_FFFF, 0x0102_0304]
    write = protocol.write(TRAINS + 3, words).with_tag(1)
    read = protocol.read(TRAINS + 2, 7).with_tag(2)
    replies, engine = asked(write, read, pauses=pauses, latency=latency)
    assert replies == [reply(write), reply(read, [0, *words, 0])]
    assert engine.writes == [(TRAINS + 3 + place, word) for place, word in enumerate(words)]


@pytest.mark.parametrize("config", [SMALL, EngineConfig()], ids=["small", "usual"])
def test_the_longest_write_and_read(config):
    address = HostMap(config).address(Region.TABLES)
    rng = random.Random(1)
    words = [rng.getrandbits(32) for _ in range(HostMap(config).size(Region.TABLES))][:256]
    write, read = protocol.write(address, words), protocol.read(address, len(words))
    replies, engine = asked(write, read, config=config)
    assert replies == [reply(write), reply(read, words)]
    assert engine.writes == [(address + place, word) for place, word in enumerate(words)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 23, 24])
def test_bytes_become_words(size):
    data = bytes(range(200, 200 + size))
    request = protocol.write_bytes(TRAINS, data).with_tag(3)
    replies, engine = asked(request)
    assert replies == [reply(request)]
    assert engine.writes == [(TRAINS + place, byte) for place, byte in enumerate(data)]


def test_as_many_bytes_as_a_frame_holds():
    address = HostMap(EngineConfig()).address(Region.TRAINS)
    data = random.Random(2).randbytes(1024)
    request = protocol.write_bytes(address, data)
    replies, engine = asked(request, config=EngineConfig())
    assert replies == [reply(request)]
    assert engine.writes == [(address + place, byte) for place, byte in enumerate(data)]


CONTROL = [(MAP.address(Region.CONTROL, word=word), word) for word in Control]


def test_a_run():
    replies, engine = asked(RUN, run_cycles=123)
    steps, run = (MAP.address(Region.CONTROL, word=word) for word in (Control.STEPS, Control.RUN))
    assert engine.writes == [(steps, 2 << 8 | 1), (run, 2 << 8)]
    assert replies == [reply(RUN, [0, 0, 123])]


def test_the_correction_is_handed_to_the_engine():
    request = protocol.run(0, 2, tau=1, T=2, correction=Correction.CARRY)
    replies, engine = asked(request)
    assert replies == [reply(request, [0, 0, 40])]
    assert engine.writes[0] == (engine.control[Control.STEPS], 1 << 16 | 2 << 8 | 1)


def test_the_class_comes_with_the_reply():
    async def script(ctx, host, engine):
        engine.words[engine.control[Control.CLASS]] = 9
        assert await host.ask(ctx, RUN) == reply(RUN, [0, 9, 40])

    converse(script)


@pytest.mark.parametrize("run_cycles", [1, 2, 3, 8, 20])
def test_runs_of_any_length_are_counted(run_cycles):
    again = RUN.with_tag(8)
    replies, engine = asked(RUN, again, run_cycles=run_cycles)
    assert replies == [reply(RUN, [0, 0, run_cycles]), reply(again, [0, 0, run_cycles])]
    assert engine.starts == 2


def test_a_repeated_run_is_answered_again_and_not_executed_again():
    replies, engine = asked(RUN, RUN, RUN)
    assert replies == [reply(RUN, [0, 0, 40])] * 3
    assert engine.starts == 1


def test_the_last_four_runs_are_remembered():
    runs = [RUN.with_tag(tag) for tag in (7, 8, 9, 10)]
    replies, engine = asked(*runs, *reversed(runs), run_cycles=20)
    assert [found for (found,) in replies] == [
        found for run in (*runs, *reversed(runs)) for found in reply(run, [0, 0, 20])
    ]
    assert engine.starts == 4


def test_the_fourth_run_after_a_run_takes_its_place():
    replies, engine = asked(RUN, RUN.with_tag(11), RUN, RUN.with_tag(11), run_cycles=10)
    assert [found.tag for (found,) in replies] == [7, 11, 7, 11]
    assert engine.starts == 4


def test_a_run_with_the_tag_of_another_is_executed():
    other = protocol.run(0, 1, tau=1, T=2).with_tag(RUN.tag)
    replies, engine = asked(RUN, other, RUN)
    assert engine.starts == 3


@pytest.mark.parametrize(
    ("between", "starts"),
    [
        (protocol.identify(), 2),
        (protocol.read(TRAINS, 1), 2),
        (protocol.write(TRAINS, [1]), 2),
        (protocol.write_bytes(TRAINS, b"1"), 2),
        (protocol.reset(), 2),
        (protocol.status(), 1),
        (protocol.read(TRAINS, 0), 1),
        (b"\xc0noise\xc0", 1),
    ],
)
def test_runs_are_remembered_until_another_request_is_executed(between, starts):
    assert asked(RUN, between, RUN)[1].starts == starts


def test_requests_that_cannot_be_are_refused_without_effect():
    wrong = [(s, name, f.with_tag(9)) for s, named in REFUSED.items() for name, f in named.items()]
    status = protocol.status()
    (*replies, counted), engine = asked(*(request for *_, request in wrong), status)
    assert {name: got for (_, name, _), got in zip(wrong, replies, strict=True)} == {
        name: reply(request, status=why) for why, name, request in wrong
    }
    assert counted == reply(status, [0, 0, len(wrong)])
    assert (engine.writes, engine.reads, engine.resets) == ([], [], 0)


def test_requests_in_a_run():
    # During a run, BUSY is answered before anything else is checked.
    refused = [
        protocol.identify(),
        protocol.read(TRAINS, 1),
        protocol.write(TRAINS, [1] * 24),
        protocol.write_bytes(TRAINS, b"123"),
        protocol.read(TRAINS, 0),
        Frame(command=9),
        RUN.with_tag(8),
    ]

    async def script(ctx, host, engine):
        async def during(request: Frame) -> list[Frame]:
            await host.send(ctx, request.encode())
            await wait(ctx, 700)
            replies, host.replies = host.replies, []
            return replies

        await host.send(ctx, RUN.encode())
        await wait(ctx, 50)
        for request in refused:
            assert await during(request) == reply(request, status=Status.BUSY)
        assert await during(RUN) == []
        status = protocol.status().with_tag(5)
        assert await during(status) == reply(status, [1, 0, len(refused)])
        await host.rest(ctx)
        assert host.replies == reply(RUN, [0, 0, 9000])

    engine = converse(script, run_cycles=9000)
    assert (engine.starts, len(engine.writes), engine.reads) == (1, 2, [2, 3])


def test_a_reset_ends_a_run_which_then_gets_no_reply():
    reset = protocol.reset().with_tag(8)

    async def script(ctx, host, engine):
        await host.send(ctx, RUN.encode())
        await wait(ctx, 100)
        assert await host.ask(ctx, reset) == reply(reset)
        assert (engine.resets, engine.starts) == (1, 1)
        engine.run_cycles = 40
        assert await host.ask(ctx, RUN) == reply(RUN, [0, 0, 40])
        assert engine.starts == 2

    converse(script, run_cycles=100_000)


def test_a_reset_without_a_run():
    reset = protocol.reset()
    replies, engine = asked(reset, reset)
    assert (replies, engine.resets, engine.writes) == ([reply(reset)] * 2, 2, [])


@pytest.mark.parametrize("gap", range(0, 90, 7))
def test_a_frame_during_another_waits(gap):
    # The second frame arrives while the first is executed or answered.
    read, write = protocol.read(TRAINS, 2).with_tag(1), protocol.write(TRAINS, [1]).with_tag(2)

    async def script(ctx, host, engine):
        await host.send(ctx, read.encode())
        await wait(ctx, gap)
        assert await host.ask(ctx, write) == reply(read, [0, 0]) + reply(write)
        assert engine.writes == [(TRAINS, 1)]
        assert await host.ask(ctx, protocol.status()) == reply(protocol.status(), [0, 0, 0])

    converse(script)


def test_many_requests_at_once_are_executed_in_order():
    frames = [protocol.write(TRAINS + index, [index + 1]).with_tag(index) for index in range(14)]
    read = protocol.read(TRAINS, 14).with_tag(14)

    async def script(ctx, host, engine):
        wire = b"".join(frame.encode() for frame in (*frames, read))
        replies = await host.ask(ctx, wire)
        assert replies == [found for frame in frames for found in reply(frame)] + reply(
            read, range(1, 15)
        )

    converse(script)


def test_more_requests_than_can_wait_are_dropped():
    async def script(ctx, host, engine):
        await host.send(ctx, RUN.encode())
        await wait(ctx, 100)
        # The run goes on: images wait, and a STATUS behind them.
        waiting = [protocol.classify(0, b"1", tau=0, T=1).with_tag(tag) for tag in range(20)]
        await host.send(ctx, b"".join(frame.encode() for frame in waiting))
        await wait(ctx, 50)
        assert host.replies == []
        await host.rest(ctx)
        answered = [found.tag for found in host.replies]
        assert answered == [RUN.tag, *range(protocol.MAX_REQUESTS)]
        host.replies.clear()
        (status,) = await host.ask(ctx, protocol.status())
        assert status.payload == (0, 20 - protocol.MAX_REQUESTS, protocol.MAX_REQUESTS)

    converse(script, run_cycles=5000)


def test_a_reset_overtakes_what_waits():
    reset = protocol.reset().with_tag(8)

    async def script(ctx, host, engine):
        await host.send(ctx, RUN.encode())
        await wait(ctx, 100)
        waiting = [protocol.classify(0, b"1", tau=0, T=1).with_tag(tag) for tag in range(3)]
        await host.send(ctx, b"".join(frame.encode() for frame in waiting))
        assert await host.ask(ctx, reset) == reply(reset)
        assert engine.resets == 1
        (status,) = await host.ask(ctx, protocol.status())
        assert status.payload == (0, 3, 0)

    converse(script, run_cycles=100_000)


@pytest.mark.parametrize(
    "wrong", [Frame(command=7, count=1), Frame(command=7, payload=(1,)), Frame(command=7, status=1)]
)
def test_a_wrong_reset_overtakes_nothing(wrong):
    async def script(ctx, host, engine):
        await host.send(ctx, RUN.encode())
        await wait(ctx, 100)
        waiting = protocol.classify(0, b"1", tau=0, T=1).with_tag(1)
        await host.send(ctx, waiting.encode() + wrong.encode())
        await host.rest(ctx)
        assert [found.command & 0xFF for found in host.replies] == [5, 8, 7]
        assert engine.resets == 0

    converse(script, run_cycles=2000)


@pytest.mark.parametrize("start", range(60, 140, 3))
def test_a_status_around_the_end_of_a_run_is_answered_or_counted(start):
    status = protocol.status().with_tag(9)

    async def script(ctx, host, engine):
        await host.send(ctx, RUN.encode())
        await wait(ctx, start)
        replies = await host.ask(ctx, status)
        answers = [r for r in replies if r.command == Command.RUN]
        assert answers == reply(RUN, [0, 0, 100])
        answered = sum(r.command == Command.STATUS for r in replies)
        (last,) = await host.ask(ctx, protocol.status())
        assert last.payload == (0, 1 - answered, 0)
        assert await host.ask(ctx, RUN) == reply(RUN, [0, 0, 100])
        assert engine.starts == 1

    converse(script, run_cycles=100)


@pytest.mark.parametrize("kind", ["wrong bit in the CRC", "longer than the buffer"])
@pytest.mark.parametrize("running", [False, True], ids=["idle", "in a run"])
def test_a_damaged_frame_has_no_effect_and_is_counted(kind, running):
    async def script(ctx, host, engine):
        if running:
            await host.send(ctx, RUN.encode())
            await wait(ctx, 80)
        writes = len(engine.writes)
        await host.send(ctx, DAMAGED[kind][0])
        await wait(ctx, 40)
        assert (host.replies, len(engine.writes)) == ([], writes)
        assert ctx.get(host.dut.error)
        status = protocol.status()
        await host.send(ctx, status.encode())
        await wait(ctx, 700)
        assert host.replies == reply(status, [running, 1, 0])
        assert not ctx.get(host.dut.error)
        await host.rest(ctx)
        assert host.replies[1:] == (reply(RUN, [0, 0, 3000]) if running else [])

    converse(script, run_cycles=3000)


def test_a_byte_that_the_wire_lost_voids_its_frame_only():
    async def script(ctx, host, engine):
        await host.send(ctx, WIRE[:5])
        await host.damage(ctx)
        assert await host.ask(ctx, WIRE[5:]) == []
        assert engine.writes == []
        assert await host.ask(ctx, WRITE) == reply(WRITE)

    converse(script)


@pytest.mark.parametrize("give", [0, 1, 7])
@pytest.mark.parametrize("accept", PAUSES.values(), ids=PAUSES)
def test_pauses_on_the_wire_change_nothing(give, accept):
    read = protocol.read(TRAINS, 3).with_tag(2)

    async def script(ctx, host, engine):
        for request, answer in ((WRITE, ()), (read, WRITE.payload)):
            await host.send(ctx, request.encode(), pause=give)
            assert await host.ask(ctx, b"") == reply(request, answer)

    converse(script, pauses=accept)


def test_nothing_goes_on_when_it_is_not_busy():
    async def script(ctx, host, engine):
        for request in (WRITE, RUN, protocol.identify(), b"\xc0noise\xc0"):
            await host.ask(ctx, request)
            before = len(engine.writes), len(engine.reads)
            for _ in range(100):
                await ctx.tick()
                assert not ctx.get(host.dut.busy)
                assert not ctx.get(host.dut.tx.valid)
            assert (len(engine.writes), len(engine.reads)) == before

    converse(script)


@pytest.mark.parametrize("cycles", [3, 20, 45, 60, 75, 100])
def test_a_reset_of_the_link_at_any_time(cycles):
    reset = Signal()

    async def script(ctx, host, engine):
        async def interrupt() -> None:
            ctx.set(reset, 1)
            await ctx.tick()
            ctx.set(reset, 0)

        await host.send(ctx, WIRE[:cycles])
        await wait(ctx, max(0, cycles - len(WIRE)))
        await interrupt()
        host.reader.feed(b"\xc0")
        host.replies.clear()
        assert await host.ask(ctx, WRITE) == reply(WRITE)

    converse(script, reset=reset)


def test_what_is_no_identity_is_refused():
    assert refusal(lambda: HostLink(SMALL)) == (
        TypeError,
        f"identity must be an Identity, not {SMALL!r}",
    )


def test_an_engine_with_too_many_addresses_is_refused():
    config = EngineConfig(lanes=1024, tile_lanes=16, feature_rows=1 << 20, weight_rows=1 << 20)
    identity = Identity(config=config, clock_hz=1)
    assert refusal(lambda: HostLink(identity)) == (
        ValueError,
        "host addresses must fit 32 bits, but those of this engine have 34",
    )
