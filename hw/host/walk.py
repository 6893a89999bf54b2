"""The order in which the feature memory takes the pixels of an image."""

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import PIXEL_BITS, bits_for_count
from residuum.hw.isa.image import OUTSIDE_CHANNELS, SIGNED_FIELDS, ImageDescriptor


def image_layout() -> data.StructLayout:
    """An `ImageDescriptor`, field by field."""
    return data.StructLayout(
        {
            name: (signed if name in SIGNED_FIELDS else unsigned)(width)
            for place in ImageDescriptor.places()
            for name, width in place.items()
        }
    )


class PixelWalk(wiring.Component):
    """Walks through the input map of a network: band, position along x, line of the band, channel,
    the last one fastest.

    A place takes three cycles or more. ``step`` goes to the next one and may be high in every cycle
    but the first two of a place.

    Parameters
    ----------
    depth : int
        Most bytes of an image.

    Members
    -------
    image : In(image_layout)
        Stays while the walk goes on.
    begin : In(1), step : In(1)
        Go to the first place; go to the next one.
    address : Out
        The byte of this place, where it is inside the image.
    inside : Out(1), outside : Out(8)
        From the cycle after ``step``, for the place that was left: whether it is inside the image,
        and its value if it is not.
    row_ends, done : Out(1)
        From the second cycle of a place on: the next place begins a new row; there is no next one.
    """

    def __init__(self, *, depth: int):
        self.depth = depth
        super().__init__(
            {
                "image": In(image_layout()),
                "begin": In(1),
                "step": In(1),
                "address": Out(bits_for_count(depth)),
                "inside": Out(1),
                "outside": Out(PIXEL_BITS),
                "row_ends": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        image = self.image
        channel = Signal.like(image.channels, reset_less=True)
        line = Signal.like(image.lines, reset_less=True)
        band = Signal.like(image.bands, reset_less=True)
        x = Signal.like(image.left, reset_less=True)
        # Line of the image, a cycle late, and that of the first line of the band.
        y, band_y = (Signal.like(image.top, name=name, reset_less=True) for name in ("y", "band_y"))
        m.d.sync += y.eq(band_y + line)

        # Whether this place is the last one of its line, position, band, map; a cycle later.
        last = Cat(
            channel == image.channels,
            line == image.lines,
            x == image.right,
            band == image.bands,
        )
        ends = Signal(len(last), reset_less=True)
        m.d.sync += ends.eq(Cat(last[: index + 1].all() for index in range(len(last))))
        line_ends, position_ends, band_ends, done = ends
        m.d.comb += [
            self.done.eq(done),
            self.row_ends.eq(band_ends | (position_ends & image.aligned)),
        ]
        self._move(m, line_ends, position_ends, band_ends)

        left, top = image.left, image.top
        with m.If(self.begin | self.step):
            m.d.sync += channel.eq(Mux(self.begin | line_ends, 0, channel + 1))
        with m.If(self.begin | (self.step & line_ends)):
            m.d.sync += line.eq(Mux(self.begin | position_ends, 0, line + 1))
        with m.If(self.begin | (self.step & position_ends)):
            m.d.sync += x.eq(Mux(self.begin | band_ends, left, x + 1))
        with m.If(self.begin | (self.step & band_ends)):
            m.d.sync += [
                band.eq(Mux(self.begin, 0, band + 1)),
                band_y.eq(Mux(self.begin, top, band_y + image.step)),
            ]

        # Negative lines and positions are large as unsigned numbers.
        inside = (x.as_unsigned() < image.width) & (y.as_unsigned() < image.height)
        with m.If(self.step):
            number = channel[: bits_for_count(OUTSIDE_CHANNELS)]
            m.d.sync += [
                self.inside.eq(inside),
                self.outside.eq(image.outside.word_select(number, PIXEL_BITS)),
            ]
        return m

    def _move(self, m: Module, line_ends: Value, position_ends: Value, band_ends: Value) -> None:
        """The address: what is added is chosen in the second cycle of a place, and added in the
        third."""
        image, size = self.image, len(self.address)
        step = Signal(size, name="chosen_step", reset_less=True)
        m.d.sync += step.eq(
            Mux(
                position_ends,
                Mux(band_ends, image.band_step, image.position_step),
                Mux(line_ends, image.line_step, image.channel_step),
            )
        )
        with m.If(self.begin | self.step):
            m.d.sync += self.address.eq(Mux(self.begin, image.start, self.address + step))
