"""Host access to the memories of the tiles."""

from amaranth.hdl import Elaboratable, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import HOST_WORD_BITS, host_words
from residuum.hw.layouts import parameter_layout, weights_layout, write_layout
from residuum.hw.logic import delayed, gated

MEMORY_LATENCY = 2

# Cycles from an access to the answer of its tile: a register, a memory with a register before and
# two after it, and two that join the memories.
ANSWER_LATENCY = MEMORY_LATENCY + 5


def access_layout(config: EngineConfig) -> data.StructLayout:
    """A host access to one tile: a write of a memory word if ``write``, else a read.

    One bit selects the memory; ``tile`` and ``address`` select the memory word, ``part`` the host
    word that is read from a wide memory word. Accesses are valid only while ``idle`` is high, that
    is, while no run is in progress.
    """
    return data.StructLayout(
        {
            "idle": 1,
            "write": 1,
            "weights": 1,
            "parameters": 1,
            "trains": 1,
            "occupancy": 1,
            "logits": 1,
            "tile": unsigned(config.bank_bits),
            "part": unsigned((host_words(weights_layout(config).size) - 1).bit_length() or 1),
            "address": unsigned(
                max(
                    config.weight_row_bits,
                    config.parameter_row_bits,
                    config.logit_row_bits,
                    config.feature_row_bits + config.lane_bits,
                )
            ),
            "word": unsigned(
                max(
                    weights_layout(config).size,
                    parameter_layout(config).size,
                    config.steps + 1,
                )
            ),
        }
    )


class TileAccess(wiring.Component):
    """One tile's stop on the host's bus.

    ``here`` is ``access``, registered. It drives the memories of this tile and the stop of the next
    tile, so wire length does not grow with the number of tiles. ``answer_next`` answers the access
    of `ANSWER_LATENCY` cycles before: with a word of this tile if ``tile`` selects it, together
    with ``answer`` from the previous tile, which is 0 then. Accesses and answers both take one
    cycle per tile, so all answers have the same latency after the last tile.

    The other ports are those of the tile's memories: their words at ``here.address`` come three
    cycles later, parameters and trains four. ``write_weights`` comes a cycle before the word.
    """

    def __init__(self, config: EngineConfig, index: int):
        self.config = config
        self.index = index
        super().__init__(
            {
                "access": In(access_layout(config)),
                "here": Out(access_layout(config)),
                "answer": In(HOST_WORD_BITS),
                "answer_next": Out(HOST_WORD_BITS),
                "write_weights": Out(1),
                "write_parameters": Out(1),
                "write_train": Out(1),
                "train_written": Out(write_layout(config)),
                "weights": In(weights_layout(config).size),
                "parameter": In(parameter_layout(config)),
                "train": In(config.steps + 1),
                "occupancy": In(config.bank_slots + 1),
                "logit": In(signed(config.potential_bits)),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config
        access = self.access
        here = Signal(access_layout(c), reset_less=True)
        chosen = access.tile == self.index
        mine = Signal(reset_less=True)
        m.d.comb += self.write_weights.eq(access.write & access.weights & chosen)
        writes = (
            (self.write_parameters, access.parameters),
            (self.write_train, access.trains),
        )
        m.d.sync += [here.eq(access), mine.eq(chosen)]
        for port, meant in writes:
            strobe = Signal(name=f"{port.name}_strobe", reset_less=True)
            m.d.sync += strobe.eq(access.write & meant & chosen)
            m.d.comb += port.eq(strobe)
        written = self.train_written
        m.d.comb += [
            self.here.eq(here),
            written.lane.eq(here.address[: c.lane_bits]),
            written.row.eq(here.address[c.lane_bits :]),
            written.train.eq(here.word),
            written.last.eq(written.lane == c.tile_lanes - 1),
        ]

        wanted = Signal(access_layout(c), reset_less=True)
        memories = ("weights", "parameters", "trains", "occupancy", "logits")
        m.d.sync += wanted.eq(here)
        m.d.sync += [wanted[name].eq(here[name] & mine) for name in memories]
        early = delayed(m, wanted, MEMORY_LATENCY, "early")
        late = delayed(m, early, 1, "late")

        sooner, answer = (
            Signal(HOST_WORD_BITS, name=name, reset_less=True) for name in ("sooner", "answer")
        )
        weights = self.weights.word_select(early.part, HOST_WORD_BITS)
        m.d.sync += sooner.eq(
            gated(m, early.weights, weights, "found_weights")
            | gated(m, early.occupancy, self.occupancy, "found_occupancy")
            | gated(m, early.logits, self.logit, "found_logit")
        )
        # These arrive one cycle later, and from far away.
        parameter = Mux(late.part[0], self.parameter.threshold, self.parameter.bias)
        m.d.sync += answer.eq(
            sooner
            | gated(m, late.parameters, parameter, "found_parameter")
            | gated(m, late.trains, self.train, "found_train")
            | self.answer
        )
        m.d.comb += self.answer_next.eq(answer)
        return m
