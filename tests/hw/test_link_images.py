"""HostLink: raw images, whole ones and damaged ones, one after the other."""

import numpy as np
import pytest

from residuum.hw.isa import protocol
from residuum.hw.isa.host_map import Control
from residuum.hw.isa.protocol import Command, Frame, Status
from residuum.sim.bench.fuzz import CONFIG, TAU, T, small_network
from residuum.sw.compiler.program import compile_network
from tests.hw.host import converse
from tests.hw.streams import wait

PROGRAM = compile_network(small_network(), CONFIG, tau=TAU, T=T)
LAST = len(PROGRAM.layers) - 1
LOGITS = [7, -3 & 0xFFFF_FFFF, 0xC0DB_DDDC]
CYCLES = 300


def image(seed: int) -> np.ndarray:
    shape = small_network().input_shape
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def request(seed: int, *, tag: int = 0) -> Frame:
    return protocol.classify(LAST, image(seed).tobytes(), tau=TAU, T=T).with_tag(tag)


def answer(frame: Frame, *, status: Status = Status.OK) -> Frame:
    words = (0, 2, CYCLES, *LOGITS) if status == Status.OK else ()
    return Frame(
        command=frame.command,
        tag=frame.tag,
        address=frame.address,
        count=len(words),
        payload=words,
        status=status,
    )


def talk(script, **options):
    """Runs the script with the program in the engine."""

    async def begin(ctx, host, engine):
        engine.words |= dict(zip(PROGRAM.addresses.tolist(), PROGRAM.words.tolist(), strict=True))
        engine.words |= dict(zip(PROGRAM.logit_reads().tolist(), LOGITS, strict=True))
        engine.words[engine.control[Control.CLASS]] = 2
        await script(ctx, host, engine)

    return converse(begin, config=CONFIG, run_cycles=CYCLES, **options)


def packed(engine, seed: int) -> bool:
    """Whether the image is in the feature memory."""
    addresses, words = PROGRAM.input_writes(image(seed))
    return [engine.words.get(address, 0) for address in addresses.tolist()] == words.tolist()


@pytest.mark.parametrize("latency", [1, 4, 9])
def test_an_image_is_packed_and_run(latency):
    async def script(ctx, host, engine):
        assert await host.ask(ctx, request(1, tag=5)) == [answer(request(1, tag=5))]
        assert packed(engine, 1)
        assert [engine.writes[0], engine.writes[-1]] == [
            (engine.control[Control.STEPS], T << 8 | TAU),
            (engine.control[Control.RUN], LAST << 8),
        ]

    assert talk(script, latency=latency).starts == 1


def test_an_image_of_a_batch_runs_layers_of_its_own():
    frame = protocol.classify(LAST, image(2).tobytes(), tau=TAU, T=T, first=LAST)

    async def script(ctx, host, engine):
        assert await host.ask(ctx, frame) == [answer(frame)]
        assert packed(engine, 2)
        assert engine.writes[-1] == (engine.control[Control.RUN], LAST | LAST << 8)

    assert talk(script).starts == 1


def test_images_on_the_way_are_run_one_after_the_other():
    requests = [request(tag, tag=tag) for tag in range(9)]

    async def script(ctx, host, engine):
        wire = b"".join(frame.encode() for frame in requests)
        assert await host.ask(ctx, wire) == [answer(frame) for frame in requests]
        assert packed(engine, 8)

    assert talk(script).starts == 9


def test_repeated_images_are_answered_again_and_not_run_again():
    requests = [request(tag, tag=tag) for tag in (6, 7, 8, 9)]

    async def script(ctx, host, engine):
        for frame in (*requests, *requests[::-1], *requests):
            assert await host.ask(ctx, frame) == [answer(frame)]
        assert packed(engine, 9)

    assert talk(script).starts == 4


def test_a_repetition_during_the_run_is_answered_twice():
    frame = request(1)

    async def script(ctx, host, engine):
        assert await host.ask(ctx, frame.encode() * 2) == [answer(frame)] * 2

    assert talk(script).starts == 1


@pytest.mark.parametrize("place", [0, 3, 20, 33])
def test_a_damaged_image_has_no_effect(place):
    damaged = bytearray(request(1).pack())
    damaged[place] ^= 0x10

    async def script(ctx, host, engine):
        wire = protocol.slip_encode(bytes(damaged))
        assert await host.ask(ctx, wire) == []
        assert engine.writes == []
        assert await host.ask(ctx, request(2)) == [answer(request(2))]
        assert packed(engine, 2)

    talk(script)


def test_what_fits_no_image_is_refused_without_effect():
    data = image(1).tobytes()
    wrong = [
        (protocol.classify(LAST, data[:-1], tau=TAU, T=T), Status.LENGTH),
        (protocol.classify(LAST, data + b"1", tau=TAU, T=T), Status.LENGTH),
        (protocol.classify(CONFIG.layers, data, tau=TAU, T=T), Status.RANGE),
        (protocol.classify(LAST, data, tau=TAU, T=0), Status.REFUSED),
        (protocol.classify(LAST, data, tau=TAU, T=CONFIG.steps), Status.REFUSED),
    ]

    async def script(ctx, host, engine):
        for frame, status in wrong:
            assert await host.ask(ctx, frame) == [answer(frame, status=status)]
        assert engine.writes == []

    talk(script)


def test_a_program_that_takes_no_pixels():
    async def script(ctx, host, engine):
        assert await host.ask(ctx, request(1)) == [answer(request(1), status=Status.REFUSED)]
        assert engine.writes == []

    converse(script, config=CONFIG)


def test_a_status_while_an_image_runs():
    async def script(ctx, host, engine):
        await host.send(ctx, request(1).encode())
        await wait(ctx, 200)
        await host.send(ctx, protocol.status().encode())
        await host.rest(ctx)
        first, last = host.replies
        assert (first.command, first.payload[0]) == (Command.STATUS, 1)
        assert last == answer(request(1))

    talk(script)


def test_an_engine_that_reads_no_images():
    config = CONFIG.with_changes(steps=3)

    async def script(ctx, host, engine):
        frame = protocol.classify(0, b"1234", tau=0, T=1)
        (found,) = await host.ask(ctx, frame)
        assert found.status == Status.REFUSED

    converse(script, config=config)


def test_the_ring_goes_round():
    """More words than the ring has, in frames of all lengths."""
    address = PROGRAM.addresses[0].item()
    frames = [
        protocol.write(address, [tag] * (tag * 37 % 12 + 1)).with_tag(tag) for tag in range(99)
    ]

    async def script(ctx, host, engine):
        for frame in frames:
            (found,) = await host.ask(ctx, frame)
            assert (found.tag, found.status) == (frame.tag, Status.OK)
        expected = [(address + place, word) for f in frames for place, word in enumerate(f.payload)]
        assert engine.writes == expected

    converse(script, config=CONFIG.with_changes(receive_words=512))
