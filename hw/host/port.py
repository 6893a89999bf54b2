"""The host port: one flat address space for all host accesses."""

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region, host_words


class HostPort(wiring.Signature):
    """32-bit words. Each cycle may carry a write or a read, never both.

    Writes are always accepted. Reads are answered in order; ``read_valid`` is high with each
    answer.
    """

    def __init__(self, config: EngineConfig):
        super().__init__(
            {
                "address": Out(HostMap(config).address_bits),
                "write_data": Out(HOST_WORD_BITS),
                "write": Out(1),
                "read": Out(1),
                "read_data": In(HOST_WORD_BITS),
                "read_valid": In(1),
            }
        )


def address_layout(config: EngineConfig, region: Region) -> data.StructLayout:
    """The address fields of a region, by name."""
    return data.StructLayout(
        {name: unsigned(width) for name, width in HostMap(config).fields(region)}
    )


def address_view(config: EngineConfig, region: Region, offset: Value) -> data.View:
    """An address inside a region, as a view with named fields."""
    layout = address_layout(config, region)
    return data.View(layout, offset[: layout.size])


class HostDecoder(wiring.Component):
    """Registers a host access and decodes its region.

    ``offset`` is the address inside the region. ``words`` holds the latest host words, the present
    one highest: when the last part of a memory word of n host words arrives, the n highest words
    hold the complete memory word.
    """

    def __init__(self, config: EngineConfig, *, longest: int):
        self.config = config
        self.longest = host_words(longest)
        super().__init__(
            {
                "port": In(HostPort(config)),
                "write": Out(data.ArrayLayout(1, len(Region))),
                "read": Out(data.ArrayLayout(1, len(Region))),
                "offset": Out(HostMap(config).offset_bits),
                "words": Out(self.longest * HOST_WORD_BITS),
            }
        )

    def word(self, width: int) -> Value:
        """The memory word of `width` bits whose last part is being written."""
        low = (self.longest - host_words(width)) * HOST_WORD_BITS
        return self.words[low : low + width]

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        host_map = HostMap(self.config)
        write = Signal()
        offset = Signal(host_map.offset_bits, reset_less=True)
        word = Signal(HOST_WORD_BITS, reset_less=True)
        m.d.sync += [
            write.eq(self.port.write),
            offset.eq(self.port.address),
            word.eq(self.port.write_data),
        ]
        earlier = Signal((self.longest - 1) * HOST_WORD_BITS, reset_less=True)
        with m.If(write):
            m.d.sync += earlier.eq(Cat(earlier, word)[HOST_WORD_BITS:])
        m.d.comb += [
            self.words.eq(Cat(earlier, word)),
            self.offset.eq(offset),
        ]
        # Decode the region before the register: one registered bit per region is then enough.
        number = self.port.address[host_map.offset_bits :]
        for region in Region:
            m.d.sync += [
                self.write[region].eq(self.port.write & (number == region)),
                self.read[region].eq(self.port.read & (number == region)),
            ]
        return m
