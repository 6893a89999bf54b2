"""Decodes host accesses to the memories of the tiles, for the bus through the tiles."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Signal, Value, ValueLike
from amaranth.lib import data

from residuum.hw.host.access import access_layout
from residuum.hw.host.port import HostDecoder, address_view
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, Region, host_words
from residuum.hw.layouts import parameter_layout, weights_layout
from residuum.hw.logic import select

# Memories of the tiles that a host may access, by their names on the bus.
TILE_REGIONS = {
    "weights": Region.WEIGHTS,
    "parameters": Region.PARAMETERS,
    "trains": Region.TRAINS,
    "occupancy": Region.OCCUPANCY,
    "logits": Region.LOGITS,
}


def is_last_part(address: data.View, width: int) -> Value:
    """Whether an address selects the last host word of a memory word of ``width`` bits."""
    return address.part == host_words(width) - 1


def _words(m: Module, config: EngineConfig, decoder: HostDecoder) -> dict[str, Value]:
    """The memory word that is being written, for each memory that a host may write."""
    pair = decoder.word(2 * HOST_WORD_BITS)
    parameter = Signal(parameter_layout(config))
    m.d.comb += [
        parameter.bias.eq(pair[:HOST_WORD_BITS]),
        parameter.threshold.eq(pair[HOST_WORD_BITS:]),
    ]
    return {
        "weights": decoder.word(weights_layout(config).size),
        "parameters": parameter.as_value(),
        "trains": decoder.word(HOST_WORD_BITS),
    }


def _addresses(config: EngineConfig, view: Mapping[str, data.View]) -> dict[str, Value]:
    """The address inside each memory of a tile."""
    return {
        "weights": view["weights"].row,
        "parameters": view["parameters"].row,
        "trains": Cat(view["trains"].lane, view["trains"].row),
        "occupancy": Cat(Const(0, config.lane_bits), view["occupancy"].row),
        "logits": view["logits"].row,
    }


def host_access(m: Module, config: EngineConfig, decoder: HostDecoder, *, idle: Value) -> data.View:
    """The access that the first tile sees, a cycle after the decoder: see `access_layout`."""
    read, write = decoder.read, decoder.write
    view = {n: address_view(config, region, decoder.offset) for n, region in TILE_REGIONS.items()}
    words = _words(m, config, decoder)
    access = Signal(access_layout(config), reset_less=True)
    last_parts = {
        "weights": is_last_part(view["weights"], weights_layout(config).size),
        "parameters": view["parameters"].part[0],
    }
    meant = {name: write[region] | read[region] for name, region in TILE_REGIONS.items()}

    def of_meant(values: Mapping[str, ValueLike]) -> Value:
        """The value of the accessed region, 0 if there is none."""
        return select((meant[name] for name in values), values.values())

    m.d.sync += [
        access.idle.eq(idle),
        access.write.eq(of_meant({name: write[TILE_REGIONS[name]] for name in words})),
        access.tile.eq(of_meant({name: fields.bank for name, fields in view.items()})),
        access.part.eq(of_meant({name: view[name].part for name in last_parts})),
        access.address.eq(of_meant(_addresses(config, view))),
        access.word.eq(of_meant(words)),
    ]
    for name, region in TILE_REGIONS.items():
        written = write[region] & last_parts.get(name, 1)
        m.d.sync += access[name].eq(written | read[region])
    return access
