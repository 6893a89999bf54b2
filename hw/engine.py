"""The engine: a spiking network, layer by layer, all time steps of a layer at once.

::

    feature memory -> event scanner -> tiles: weights -> lane array -> neurons -> feature memory
                          ^                                             |
     sequencer: descriptors, axis tables                        logits, argmax
"""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Array, Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from residuum.hw.array.tile import Tile
from residuum.hw.host.access import ANSWER_LATENCY, MEMORY_LATENCY, TileAccess, access_layout
from residuum.hw.host.port import HostDecoder, HostPort, address_view
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.contents import Contents
from residuum.hw.isa.descriptors import DESCRIPTOR_WORDS, SCAN_FIELDS, AxisEntry
from residuum.hw.isa.host_map import COUNTER_WORDS, HOST_WORD_BITS, Control, Region, host_words
from residuum.hw.layouts import (
    action_layout,
    mode_layout,
    parameter_layout,
    target_layout,
    token_layout,
    weights_layout,
)
from residuum.hw.logic import delayed, select
from residuum.hw.memory.block import BlockMemory
from residuum.hw.memory.feature import FeatureBank
from residuum.hw.memory.weights import OnChipRefill
from residuum.hw.neuron.argmax import ArgMax
from residuum.hw.scanner.events import EventScanner
from residuum.hw.scanner.walker import RowWalker
from residuum.hw.scanner.windows import WindowGenerator
from residuum.hw.sequencer.counters import Counters
from residuum.hw.sequencer.sequencer import Sequencer

# Cycles from the scanner's token to its train: feature memory, a register, bank select. Its weight
# row goes to the first tile after three cycles; the weights, three cycles later, meet the train.
TRAIN_LATENCY = 6

# What the host has written reaches so many tiles, a cycle each, while the first descriptor of a run
# is fetched; with more, the run waits for the others.
TILES_AT_ONCE = 16

# The memories of the tiles that a host accesses, by their names on the bus.
TILE_REGIONS = {
    "weights": Region.WEIGHTS,
    "parameters": Region.PARAMETERS,
    "trains": Region.TRAINS,
    "occupancy": Region.OCCUPANCY,
    "logits": Region.LOGITS,
}


