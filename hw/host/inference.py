"""From a raw image to its class and logits, without a host."""

import enum

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.pixels import PixelPacker
from residuum.hw.host.port import HostPort, address_layout
from residuum.hw.isa.config import PIXEL_BITS, EngineConfig, bits_for_count
from residuum.hw.isa.host_map import (
    HOST_WORD_BITS,
    REGION_BITS,
    Control,
    Correction,
    HostMap,
    Region,
    steps_word,
)


def result_layout(config: EngineConfig) -> data.StructLayout:
    """One logit of an image, in the order of the classes.

    ``best`` is the class of the image, the same with every logit; ``last`` marks the last class.
    With ``error`` the image has no class, and this is its only transfer: its number of pixels is
    not the network's, the engine refuses the steps of the run, or no network is loaded.
    """
    return data.StructLayout(
        {
            "logit": signed(HOST_WORD_BITS),
            "best": unsigned(config.class_bits),
            "error": 1,
            "last": 1,
        }
    )


class _Wanted(enum.IntEnum):
    """What is read after a run."""

    STATUS = 0
    CLASS = 1
    LOGIT = 2


class Inference(wiring.Component):
    """Packs an image, runs all layers, and sends the result.

    Parameters
    ----------
    config : EngineConfig
        The engine.
    depth : int
        Most bytes of an image.
    tau, T : int
    correction : Correction
        Steps of the runs after a reset; whoever writes `Control.STEPS` changes them.

    Members
    -------
    waiting, length, too_long, address, pixel, release
        The other side of those of `ImageBuffer`.
    hold : In(1)
        Begin no image.
    busy : Out(1)
        From the cycle after an image is begun, or from the reset, until its result is taken: the
        engine's port is in use.
    host : Out(HostPort), engine_busy : In(1)
        The engine.
    results : Out(stream of result_layout)
        The logits are those of the network, not of the engine.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        depth: int,
        tau: int,
        T: int,
        correction: Correction,
    ):
        if tau < 0 or T < 1 or tau + T > config.steps:
            raise ValueError(
                f"tau >= 0 and T >= 1 must be at most {config.steps} together, not {(tau, T)!r}"
            )
        self.config = config
        self.packer = PixelPacker(config, depth=depth)
        self.steps = steps_word(tau, T, Correction(correction))
        bits = bits_for_count(depth)
        super().__init__(
            {
                "waiting": In(1),
                "length": In(bits),
                "too_long": In(1),
                "address": Out(bits),
                "pixel": In(PIXEL_BITS),
                "release": Out(1),
                "hold": In(1),
                "busy": Out(1),
                "host": Out(HostPort(config)),
                "engine_busy": In(1),
                "results": Out(stream.Signature(result_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        m.submodules.packer = packer = self.packer
        image, host, result = packer.image, self.host, self.results.payload
        offset_bits = HostMap(c).offset_bits
        m.d.comb += [
            self.address.eq(packer.address),
            packer.pixel.eq(self.pixel),
            packer.host.read_data.eq(host.read_data),
            packer.host.read_valid.eq(host.read_valid),
        ]

        # What this unit itself accesses.
        region, offset = Signal(REGION_BITS), Signal(offset_bits)
        word, write, read = Signal(HOST_WORD_BITS), Signal(), Signal()
        m.d.comb += [
            host.read.eq(read | packer.host.read),
            host.write.eq(write | packer.host.write),
            host.address.eq(Mux(packer.busy, packer.host.address, Cat(offset, region))),
            host.write_data.eq(Mux(packer.busy, packer.host.write_data, word)),
        ]

        wanted = Signal(_Wanted)
        place = Signal(address_layout(c, Region.LOGITS))
        number = Signal(c.class_bits)
        shift = Signal.like(image.logit_shift)
        logit, best, error = Signal(signed(HOST_WORD_BITS)), Signal(c.class_bits), Signal()
        m.d.comb += [
            result.logit.eq(logit),
            result.best.eq(best),
            result.error.eq(error),
            result.last.eq(error | (number == image.classes)),
        ]
        with m.FSM(init="SETUP") as fsm:
            with m.State("SETUP"):
                m.d.comb += [
                    region.eq(Region.CONTROL),
                    offset.eq(Control.STEPS),
                    word.eq(self.steps),
                    write.eq(1),
                ]
                m.next = "IDLE"
            with m.State("IDLE"):
                m.d.sync += [place.eq(0), number.eq(0), error.eq(0), wanted.eq(_Wanted.STATUS)]
                with m.If(self.waiting & ~self.hold & ~self.engine_busy):
                    m.d.comb += packer.start.eq(1)
                    m.next = "PACK"
            with m.State("PACK"), m.If(~packer.busy):
                m.next = "RUN"
                with m.If(~image.present | self.too_long | (self.length != image.pixels)):
                    m.d.sync += error.eq(1)
                    m.next = "SEND"
            with m.State("RUN"):
                m.d.comb += [
                    region.eq(Region.CONTROL),
                    offset.eq(Control.RUN),
                    word.eq(Cat(Const(0, 8), image.layers)),
                    write.eq(1),
                ]
                m.next = "WAIT"
            with m.State("WAIT"), m.If(~self.engine_busy):
                m.next = "READ"
            with m.State("READ"):
                with m.If(wanted == _Wanted.LOGIT):
                    m.d.comb += [region.eq(Region.LOGITS), offset.eq(place)]
                with m.Else():
                    of_class = wanted == _Wanted.CLASS
                    m.d.comb += [
                        region.eq(Region.CONTROL),
                        offset.eq(Mux(of_class, Control.CLASS, Control.STATUS)),
                    ]
                m.d.comb += read.eq(1)
                m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += [logit.eq(host.read_data), shift.eq(image.logit_shift)]
                with m.If(host.read_valid), m.Switch(wanted):
                    with m.Case(_Wanted.STATUS):
                        m.d.sync += [wanted.eq(_Wanted.CLASS), error.eq(host.read_data[1])]
                        m.next = "READ"
                        with m.If(host.read_data[1]):
                            m.next = "SEND"
                    with m.Case(_Wanted.CLASS):
                        m.d.sync += [wanted.eq(_Wanted.LOGIT), best.eq(host.read_data)]
                        m.next = "READ"
                    with m.Default():
                        m.next = "SHIFT"
            # A shift of one bit takes no barrel shifter.
            with m.State("SHIFT"):
                with m.If(shift == 0):
                    m.next = "SEND"
                with m.Else():
                    m.d.sync += [logit.eq(logit >> 1), shift.eq(shift - 1)]
            with m.State("SEND"):
                m.d.comb += self.results.valid.eq(1)
                with m.If(self.results.ready):
                    m.d.sync += number.eq(number + 1)
                    self._next_place(m, place)
                    m.next = "READ"
                    with m.If(result.last):
                        m.d.comb += self.release.eq(1)
                        m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m

    def _next_place(self, m: Module, place: data.View) -> None:
        """The logit of the next class is in the next tile, or in the next row of the first."""
        m.d.sync += place.bank.eq(place.bank + 1)
        with m.If(place.bank == self.config.tiles - 1):
            m.d.sync += [place.bank.eq(0), place.row.eq(place.row + 1)]
