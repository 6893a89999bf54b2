"""The engine: a spiking network, layer by layer, all time steps of a layer at once.

::

    feature memory -> event scanner -> tiles: weights -> lane array -> neurons -> feature memory
                          ^                                             |
     sequencer: descriptors, tables                             logits, argmax
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.tile import EventBus, Tile
from residuum.hw.host.access import ANSWER_LATENCY, MEMORY_LATENCY, TileAccess
from residuum.hw.host.bus import host_access, is_last_part
from residuum.hw.host.control import RunControl, run_control
from residuum.hw.host.port import HostDecoder, HostPort, address_view
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import Contents
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS, SCAN_FIELDS, AxisEntry
from residuum.hw.isa.host_map import COUNTER_WORDS, HOST_WORD_BITS, Control, Region
from residuum.hw.layouts import (
    action_layout,
    refill_layout,
    target_layout,
    token_layout,
    weight_rows_layout,
    weights_layout,
)
from residuum.hw.logic import delayed, gated
from residuum.hw.memory.block import BlockMemory
from residuum.hw.memory.feature import FeatureBank
from residuum.hw.memory.ring import ExternalPort, WeightRing
from residuum.hw.memory.weights import OnChipRefill
from residuum.hw.neuron.argmax import ArgMax
from residuum.hw.scanner.events import EventScanner
from residuum.hw.scanner.walker import RowWalker
from residuum.hw.scanner.windows import WindowGenerator
from residuum.hw.sequencer.counters import Counters
from residuum.hw.sequencer.sequencer import Sequencer

# Cycles from the scanner's token to the action with its train: feature memory (4), a register, the
# selection of the bank. The first tile gets the token's weight row after three cycles and, three
# cycles later, the action.
TRAIN_LATENCY = 6


@dataclass(frozen=True)
class Units:
    """The units of an engine. Bank, tile and stop of the same index belong together: the tile
    writes the bank, and the host accesses both through the stop."""

    decoder: HostDecoder
    sequencer: Sequencer
    windows: WindowGenerator
    walker: RowWalker
    scanner: EventScanner
    refill: OnChipRefill | WeightRing
    counters: Counters
    argmax: ArgMax
    banks: list[FeatureBank]
    tiles: list[Tile]
    stops: list[TileAccess]


class Engine(wiring.Component):
    """The whole accelerator behind one host port.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    contents : mapping of int to int
        The program in the memories at power-up: host addresses and words, as a host would write
        them (`residuum.hw.isa.contents.Contents`).

    Members
    -------
    host : In(HostPort)
        Writes: program, weights, images. Reads: the same, trains, logits and counters
        (`residuum.hw.isa.host_map.HostMap`). Memories may be accessed only while the engine is not
        busy.
    busy : Out(1)
        High from the cycle after a write to the control registers. If the write starts a run,
        ``busy`` stays high until the last result is stored.
    best : Out
        The class found by the latest run that ended with an output layer.
    external : Out(ExternalPort)
        The external memory, if the engine has one.
    """

    def __init__(self, config: EngineConfig, *, contents: Mapping[int, int] | None = None):
        if not isinstance(config, EngineConfig):
            raise TypeError(f"config must be an EngineConfig, not {config!r}")
        self.config = config
        self.contents = Contents(config, contents or {})
        ports: dict[str, Any] = {
            "host": In(HostPort(config)),
            "busy": Out(1),
            "best": Out(config.class_bits),
        }
        if config.external:
            ports["external"] = Out(ExternalPort(config))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        units = self._units(m)
        sequencer = units.sequencer
        wiring.connect(m, units.decoder.port, wiring.flipped(self.host))
        descriptor = self._store_descriptors(m, units)
        control = run_control(m, self.config, units.decoder, busy=sequencer.busy)
        self._start(m, units, control)
        mode = control.mode(m, self.config, sequencer.drain)
        entry = self._make_windows(m, units)
        self._scan(m, units)
        token = self._late_token(m, units.scanner)
        weight_rows = self._weight_rows(m, units)
        self._feed_tiles(m, units, weight_rows, self._action(m, units, token), mode)
        self._finish(m, units)
        answers = {
            Region.DESCRIPTORS: descriptor,
            Region.TABLES: entry,
            Region.COUNTERS: self._count(m, units),
        }
        m.d.comb += self.best.eq(units.argmax.best)
        answered, external_word = self._external_access(m, units.decoder)
        self._mark_answers(m, units.decoder, answered)
        answer = self._answer(m, units, control, answers)
        idle = ~(sequencer.busy | control.waiting)
        access = host_access(m, self.config, units.decoder, idle=idle)
        found = self._access(m, units, access, answer)
        m.d.comb += self.host.read_data.eq(found | external_word)
        return m

    def _units(self, m: Module) -> Units:
        """All units, as submodules under the names of their fields."""
        c = self.config
        longest = max(c.tile_lanes * c.weight_bits, AxisEntry.width(c), 2 * HOST_WORD_BITS)
        units = Units(
            decoder=HostDecoder(c, longest=longest),
            sequencer=Sequencer(c),
            windows=WindowGenerator(c, SCAN_FIELDS),
            walker=RowWalker(c, SCAN_FIELDS),
            scanner=EventScanner(c),
            refill=WeightRing(c) if c.external else OnChipRefill(c),
            counters=Counters(c),
            argmax=ArgMax(c),
            banks=[FeatureBank(c) for _ in range(c.banks)],
            tiles=[self._tile(index) for index in range(c.tiles)],
            stops=[TileAccess(c, index) for index in range(c.tiles)],
        )
        for field in fields(units):
            unit = getattr(units, field.name)
            if not isinstance(unit, list):
                m.submodules[field.name] = unit
        for index, bank in enumerate(units.banks):
            m.submodules[f"bank_{index}"] = bank
        for index, (tile, stop) in enumerate(zip(units.tiles, units.stops, strict=True)):
            m.submodules[f"tile_{index}"] = tile
            m.submodules[f"access_{index}"] = stop
        return units

    @property
    def read_latency(self) -> int:
        """Cycles from a host read to its answer: the decoder, the access of one tile, and one cycle
        per tile."""
        return 1 + ANSWER_LATENCY + self.config.tiles

    def _memory(self, *, width: int, depth: int, init: Sequence[int] = ()) -> BlockMemory:
        return BlockMemory(width=width, depth=depth, ecp5=self.config.memory == "ecp5", init=init)

    def _tile(self, index: int) -> Tile:
        """A tile with its part of the program."""
        c = self.config
        bits = c.potential_bits
        mask = (1 << bits) - 1
        pairs = self.contents.words(Region.PARAMETERS, 2 * HOST_WORD_BITS, bank=index)
        return Tile(
            c,
            weights=self.contents.words(Region.WEIGHTS, weights_layout(c).size, bank=index),
            parameters=[pair & mask | (pair >> HOST_WORD_BITS & mask) << bits for pair in pairs],
        )

    def _store_descriptors(self, m: Module, units: Units) -> Value:
        """The memory of the layer descriptors. Returns its read data."""
        c = self.config
        decoder, sequencer = units.decoder, units.sequencer
        m.submodules.descriptors = descriptors = self._memory(
            width=HOST_WORD_BITS,
            depth=c.layers * DESCRIPTOR_WORDS,
            init=self.contents.words(Region.DESCRIPTORS, HOST_WORD_BITS),
        )
        m.d.comb += [
            descriptors.write_enable.eq(decoder.write[Region.DESCRIPTORS]),
            descriptors.write_address.eq(decoder.offset),
            descriptors.write_data.eq(decoder.word(HOST_WORD_BITS)),
            descriptors.read_address.eq(
                Mux(sequencer.busy, sequencer.descriptor_address, decoder.offset)
            ),
            sequencer.descriptor_data.eq(descriptors.read_data),
        ]
        return descriptors.read_data

    def _start(self, m: Module, units: Units, control: RunControl) -> None:
        """The start of a run, and whether the engine is busy with one."""
        sequencer, decoder = units.sequencer, units.decoder
        m.d.comb += [
            Cat(sequencer.run, sequencer.first, sequencer.last).eq(control.start),
            self.busy.eq(
                sequencer.busy | control.asked | control.waiting | decoder.write[Region.CONTROL]
            ),
        ]

    def _make_windows(self, m: Module, units: Units) -> Value:
        """Tables -> windows. Returns the read data of the tables."""
        c = self.config
        decoder, sequencer, windows = units.decoder, units.sequencer, units.windows
        m.submodules.tables = tables = self._memory(
            width=AxisEntry.width(c),
            depth=c.table_entries,
            init=self.contents.words(Region.TABLES, AxisEntry.width(c)),
        )
        address = address_view(c, Region.TABLES, decoder.offset)
        wiring.connect(m, windows.refill, units.refill.groups)
        wiring.connect(m, windows.windows, units.walker.windows)
        m.d.comb += [
            tables.write_enable.eq(
                decoder.write[Region.TABLES] & is_last_part(address, AxisEntry.width(c))
            ),
            tables.write_address.eq(address.entry),
            tables.write_data.eq(decoder.word(AxisEntry.width(c))),
            tables.read_address.eq(Mux(sequencer.busy, windows.table_address, address.entry)),
            windows.table_data.eq(tables.read_data),
            windows.start.eq(sequencer.prepare),
            windows.layer.eq(sequencer.scan),
        ]
        return tables.read_data

    def _scan(self, m: Module, units: Units) -> None:
        """Windows -> rows -> occupancies -> tokens."""
        c = self.config
        sequencer, walker = units.sequencer, units.walker
        scanner, banks = units.scanner, units.banks
        m.d.comb += [
            walker.layer.eq(sequencer.scan),
            walker.ready.eq(scanner.ready),
            scanner.start.eq(sequencer.start),
            scanner.stop.eq(sequencer.events_done),
            scanner.advance.eq(walker.advance),
            scanner.request.eq(walker.request),
            scanner.skip_empty.eq(sequencer.scan.skip_empty),
            scanner.last_lane.eq(sequencer.scan.last_lane),
            scanner.occupancy.eq(Cat(bank.occupancy[: c.bank_slots] for bank in banks)),
            scanner.occupancy_empty.eq(banks[0].occupancy[c.bank_slots]),
        ]

        # The host reads through the same ports while the engine is not busy.
        token = scanner.token
        for index, (bank, stop) in enumerate(zip(banks, units.stops, strict=True)):
            access, event = stop.here, token.events[index % c.event_width]
            m.d.comb += [
                bank.occupancy_row.eq(
                    Mux(access.idle, access.address[c.lane_bits :], scanner.occupancy_row)
                ),
                bank.train_address.eq(Mux(access.idle, access.address, Cat(event.lane, event.row))),
            ]

    def _late_token(self, m: Module, scanner: EventScanner) -> data.View:
        """The token, `TRAIN_LATENCY` - 1 cycles later, when the banks have read its train."""
        token = scanner.token
        for index in range(TRAIN_LATENCY - 1):
            token_next = Signal(token_layout(self.config), name=f"token_{index}")
            m.d.sync += token_next.eq(token)
            token = token_next
        return token

    def _weight_rows(self, m: Module, units: Units) -> data.View:
        """The weight rows of the token's events, three cycles after the token, for the first
        tile."""
        c = self.config
        decoder, sequencer = units.decoder, units.sequencer
        host_row = address_view(c, Region.WEIGHTS, decoder.offset)
        sums = Signal(weight_rows_layout(c), reset_less=True)
        early = Signal(weight_rows_layout(c), reset_less=True)
        rows = Signal(weight_rows_layout(c), reset_less=True)
        for stream, event in enumerate(units.scanner.token.events):
            slot = event.lane * c.tiles + event.bank * c.event_width + stream
            m.d.sync += sums[stream].eq(event.weight + slot)
        m.d.sync += [early.eq(sums), rows.eq(early)]
        if isinstance(units.refill, WeightRing):
            with m.If(units.refill.fill.valid):
                m.d.sync += rows[-1].eq(units.refill.fill.row)
        # The host's access reaches the first tile in the same cycle as this row.
        with m.If(~sequencer.busy):
            m.d.sync += rows[0].eq(host_row.row)
        return rows

    def _action(self, m: Module, units: Units, late: data.View) -> data.View:
        """The action of the first tile: the late token with the trains of its banks. Also counts
        the spikes of the trains."""
        c = self.config
        found = [
            Signal(c.steps, name=f"train_{index}", reset_less=True) for index in range(c.banks)
        ]
        m.d.sync += [train.eq(bank.train) for train, bank in zip(found, units.banks, strict=True)]
        action = Signal(action_layout(c), reset_less=True)
        for stream, event in enumerate(late.events):
            trains = Array(found[stream :: c.event_width])
            train = trains[event.bank] if len(trains) > 1 else trains[0]
            m.d.sync += [
                action.trains[stream].eq(Mux(event.valid, train, 0)),
                action.shifts[stream].eq(event.shift),
            ]
        m.d.sync += [
            action.flush.eq(late.flush),
            action.empty.eq(late.empty),
            action.ticket.eq(late.ticket),
            action.how.eq(late.how),
        ]
        spikes = [Signal(range(c.steps + 1), name=f"spikes_{s}") for s in range(c.event_width)]
        for count, train in zip(spikes, action.trains, strict=True):
            m.d.sync += count.eq(sum(train[step] for step in range(c.steps)))
        m.d.comb += units.counters.spikes.eq(sum(spikes))
        return action

    def _feed_tiles(
        self, m: Module, units: Units, weight_rows: data.View, action: data.View, mode: data.View
    ) -> None:
        """Events and the start of a layer, on a bus that ripples from tile to tile."""
        drain = units.sequencer.drain
        target = Signal(target_layout(self.config))
        same = ("last_lane", "first_lane", "position_lanes", "parameter_row")
        m.d.comb += [
            *(target[name].eq(drain[f"output_{name}"]) for name in ("row", "empty_row", "pitch")),
            *(target[name].eq(drain[name]) for name in same),
        ]
        refill = self._refill(m, units)
        bus = EventBus(weight_rows, action, units.sequencer.load, mode, target, refill)
        for tile in units.tiles:
            m.d.comb += bus.into(tile)
            bus = EventBus.after(tile)

    def _refill(self, m: Module, units: Units) -> data.View:
        """The refill of the weight store, for the first tile."""
        refill = Signal(refill_layout(self.config), reset_less=True)
        ring, sequencer, token = units.refill, units.sequencer, units.scanner.token
        if isinstance(ring, WeightRing):
            wiring.connect(m, ring.external, wiring.flipped(self.external.rows))
            m.d.sync += refill.write.eq(ring.fill.valid)
            m.d.comb += [
                refill.valid.eq(ring.valid),
                refill.word.eq(ring.word),
                ring.begin.eq(sequencer.begin),
                ring.running.eq(sequencer.busy),
                ring.chunks.eq(sequencer.scan.chunks),
                ring.burst.eq(sequencer.scan.burst),
                ring.released.eq(token.flush & token.how.group_last),
                units.scanner.hold.eq(ring.hold),
                units.counters.weight_stall.eq(ring.stall),
            ]
        return refill

    def _finish(self, m: Module, units: Units) -> None:
        """Ends of layers; the argmax of an output layer."""
        sequencer, argmax, tiles = units.sequencer, units.argmax, units.tiles
        done = tiles[-1].done
        m.d.comb += [
            argmax.start.eq(done & sequencer.drain.output),
            argmax.classes.eq(sequencer.drain.classes),
            sequencer.results_done.eq(Mux(sequencer.drain.output, argmax.done, done)),
        ]
        for index, (tile, stop) in enumerate(zip(tiles, units.stops, strict=True)):
            logit = Signal.like(tile.logit, name=f"logit_{index}", reset_less=True)
            m.d.sync += logit.eq(tile.logit)
            m.d.comb += [
                tile.logit_row.eq(Mux(stop.here.idle, stop.here.address, argmax.row)),
                argmax.logits[index].eq(logit),
            ]

    def _count(self, m: Module, units: Units) -> Value:
        """Counters, and the memory that stores them for every layer. Returns the read data of the
        memory."""
        c = self.config
        decoder, sequencer = units.decoder, units.sequencer
        scanner, counters = units.scanner, units.counters
        m.submodules.counts = counts = self._memory(
            width=HOST_WORD_BITS, depth=c.layers * COUNTER_WORDS
        )
        m.d.comb += [
            sequencer.events_done.eq(scanner.token.flush & scanner.token.how.layer_last),
            counters.begin.eq(sequencer.begin),
            counters.start.eq(sequencer.start),
            counters.finish.eq(sequencer.finish),
            counters.counting.eq(sequencer.counting),
            counters.events.eq(sum(event.valid for event in scanner.token.events)),
            counters.windows.eq(scanner.token.flush + scanner.token.ticket),
            counters.drain_stall.eq(scanner.drain_stall),
            counters.scan_stall.eq(scanner.scan_stall),
            counters.select.eq(sequencer.counter_select),
            counts.read_address.eq(decoder.offset),
        ]
        m.d.sync += [
            counts.write_enable.eq(sequencer.counter_write),
            counts.write_address.eq(sequencer.counter_address),
            counts.write_data.eq(counters.value),
        ]
        return counts.read_data

    def _external_access(self, m: Module, decoder: HostDecoder) -> tuple[Value, Value]:
        """Accesses of the host to the external memory. Returns whether it answers, and its word, or
        else 0."""
        if not self.config.external:
            return Const(0), Const(0)
        host, write, read = self.external.host, decoder.write, decoder.read
        m.d.comb += [
            host.address.eq(decoder.offset),
            host.write_data.eq(decoder.word(HOST_WORD_BITS)),
            host.write.eq(write[Region.EXTERNAL] | write[Region.MEMORY_TEST]),
            host.read.eq(read[Region.EXTERNAL] | read[Region.MEMORY_TEST]),
            host.test.eq(write[Region.MEMORY_TEST] | read[Region.MEMORY_TEST]),
        ]
        answered = Signal()
        m.d.sync += answered.eq(host.read_valid)
        return answered, gated(m, host.read_valid, host.read_data, "found_external")

    def _mark_answers(self, m: Module, decoder: HostDecoder, answered: Value) -> None:
        """``read_valid`` with every answer: `read_latency` cycles after the read, or when the
        external memory has ``answered``."""
        read = Signal()
        outside = (Region.EXTERNAL, Region.MEMORY_TEST)
        inside = [read for region, read in enumerate(decoder.read) if region not in outside]
        m.d.comb += read.eq(Cat(inside).any())
        for stage in range(self.read_latency - 1):
            read_next = Signal(name=f"read_{stage}")
            m.d.sync += read_next.eq(read)
            read = read_next
        m.d.comb += self.host.read_valid.eq(read | answered)

    def _answer(
        self, m: Module, units: Units, control: RunControl, words: Mapping[Region, Value]
    ) -> Value:
        """The answer from the control registers and from the memories outside the tiles (their
        ``words``), in the cycle in which the first tile has its own answer."""
        c = self.config
        decoder, sequencer, argmax = units.decoder, units.sequencer, units.argmax
        asked, offset = Cat(decoder.read), decoder.offset
        for stage in range(MEMORY_LATENCY):
            asked_next = Signal(len(Region), name=f"asked_{stage}")
            offset_next = Signal(len(offset), name=f"offset_{stage}", reset_less=True)
            m.d.sync += [asked_next.eq(asked), offset_next.eq(offset)]
            asked, offset = asked_next, offset_next

        word = address_view(c, Region.CONTROL, offset).word
        part = address_view(c, Region.TABLES, offset).part
        status = Cat(sequencer.busy, control.refused)
        values = {
            Region.CONTROL: Mux(word == Control.CLASS, argmax.best, status),
            Region.DESCRIPTORS: words[Region.DESCRIPTORS],
            Region.TABLES: words[Region.TABLES].word_select(part, HOST_WORD_BITS),
            Region.COUNTERS: words[Region.COUNTERS],
        }
        found = (
            gated(m, asked[region], value, f"found_{region.name.lower()}")
            for region, value in values.items()
        )
        answer = Signal(HOST_WORD_BITS)
        m.d.comb += answer.eq(reduce(or_, found))
        return delayed(m, answer, ANSWER_LATENCY - MEMORY_LATENCY - 1, "answer")

    def _access(self, m: Module, units: Units, access: data.View, answer: Value) -> Value:
        """Accesses of the host, on a bus that ripples from tile to tile. Returns the answer after
        the last tile."""
        for bank, tile, stop in zip(units.banks, units.tiles, units.stops, strict=True):
            here = stop.here
            m.d.comb += [
                stop.access.eq(access),
                stop.answer.eq(answer),
                tile.idle.eq(here.idle),
                tile.weight_write.eq(stop.write_weights),
                tile.host_idle.eq(stop.access.idle),
                tile.host_row.eq(stop.access.address),
                tile.weight_write_data.eq(here.word),
                tile.parameter_write.eq(stop.write_parameters),
                tile.parameter_write_row.eq(here.address),
                tile.parameter_write_data.eq(here.word),
                bank.write_valid.eq(Mux(here.idle, stop.write_train, tile.write_valid)),
                bank.write.eq(Mux(here.idle, stop.train_written, tile.write)),
                stop.weights.eq(tile.weights),
                stop.parameter.eq(tile.parameter),
                stop.train.eq(bank.train),
                stop.occupancy.eq(bank.occupancy),
                stop.logit.eq(tile.logit),
            ]
            access, answer = here, stop.answer_next
        return answer