class Engine(wiring.Component):
    """The whole accelerator behind one host port.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    contents : mapping of int to int
        A program that the memories hold at power-up: host addresses and words, as a host would
        write them (`residuum.hw.isa.contents.Contents`).

    Members
    -------
    host : In(HostPort)
        Program, weights, images in; the same, trains, logits and counters out
        (`residuum.hw.isa.host_map.HostMap`). Memories may be accessed only while the engine is
        not busy.
    busy : Out(1)
        High from the cycle after a write to the control registers until the run that it may have
        started has stored its last result.
    best : Out
        The class found by the latest run that ended with an output layer.
    """

    def __init__(self, config: EngineConfig, *, contents: Mapping[int, int] | None = None):
        if not isinstance(config, EngineConfig):
            raise TypeError(f"config must be an EngineConfig, not {config!r}")
        self.config = config
        self.contents = Contents(config, contents or {})
        super().__init__(
            {
                "host": In(HostPort(config)),
                "busy": Out(1),
                "best": Out(config.group_bits + config.slot_bits),
            }
        )

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        c = self.config

        m.submodules.decoder = decoder = HostDecoder(
            c,
            longest=max(c.tile_lanes * c.weight_bits, AxisEntry.width(c), 2 * HOST_WORD_BITS),
        )
        m.submodules.sequencer = sequencer = Sequencer(c)
        m.submodules.windows = windows = WindowGenerator(c, SCAN_FIELDS)
        m.submodules.walker = walker = RowWalker(c, SCAN_FIELDS)
        m.submodules.scanner = scanner = EventScanner(c)
        m.submodules.refill = refill = OnChipRefill(c)
        m.submodules.counters = counters = Counters(c)
        m.submodules.argmax = argmax = ArgMax(c)
        banks = [FeatureBank(c) for _ in range(c.banks)]
        tiles = [self._tile(index) for index in range(c.tiles)]
        stops = [TileAccess(c, index) for index in range(c.tiles)]
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
        for index, tile in enumerate(tiles):
            m.submodules[f"tile_{index}"] = tile
            m.submodules[f"access_{index}"] = stops[index]

        mode = self._control(m, decoder, sequencer)
        self._scan(m, decoder, sequencer, windows, walker, scanner, refill, banks, stops)
        self._accumulate(m, decoder, sequencer, scanner, banks, tiles, mode, counters)
        self._finish(m, sequencer, tiles, stops, argmax)
        self._count(m, decoder, sequencer, scanner, counters)
        answer = self._answer(m, decoder, sequencer, argmax)
        answer = self._access(m, decoder, sequencer, banks, tiles, stops, answer)
        m.d.comb += self.host.read_data.eq(answer)
        return m

    @property
    def read_latency(self) -> int:
        """Cycles from a host read to its answer: decoder, bus, a memory, and the way through all
        tiles."""
        return 1 + ANSWER_LATENCY + self.config.tiles

    def _memory(self, *, width: int, depth: int, init: Sequence[int] = ()) -> BlockMemory:
        return BlockMemory(width=width, depth=depth, ecp5=self.config.memory == "ecp5", init=init)

    def _tile(self, index: int) -> Tile:
        """A tile with its share of the program."""
        c = self.config
        bits = c.potential_bits
        mask = (1 << bits) - 1
        pairs = self.contents.words(Region.PARAMETERS, 2 * HOST_WORD_BITS, bank=index)
        return Tile(
            c,
            weights=self.contents.words(Region.WEIGHTS, weights_layout(c).size, bank=index),
            parameters=[pair & mask | (pair >> HOST_WORD_BITS & mask) << bits for pair in pairs],
        )

    def _control(self, m: Module, decoder: HostDecoder, sequencer: Sequencer):  # type: ignore[no-untyped-def]
        """Run and step registers; which slots are probe and inference."""
        c = self.config
        wiring.connect(m, decoder.port, wiring.flipped(self.host))
        m.submodules.descriptors = descriptors = self._memory(
            width=HOST_WORD_BITS,
            depth=c.layers * DESCRIPTOR_WORDS,
            init=self.contents.words(Region.DESCRIPTORS, HOST_WORD_BITS),
        )
        self._descriptor = descriptors.read_data
        m.d.comb += [
            descriptors.write_enable.eq(decoder.write[Region.DESCRIPTORS]),
            descriptors.write_address.eq(decoder.offset),
            descriptors.write_data.eq(decoder.word(HOST_WORD_BITS)),
            descriptors.read_address.eq(
                Mux(sequencer.busy, sequencer.descriptor_address, decoder.offset)
            ),
            sequencer.descriptor_data.eq(descriptors.read_data),
        ]

        tau = Signal(c.step_count_bits)
        inference = Signal(c.step_count_bits, init=c.steps)
        self._refused = refused = Signal()
        word = decoder.word(HOST_WORD_BITS)
        control = address_view(c, Region.CONTROL, decoder.offset)
        # The check of the steps has a cycle of its own, in which the run is only asked for.
        fits, asked = Signal(), Signal()
        first, last = Signal(c.layer_bits), Signal(c.layer_bits)
        command = decoder.write[Region.CONTROL] & ~sequencer.busy
        m.d.sync += [
            fits.eq((inference != 0) & (tau + inference <= c.steps)),
            asked.eq(command & (control.word == Control.RUN)),
            first.eq(word[:8]),
            last.eq(word[8:16]),
        ]
        start = Cat(asked & fits, first, last)
        self._waiting = []
        for cycle in range(max(0, c.tiles - TILES_AT_ONCE)):
            later = Signal(len(start), name=f"start_{cycle}")
            m.d.sync += later.eq(start)
            self._waiting.append(later[0])
            start = later
        waiting = Cat(self._waiting).any()
        m.d.comb += [
            Cat(sequencer.run, sequencer.first, sequencer.last).eq(start),
            self.busy.eq(sequencer.busy | asked | waiting | decoder.write[Region.CONTROL]),
        ]
        with m.If(asked):
            m.d.sync += refused.eq(~fits)
        with m.If(command & (control.word == Control.STEPS)):
            # A number of steps that the registers can't hold is refused like one too many.
            top = (1 << c.step_count_bits) - 1
            m.d.sync += [
                tau.eq(Mux(word[:8] > top, top, word[:8])),
                inference.eq(Mux(word[8:16] > top, 0, word[8:16])),
            ]

        mode = Signal(mode_layout(c), reset_less=True)
        total = Signal(c.step_count_bits + 1, reset_less=True)
        m.d.sync += total.eq(tau + inference)
        for step in range(c.steps):
            left = c.steps - 1 - step
            m.d.sync += [
                mode.active[step].eq(total > left),
                mode.inference[step].eq(inference > left),
            ]
        m.d.sync += [mode.pixels.eq(sequencer.drain.pixels), mode.output.eq(sequencer.drain.output)]
        return mode

    def _scan(self, m, decoder, sequencer, windows, walker, scanner, refill, banks, stops):  # type: ignore[no-untyped-def]
        """Axis tables -> windows -> rows -> occupancies -> tokens."""
        c = self.config
        m.submodules.tables = tables = self._memory(
            width=AxisEntry.width(c),
            depth=c.table_entries,
            init=self.contents.words(Region.TABLES, AxisEntry.width(c)),
        )
        self._table_entry = tables.read_data
        address = address_view(c, Region.TABLES, decoder.offset)
        wiring.connect(m, windows.refill, refill.groups)
        wiring.connect(m, windows.windows, walker.windows)
        m.d.comb += [
            tables.write_enable.eq(
                decoder.write[Region.TABLES] & self._last_part(address, AxisEntry.width(c))
            ),
            tables.write_address.eq(address.entry),
            tables.write_data.eq(decoder.word(AxisEntry.width(c))),
            tables.read_address.eq(Mux(sequencer.busy, windows.table_address, address.entry)),
            windows.table_data.eq(tables.read_data),
            windows.start.eq(sequencer.prepare),
            windows.layer.eq(sequencer.scan),
            walker.layer.eq(sequencer.scan),
            walker.ready.eq(scanner.ready),
            scanner.start.eq(sequencer.start),
            scanner.stop.eq(sequencer.events_done),
            scanner.advance.eq(walker.advance),
            scanner.request.eq(walker.request),
            scanner.empty_row.eq(sequencer.scan.input_empty_row),
            scanner.skip_empty.eq(sequencer.scan.skip_empty),
            scanner.last_lane.eq(sequencer.scan.last_lane),
            scanner.occupancy.eq(Cat(bank.occupancy[: c.bank_slots] for bank in banks)),
            scanner.occupancy_empty.eq(banks[0].occupancy[c.bank_slots]),
        ]

        # The host reads through the same ports while the engine is not busy.
        token = scanner.token
        for bank, stop in zip(banks, stops, strict=True):
            access = stop.here
            m.d.comb += [
                bank.occupancy_row.eq(
                    Mux(access.idle, access.address[c.lane_bits :], scanner.occupancy_row)
                ),
                bank.train_address.eq(Mux(access.idle, access.address, Cat(token.lane, token.row))),
            ]

    @staticmethod
    def _last_part(address, width: int):  # type: ignore[no-untyped-def]
        return address.part == host_words(width) - 1

    def _accumulate(self, m, decoder, sequencer, scanner, banks, tiles, mode, counters):  # type: ignore[no-untyped-def]
        """Tokens meet their trains and weights and ripple through the tiles."""
        c = self.config
        tokens = [scanner.token]
        for index in range(TRAIN_LATENCY - 1):
            token = Signal(token_layout(c), name=f"token_{index}")
            m.d.sync += token.eq(tokens[-1])
            tokens.append(token)

        host_row = address_view(c, Region.WEIGHTS, decoder.offset)
        weight_row_sum = Signal(c.weight_row_bits, reset_less=True)
        weight_row_early = Signal(c.weight_row_bits, reset_less=True)
        weight_row = Signal(c.weight_row_bits, reset_less=True)
        slot = scanner.token.lane * c.tiles + scanner.token.bank
        m.d.sync += [
            weight_row_sum.eq(scanner.token.weight + slot),
            weight_row_early.eq(weight_row_sum),
            # The host reads weights in the same way, beside its access to the first tile.
            weight_row.eq(Mux(sequencer.busy, weight_row_early, host_row.row)),
        ]

        late = tokens[TRAIN_LATENCY - 1]
        found = [
            Signal(c.steps, name=f"train_{index}", reset_less=True) for index in range(c.banks)
        ]
        m.d.sync += [train.eq(bank.train) for train, bank in zip(found, banks, strict=True)]
        trains = Array(found)
        action = Signal(action_layout(c), reset_less=True)
        m.d.sync += [
            action.train.eq(Mux(late.event, trains[late.bank] if c.banks > 1 else trains[0], 0)),
            action.flush.eq(late.flush),
            action.empty.eq(late.empty),
            action.ticket.eq(late.ticket),
            action.how.eq(late.how),
        ]
        spikes = Signal(range(c.steps + 1), reset_less=True)
        m.d.sync += spikes.eq(sum(action.train[step] for step in range(c.steps)))
        m.d.comb += counters.spikes.eq(spikes)

        drain = sequencer.drain
        target = Signal(target_layout(c))
        m.d.comb += [
            target.row.eq(drain.output_row),
            target.empty_row.eq(drain.output_empty_row),
            target.pitch.eq(drain.output_pitch),
            target.parameter_group.eq(drain.parameter_group),
            target.last_lane.eq(drain.last_lane),
        ]
        bus = (weight_row, action, sequencer.load, mode, target)
        for tile in tiles:
            ports = (tile.weight_row, tile.action, tile.load, tile.mode, tile.target)
            m.d.comb += [port.eq(value) for port, value in zip(ports, bus, strict=True)]
            bus = (
                tile.weight_row_next,
                tile.action_next,
                tile.load_next,
                tile.mode_next,
                tile.target_next,
            )

    def _finish(self, m, sequencer, tiles, stops, argmax):  # type: ignore[no-untyped-def]
        """Ends of layers; the argmax of an output layer."""
        done = tiles[-1].done
        m.d.comb += [
            argmax.start.eq(done & sequencer.drain.output),
            argmax.classes.eq(sequencer.drain.classes),
            sequencer.results_done.eq(Mux(sequencer.drain.output, argmax.done, done)),
        ]
        for index, (tile, stop) in enumerate(zip(tiles, stops, strict=True)):
            logit = Signal.like(tile.logit, name=f"logit_{index}", reset_less=True)
            m.d.sync += logit.eq(tile.logit)
            m.d.comb += [
                tile.logit_address.eq(Mux(stop.here.idle, stop.here.address, argmax.address)),
                argmax.logits[index].eq(logit),
            ]

    def _access(self, m, decoder, sequencer, banks, tiles, stops, answer):  # type: ignore[no-untyped-def]
        """Host accesses to the memories of the tiles, on a bus that ripples; the last answer."""
        c = self.config
        width = weights_layout(c).size
        view = {
            name: address_view(c, region, decoder.offset) for name, region in TILE_REGIONS.items()
        }
        weights, parameters, trains = (view[n] for n in ("weights", "parameters", "trains"))
        pair = decoder.word(2 * HOST_WORD_BITS)
        parameter = Signal(parameter_layout(c))
        m.d.comb += [
            parameter.bias.eq(pair[:HOST_WORD_BITS]),
            parameter.threshold.eq(pair[HOST_WORD_BITS:]),
        ]
        access = Signal(access_layout(c), reset_less=True)
        addresses = {
            "weights": weights.row,
            "parameters": Cat(parameters.lane, parameters.group),
            "trains": Cat(trains.lane, trains.row),
            "occupancy": Cat(Const(0, c.lane_bits), view["occupancy"].row),
            "logits": Cat(view["logits"].lane, view["logits"].group),
        }
        words = {
            "weights": decoder.word(width),
            "parameters": parameter.as_value(),
            "trains": decoder.word(HOST_WORD_BITS),
        }
        last_parts = {
            "weights": self._last_part(weights, width),
            "parameters": parameters.part[0],
        }
        meant = {name: decoder.write[r] | decoder.read[r] for name, r in TILE_REGIONS.items()}

        def of_meant(values):  # type: ignore[no-untyped-def]
            """The value that belongs to the region meant, 0 if none is."""
            return select((meant[name] for name in values), values.values())

        m.d.sync += [
            access.idle.eq(~(sequencer.busy | Cat(self._waiting).any())),
            access.write.eq(of_meant({n: decoder.write[TILE_REGIONS[n]] for n in words})),
            access.tile.eq(of_meant({name: fields.bank for name, fields in view.items()})),
            access.part.eq(of_meant({name: view[name].part for name in last_parts})),
            access.address.eq(of_meant(addresses)),
            access.word.eq(of_meant(words)),
        ]
        for name, region in TILE_REGIONS.items():
            written = decoder.write[region] & last_parts.get(name, 1)
            m.d.sync += access[name].eq(written | decoder.read[region])

        for bank, tile, stop in zip(banks, tiles, stops, strict=True):
            here = stop.here
            m.d.comb += [
                stop.access.eq(access),
                stop.answer.eq(answer),
                tile.idle.eq(here.idle),
                tile.weight_write.eq(stop.write_weights),
                tile.weight_write_row.eq(here.address),
                tile.weight_write_data.eq(here.word),
                tile.parameter_write.eq(stop.write_parameters),
                tile.parameter_write_address.eq(here.address),
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

    def _count(self, m, decoder, sequencer, scanner, counters):  # type: ignore[no-untyped-def]
        """Counters, and the memory that keeps those of every layer."""
        c = self.config
        m.submodules.counts = counts = self._memory(
            width=HOST_WORD_BITS, depth=c.layers * COUNTER_WORDS
        )
        m.d.comb += [
            sequencer.events_done.eq(scanner.token.flush & scanner.token.how.layer_last),
            counters.begin.eq(sequencer.begin),
            counters.start.eq(sequencer.start),
            counters.finish.eq(sequencer.finish),
            counters.counting.eq(sequencer.counting),
            counters.event.eq(scanner.token.event),
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
        self._counter = counts.read_data

    def _answer(self, m, decoder, sequencer, argmax):  # type: ignore[no-untyped-def]
        """Answers to the host out of the memories that are not in tiles, and their time."""
        c = self.config
        m.d.comb += self.best.eq(argmax.best)
        read = Signal()
        m.d.comb += read.eq(Cat(decoder.read).any())
        for stage in range(self.read_latency - 1):
            read_next = Signal(name=f"read_{stage}")
            m.d.sync += read_next.eq(read)
            read = read_next
        m.d.comb += self.host.read_valid.eq(read)

        asked, offset = Cat(decoder.read), decoder.offset
        for stage in range(MEMORY_LATENCY):
            asked_next = Signal(len(Region), name=f"asked_{stage}")
            offset_next = Signal(len(offset), name=f"offset_{stage}", reset_less=True)
            m.d.sync += [asked_next.eq(asked), offset_next.eq(offset)]
            asked, offset = asked_next, offset_next

        control = address_view(c, Region.CONTROL, offset).word
        part = address_view(c, Region.TABLES, offset).part
        values = {
            Region.CONTROL: Mux(
                control == Control.CLASS, argmax.best, Cat(sequencer.busy, self._refused)
            ),
            Region.DESCRIPTORS: self._descriptor,
            Region.TABLES: self._table_entry.word_select(part, HOST_WORD_BITS),
            Region.COUNTERS: self._counter,
        }
        answer = Signal(HOST_WORD_BITS, reset_less=True)
        for region, value in values.items():
            with m.If(asked[region]):
                m.d.sync += answer.eq(value)
        # As late as the first tile finds its answer.
        return delayed(m, answer, ANSWER_LATENCY - MEMORY_LATENCY - 1, "answer")
