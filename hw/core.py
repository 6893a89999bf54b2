"""The engine as a core for other gateware: pixels in, class and logits out."""

from collections.abc import Mapping

from amaranth.hdl import Elaboratable, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.engine import Engine
from residuum.hw.host.images import ImageBuffer, pixel_layout
from residuum.hw.host.inference import Inference, result_layout
from residuum.hw.host.port import HostPort
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Correction


class BusPort(wiring.Signature):
    """A `HostPort` whose accesses wait: one is accepted in each cycle in which ``write`` or
    ``read``, and ``ready``, are high."""

    def __init__(self, config: EngineConfig):
        super().__init__({**HostPort(config).members, "ready": In(1)})


class Core(wiring.Component):
    """An engine that classifies a stream of images.

    Parameters
    ----------
    config : EngineConfig
        All sizes; the engine must read images, and have no external memory.
    image_bytes : int
        Most bytes of an image, a power of two. The core stores two images.
    program : Mapping[int, int] or None
        Initial memory content: host words by host address. Without one, write a program through
        the bus before the first image.
    tau, T, correction
        Steps of a run after a reset (`Control.STEPS`); by default all steps, without a probe. A
        network in radix code does not need them.

    Members
    -------
    pixels : In(stream of pixel_layout)
        Images, one byte per transfer, in the order channel, line, position along the line; no
        border. ``last`` marks the last byte of an image. The next image is taken while the present
        one runs.
    results : Out(stream of result_layout)
        The logits of each image, in the order of the images.
    bus : In(BusPort)
        The address map of the engine (`residuum.hw.isa.host_map.HostMap`): program, steps,
        counters. Not ready while an image is packed, run, or sent. No image is begun in a cycle
        with an access. Write a program while no image waits.
    busy : Out(1)
        An image waits, runs, or is sent, or the engine runs for the bus.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        image_bytes: int = 4096,
        program: Mapping[int, int] | None = None,
        tau: int = 0,
        T: int | None = None,
        correction: Correction = Correction.MASK,
    ):
        if config.external:
            raise ValueError("a core has no external memory; external must be 0")
        self.config = config
        self.engine = Engine(config, contents=program)
        self.images = ImageBuffer(depth=image_bytes, ecp5=config.memory == "ecp5")
        self.inference = Inference(
            config,
            depth=image_bytes,
            tau=tau,
            T=config.steps - tau if T is None else T,
            correction=correction,
        )
        super().__init__(
            {
                "pixels": In(stream.Signature(pixel_layout())),
                "results": Out(stream.Signature(result_layout(config))),
                "bus": In(BusPort(config)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.engine = engine = self.engine
        m.submodules.images = images = self.images
        m.submodules.inference = inference = self.inference
        wiring.connect(m, wiring.flipped(self.pixels), images.pixels)
        wiring.connect(m, inference.results, wiring.flipped(self.results))
        m.d.comb += [
            inference.waiting.eq(images.waiting),
            inference.length.eq(images.length),
            inference.too_long.eq(images.too_long),
            images.address.eq(inference.address),
            inference.pixel.eq(images.pixel),
            images.release.eq(inference.release),
            inference.engine_busy.eq(engine.busy),
            self.busy.eq(images.waiting | inference.busy | engine.busy),
        ]
        self._share(m)
        return m

    def _share(self, m: Module) -> None:
        """The engine's port: for an image, else for the bus."""
        bus, inner, port = self.bus, self.inference.host, self.engine.host
        running = self.inference.busy
        # Reads of the bus whose answers are still to come.
        open_reads = Signal(range(self.engine.read_latency + 2))
        asked = bus.read & bus.ready
        m.d.sync += open_reads.eq(open_reads + asked - bus.read_valid)
        m.d.comb += [
            bus.ready.eq(~running),
            self.inference.hold.eq(bus.write | bus.read | (open_reads != 0)),
            port.address.eq(Mux(running, inner.address, bus.address)),
            port.write_data.eq(Mux(running, inner.write_data, bus.write_data)),
            port.write.eq(Mux(running, inner.write, bus.write)),
            port.read.eq(Mux(running, inner.read, bus.read)),
            bus.read_data.eq(port.read_data),
            bus.read_valid.eq(port.read_valid & ~running),
            inner.read_data.eq(port.read_data),
            inner.read_valid.eq(port.read_valid & running),
        ]
