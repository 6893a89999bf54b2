"""Packs the raw pixels of an image into rows of the feature memory."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.host.port import HostPort
from residuum.hw.host.walk import PixelWalk, image_layout
from residuum.hw.isa.config import PIXEL_BITS, EngineConfig, bits_for_count
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS
from residuum.hw.isa.host_map import REGION_BITS, HostMap, Region
from residuum.hw.isa.image import FIRST_IMAGE_WORD, MAX_IMAGE_BYTES, ImageDescriptor
from residuum.hw.logic import delayed

# Cycles from `PixelPacker.address` to the pixel, at least and at most. The most are those of a
# `BlockMemory` with a register in front and one behind.
LEAST_LATENCY, PIXEL_LATENCY = 2, 4


class PixelPacker(wiring.Component):
    """Raw pixels of an image -> writes of trains, as the `ImageDescriptor` of the program says.

    The image is in a memory of the caller, which may be read in any order; the packer reads it in
    the order of the feature memory, in which each bank takes the lanes of a row. It writes a slot
    of the input map every third cycle, then, one per cycle, the slots that a row has left over, as
    few as the banks need. With S < 8 it goes twice through the image, for the upper and for the
    lower four bit-planes.

    Parameters
    ----------
    config : EngineConfig
        The engine; it must read images (`EngineConfig.pixel_planes`).
    depth : int
        Most bytes of an image; a power of two.

    Members
    -------
    load : In(1)
        Read the descriptor from the engine's memory.
    start : In(1)
        Read the descriptor, then pack the image, unless ``image.present`` turns out to be 0. Both
        may be given only while neither the engine nor the packer is busy.
    busy : Out(1)
        High from the cycle after ``load`` or ``start`` until the last access is over. A run may
        be started in the next cycle.
    address : Out, pixel : In(8)
        A byte of the image, in the order channel, line, position along the line, and its value
        `LEAST_LATENCY` to `PIXEL_LATENCY` cycles later.
    host : Out(HostPort)
        That of the engine; no access while not ``busy``.
    image : Out(image_layout)
        The descriptor as last read. ``present`` is 0 if there is none, or the image is larger than
        ``depth``.
    """

    def __init__(self, config: EngineConfig, *, depth: int):
        if not isinstance(config, EngineConfig):
            raise TypeError(f"config must be an EngineConfig, not {config!r}")
        if not isinstance(depth, int) or isinstance(depth, bool):
            raise TypeError(f"depth must be an integer, not {depth!r}")
        if not 2 <= depth <= MAX_IMAGE_BYTES or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two in 2..{MAX_IMAGE_BYTES}, not {depth!r}")
        if not config.pixel_planes:
            raise ValueError(f"an engine of {config.steps} steps cannot read images")
        if not ImageDescriptor.fits(config):
            raise ValueError("the layer descriptors of this engine leave no room for an image's")
        self.config = config
        self.depth = depth
        super().__init__(
            {
                "load": In(1),
                "start": In(1),
                "busy": Out(1),
                "address": Out(bits_for_count(depth)),
                "pixel": In(PIXEL_BITS),
                "host": Out(HostPort(config)),
                "image": Out(image_layout()),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        m.submodules.walk = walk = PixelWalk(depth=self.depth)
        word = Signal(range(DESCRIPTOR_WORDS))
        packing = Signal(reset_less=True)
        lower = Signal(reset_less=True)  # the lower four bit-planes
        finished = Signal(reset_less=True)
        begin, step, fill = Signal(), Signal(), Signal()
        slot = self._count_slots(m, begin=begin & ~lower, advance=step | fill, skip=fill)
        row_full = (slot.lane == c.tile_lanes - 1) & (slot.bank == c.tiles - 1)
        m.d.comb += [
            walk.image.eq(self.image),
            walk.begin.eq(begin),
            walk.step.eq(step),
            self.address.eq(walk.address),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [word.eq(FIRST_IMAGE_WORD), packing.eq(self.start), lower.eq(0)]
                with m.If(self.start | self.load):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.host.read.eq(1)
                m.next = "STORE"
            with m.State("STORE"), m.If(self.host.read_valid):
                m.d.sync += word.eq(word + 1)
                m.next = "READ"
                with m.If(word == DESCRIPTOR_WORDS - 1):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += begin.eq(1)
                m.next = "IDLE"
                with m.If(packing & self.image.present):
                    m.next = "LOOK"
            with m.State("LOOK"):
                m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.next = "STEP"
            with m.State("STEP"):
                m.d.comb += step.eq(1)
                m.d.sync += finished.eq(walk.done)
                m.next = "LOOK"
                with m.If(walk.row_ends & ~row_full):
                    m.next = "FILL"
                with m.Elif(walk.done):
                    m.next = "END"
            with m.State("FILL"):
                m.d.comb += fill.eq(1)
                with m.If(row_full):
                    m.next = "LOOK"
                    with m.If(finished):
                        m.next = "END"
            # The last write.
            with m.State("END"):
                m.next = "ENDED"
            with m.State("ENDED"):
                m.d.sync += lower.eq(1)
                m.next = "IDLE"
                if c.passes == 2:
                    with m.If(~lower):
                        m.next = "BEGIN"

        self._store(m, word, fsm.ongoing("STORE") & self.host.read_valid)

        # A slot is written two cycles later, when its pixel is there.
        written = delayed(m, slot.as_value(), 2, "written")
        has_pixel = delayed(m, step, 2, "has_pixel")
        writing, soon = Signal(), Signal()
        m.d.sync += [soon.eq(step | fill), writing.eq(soon)]
        value = Mux(walk.inside, self.pixel, walk.outside)
        if c.passes == 2:
            value = Mux(lower, value[: c.pixel_planes], value[c.pixel_planes :])
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.host.write.eq(writing),
            self.host.write_data.eq(Mux(has_pixel, value, 0)),
            self.host.address.eq(
                Mux(
                    fsm.ongoing("READ"),
                    self._address(Region.DESCRIPTORS, word),
                    self._address(Region.TRAINS, written),
                )
            ),
        ]
        return m

    def _address(self, region: Region, offset: Value) -> Value:
        host_map = HostMap(self.config)
        return Cat(offset, Const(0, host_map.offset_bits - len(offset)), Const(region, REGION_BITS))

    def _store(self, m: Module, word: Value, arrives: Value) -> None:
        """The registers of the descriptor, each loaded when its word arrives."""
        for index, place in enumerate(ImageDescriptor.places()):
            stored = Signal(sum(place.values()), name=f"word_{index}", reset_less=True)
            with m.If(arrives & (word == FIRST_IMAGE_WORD + index)):
                m.d.sync += stored.eq(self.host.read_data)
            low = 0
            for name, width in place.items():
                field = stored[low : low + width]
                if name == "present":
                    field &= ~self.image.pixels[bits_for_count(self.depth) :].any()
                m.d.comb += self.image[name].eq(field)
                low += width

    def _count_slots(self, m: Module, *, begin: Value, advance: Value, skip: Value) -> data.View:
        """The slot of the feature memory that is written next: a lane of a bank of a row. With
        ``skip``, the last lane follows the present one. A row begins with lane 0 of bank 0."""
        c = self.config
        slot = Signal(
            data.StructLayout(
                {
                    "lane": unsigned(c.lane_bits),
                    "bank": unsigned(c.bank_bits),
                    "row": unsigned(c.feature_row_bits),
                }
            )
        )
        last_bank, last_lane = slot.bank == c.tiles - 1, slot.lane == c.tile_lanes - 1
        with m.If(begin):
            m.d.sync += slot.row.eq(self.image.row)
        with m.Elif(advance):
            m.d.sync += slot.bank.eq(Mux(last_bank, 0, slot.bank + 1))
            with m.If(last_bank):
                m.d.sync += slot.lane.eq(
                    Mux(last_lane, 0, Mux(skip, c.tile_lanes - 1, slot.lane + 1))
                )
                with m.If(last_lane):
                    m.d.sync += slot.row.eq(slot.row + 1)
        return slot
