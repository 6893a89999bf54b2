"""A buffer for two raw images: one arrives while the other one is read."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import PIXEL_BITS, bits_for_count
from residuum.hw.isa.image import MAX_IMAGE_BYTES
from residuum.hw.memory.block import BlockMemory


def pixel_layout() -> data.StructLayout:
    """A pixel of an image, and whether it is the last one."""
    return data.StructLayout({"value": unsigned(PIXEL_BITS), "last": 1})


class ImageBuffer(wiring.Component):
    """Takes images one after another, and offers them in the same order.

    Parameters
    ----------
    depth : int
        Most bytes of an image, a power of two.
    ecp5 : bool
        As in `BlockMemory`.

    Members
    -------
    pixels : In(stream of pixel_layout)
        One byte per cycle, until two images wait.
    waiting : Out(1)
        An image is there.
    length, too_long : Out
        Its number of bytes, less one; whether there were more than ``depth``, which are dropped.
    address : In, pixel : Out(8)
        A byte of it, and its value two cycles later.
    release : In(1)
        The image is no longer needed.
    """

    def __init__(self, *, depth: int, ecp5: bool = False):
        if not isinstance(depth, int) or isinstance(depth, bool):
            raise TypeError(f"depth must be an integer, not {depth!r}")
        if not 2 <= depth <= MAX_IMAGE_BYTES or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two in 2..{MAX_IMAGE_BYTES}, not {depth!r}")
        self.depth = depth
        self.ecp5 = ecp5
        bits = bits_for_count(depth)
        super().__init__(
            {
                "pixels": In(stream.Signature(pixel_layout())),
                "waiting": Out(1),
                "length": Out(bits),
                "too_long": Out(1),
                "address": In(bits),
                "pixel": Out(PIXEL_BITS),
                "release": In(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        m.submodules.memory = memory = BlockMemory(
            width=PIXEL_BITS, depth=2 * self.depth, ecp5=self.ecp5
        )
        pixels = self.pixels
        writing, reading = Signal(), Signal()  # the area of each side
        full = Array(Signal(name=f"full_{area}") for area in range(2))
        lengths = Array(Signal.like(self.length, name=f"length_{area}") for area in range(2))
        too_long = Array(Signal(name=f"too_long_{area}") for area in range(2))
        count, over = Signal.like(self.length), Signal()
        taken = pixels.valid & pixels.ready
        m.d.comb += [
            pixels.ready.eq(~full[writing]),
            memory.write_enable.eq(taken & ~over),
            memory.write_address.eq(Cat(count, writing)),
            memory.write_data.eq(pixels.payload.value),
            memory.read_address.eq(Cat(self.address, reading)),
            self.pixel.eq(memory.read_data),
            self.waiting.eq(full[reading]),
            self.length.eq(lengths[reading]),
            self.too_long.eq(too_long[reading]),
        ]
        with m.If(self.release):
            m.d.sync += [full[reading].eq(0), reading.eq(~reading)]
        with m.If(taken):
            m.d.sync += [count.eq(count + 1), over.eq(over | (count == self.depth - 1))]
            with m.If(pixels.payload.last):
                m.d.sync += [
                    full[writing].eq(1),
                    lengths[writing].eq(count),
                    too_long[writing].eq(over),
                    writing.eq(~writing),
                    count.eq(0),
                    over.eq(0),
                ]
        return m
