"""A host and an engine around a `HostLink` in Amaranth's simulator."""

from collections.abc import Iterable

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Control, HostMap, Region
from residuum.hw.isa.protocol import Frame, FrameReader, Identity
from residuum.hw.link.link import HostLink
from tests.hw.simulation import simulate
from tests.hw.streams import NO_PAUSE, take, wait

SMALL = EngineConfig(
    lanes=6,
    tile_lanes=2,
    steps=3,
    weight_rows=5,
    feature_rows=6,
    parameter_rows=6,
    logit_rows=2,
    table_entries=10,
    layers=3,
    receive_words=512,
)


class Host:
    """Sends bytes to a component with ``rx``, ``rx_damaged`` and ``tx``; collects the replies."""

    def __init__(self, dut, pauses: Iterable[int] = NO_PAUSE):
        self.dut = dut
        self.pauses = pauses
        self.reader = FrameReader()
        self.replies: list[Frame] = []

    async def listen(self, ctx) -> None:
        await take(ctx, self.dut.tx, self._hear, self.pauses)

    def _hear(self, byte: int) -> None:
        self.replies += self.reader.feed(bytes([byte]))

    async def send(self, ctx, data: bytes, *, pause: int = 0) -> None:
        for byte in data:
            await wait(ctx, pause)
            ctx.set(self.dut.rx.payload, byte)
            ctx.set(self.dut.rx.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.rx.valid, 0)

    async def damage(self, ctx) -> None:
        """Signal that a byte was lost on the wire."""
        ctx.set(self.dut.rx_damaged, 1)
        await ctx.tick()
        ctx.set(self.dut.rx_damaged, 0)

    async def rest(self, ctx, limit: int = 30_000) -> None:
        """Waits until the device is not busy."""
        for _ in range(limit):
            await ctx.tick()
            if not ctx.get(self.dut.busy):
                await ctx.tick()  # the last byte comes one cycle later
                return
        raise TimeoutError(f"busy for more than {limit} cycles")

    async def ask(self, ctx, request: Frame | bytes) -> list[Frame]:
        """Send a request and return all replies."""
        await self.send(ctx, request if isinstance(request, bytes) else request.encode())
        await self.rest(ctx)
        replies, self.replies = self.replies, []
        return replies


class FakeEngine:
    """Follows the contract of the host port: stores words, and is busy after RUN."""

    def __init__(self, dut: HostLink, *, latency: int = 4, run_cycles: int = 40):
        self.dut = dut
        self.latency = latency
        self.run_cycles = run_cycles
        self.words: dict[int, int] = {}
        self.writes: list[tuple[int, int]] = []
        self.reads: list[int] = []
        self.resets = 0
        self.control = {
            name: HostMap(dut.identity.config).address(Region.CONTROL, word=name)
            for name in Control
        }

    @property
    def starts(self) -> int:
        return sum(address == self.control[Control.RUN] for address, _ in self.writes)

    async def run(self, ctx) -> None:
        host = self.dut.host
        answers: list[tuple[int, int]] = []
        now = busy_until = 0
        while True:
            _, _, write, read, address, word, reset = await ctx.tick().sample(
                host.write,
                host.read,
                host.address,
                host.write_data,
                self.dut.engine_reset,
            )
            now += 1
            assert not (write and read)
            if write:
                self.writes.append((address, word))
                self.words[address] = word
                busy_until = max(busy_until, now + 1)
                if address == self.control[Control.RUN]:
                    busy_until = now + self.run_cycles
            if read:
                self.reads.append(address)
                answers.append((now + self.latency - 1, self.words.get(address, 0)))
            if reset:
                self.resets += 1
                busy_until, answers = now, []
            due = [word for when, word in answers if when == now]
            ctx.set(host.read_valid, bool(due))
            ctx.set(host.read_data, due[0] if due else 0xDEAD_BEEF)
            ctx.set(self.dut.engine_busy, now < busy_until)


def converse(
    script,  # type: ignore[no-untyped-def]
    *,
    config: EngineConfig = SMALL,
    pauses: Iterable[int] = NO_PAUSE,
    latency: int = 4,
    run_cycles: int = 40,
    reset=None,  # type: ignore[no-untyped-def]
) -> FakeEngine:
    """Runs ``script(ctx, host, engine)`` with a link; returns the engine."""
    dut = HostLink(IDENTITY if config is SMALL else Identity(config=config, clock_hz=1))
    host = Host(dut, pauses)
    engine = FakeEngine(dut, latency=latency, run_cycles=run_cycles)

    async def testbench(ctx):
        await script(ctx, host, engine)

    simulate(dut, testbench, reset=reset, background=[host.listen, engine.run])
    return engine


IDENTITY = Identity(config=SMALL, clock_hz=190_000_000, digest=b"\xc0\xdb\xdc\xdd", name="digits")
