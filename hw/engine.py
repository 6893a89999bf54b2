"""The engine: a spiking network, layer by layer, all time steps of a layer at once.

::

    feature memory -> event scanner -> tiles: weights -> lane array -> neurons -> feature memory
                          ^                                             |
     sequencer: descriptors, axis tables                        logits, argmax
"""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.array.lanes import action_layout
from hw.array.tile import Tile, target_layout
from hw.config import EngineConfig
from hw.contents import Contents
from hw.link.host import HostDecoder, HostPort, address_view
from hw.memory.block import BlockMemory
from hw.memory.feature import FeatureBank, write_layout
from hw.memory.weights import OnChipRefill, weights_layout
from hw.neuron.argmax import ArgMax
from hw.neuron.pipeline import mode_layout, parameter_layout
from hw.program import (
    COUNTER_WORDS,
    DESCRIPTOR_WORDS,
    HOST_WORD_BITS,
    SCAN_FIELDS,
    AxisEntry,
    Control,
    Region,
    host_words,
)
from hw.scanner.events import EventScanner, token_layout
from hw.scanner.walker import RowWalker
from hw.scanner.windows import WindowGenerator
from hw.sequencer.counters import Counters
from hw.sequencer.sequencer import Sequencer

# Cycles from the scanner's token to its train: feature memory and bank select. Its weight row goes
# to the first tile after one cycle, so that the weights, two cycles later, meet the train.
TRAIN_LATENCY = 3

# Cycles from a host read to its answer: the decoder, a store, the choice of its bank and part, the
# choice between stores.
READ_LATENCY = 5


class Engine(wiring.Component):
    """The whole accelerator behind one host port.

    Parameters
    ----------
    config : EngineConfig
        All sizes.
    contents : mapping of int to int
        A program that the memories hold at power-up: host addresses and words, as a host would
        write them (`hw.contents.Contents`).

    Members
    -------
    host : In(HostPort)
        Program, weights, images in; the same, trains, logits and counters out
        (`hw.program.HostMap`). Memories may be accessed only while the engine is not busy.
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
        for index, bank in enumerate(banks):
            m.submodules[f"bank_{index}"] = bank
        for index, tile in enumerate(tiles):
            m.submodules[f"tile_{index}"] = tile

        mode = self._control(m, decoder, sequencer)
        self._scan(m, decoder, sequencer, windows, walker, scanner, refill, banks)
        self._accumulate(m, sequencer, scanner, banks, tiles, mode, counters)
        self._finish(m, decoder, sequencer, tiles, argmax)
        self._write(m, decoder, sequencer, banks, tiles)
        self._count(m, decoder, sequencer, scanner, counters)
        self._answer(m, decoder, sequencer, banks, tiles, argmax)
        return m

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
        m.d.comb += [
            sequencer.run.eq(asked & fits),
            sequencer.first.eq(first),
            sequencer.last.eq(last),
            self.busy.eq(sequencer.busy | asked | decoder.write[Region.CONTROL]),
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

    def _scan(self, m, decoder, sequencer, windows, walker, scanner, refill, banks):  # type: ignore[no-untyped-def]
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
            walker.ready.eq(scanner.ready & sequencer.counting),
            scanner.advance.eq(walker.advance),
            scanner.request.eq(walker.request),
            scanner.empty_row.eq(sequencer.scan.input_empty_row),
            scanner.skip_empty.eq(sequencer.scan.skip_empty),
            scanner.last_lane.eq(sequencer.scan.last_lane),
            scanner.occupancy.eq(Cat(bank.occupancy[: c.bank_slots] for bank in banks)),
            scanner.occupancy_empty.eq(banks[0].occupancy[c.bank_slots]),
        ]

        # The host reads through the same ports while the engine is not busy.
        host_train = address_view(c, Region.TRAINS, decoder.offset)
        host_occupancy = address_view(c, Region.OCCUPANCY, decoder.offset)
        token = scanner.token
        for bank in banks:
            m.d.comb += [
                bank.occupancy_row.eq(
                    Mux(sequencer.busy, scanner.occupancy_row, host_occupancy.row)
                ),
                bank.train_address.eq(
                    Mux(
                        sequencer.busy,
                        Cat(token.lane, token.row),
                        Cat(host_train.lane, host_train.row),
                    )
                ),
            ]

    @staticmethod
    def _last_part(address, width: int):  # type: ignore[no-untyped-def]
        return address.part == host_words(width) - 1

    def _accumulate(self, m, sequencer, scanner, banks, tiles, mode, counters):  # type: ignore[no-untyped-def]
        """Tokens meet their trains and weights and ripple through the tiles."""
        c = self.config
        tokens = [scanner.token]
        for index in range(TRAIN_LATENCY - 1):
            token = Signal(token_layout(c), name=f"token_{index}")
            m.d.sync += token.eq(tokens[-1])
            tokens.append(token)

        weight_row = Signal(c.weight_row_bits, reset_less=True)
        slot = scanner.token.lane * c.tiles + scanner.token.bank
        m.d.sync += weight_row.eq(scanner.token.weight + slot)

        late = tokens[TRAIN_LATENCY - 1]
        trains = Array(bank.train[: c.steps] for bank in banks)
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
        row, act = weight_row, action
        for tile in tiles:
            m.d.comb += [
                tile.weight_row.eq(row),
                tile.action.eq(act),
                tile.load.eq(sequencer.load),
                tile.mode.eq(mode),
                tile.target.eq(target),
            ]
            row, act = tile.weight_row_next, tile.action_next

    def _finish(self, m, decoder, sequencer, tiles, argmax):  # type: ignore[no-untyped-def]
        """Ends of layers; the argmax of an output layer."""
        c = self.config
        host = address_view(c, Region.LOGITS, decoder.offset)
        done = tiles[-1].done
        m.d.comb += [
            argmax.start.eq(done & sequencer.drain.output),
            argmax.classes.eq(sequencer.drain.classes),
            sequencer.results_done.eq(Mux(sequencer.drain.output, argmax.done, done)),
        ]
        for index, tile in enumerate(tiles):
            m.d.comb += [
                tile.logit_address.eq(
                    Mux(sequencer.busy, argmax.address, Cat(host.lane, host.group))
                ),
                argmax.logits[index].eq(tile.logit),
            ]

    def _write(self, m, decoder, sequencer, banks, tiles):  # type: ignore[no-untyped-def]
        """Writes of the host: weights and parameters of the tiles, trains of the banks."""
        c = self.config
        weights, parameters, trains = (
            address_view(c, region, decoder.offset)
            for region in (Region.WEIGHTS, Region.PARAMETERS, Region.TRAINS)
        )
        width = weights_layout(c).size
        parameter = Signal(parameter_layout(c))
        pair = decoder.word(2 * HOST_WORD_BITS)
        m.d.comb += [
            parameter.bias.eq(pair[:HOST_WORD_BITS]),
            parameter.threshold.eq(pair[HOST_WORD_BITS:]),
        ]
        for index, tile in enumerate(tiles):
            m.d.comb += [
                tile.weight_write.eq(
                    decoder.write[Region.WEIGHTS]
                    & (weights.bank == index)
                    & self._last_part(weights, width)
                ),
                tile.weight_write_row.eq(weights.row),
                tile.weight_write_data.eq(decoder.word(width)),
                tile.parameter_write.eq(
                    decoder.write[Region.PARAMETERS] & (parameters.bank == index) & parameters.part
                ),
                tile.parameter_write_address.eq(Cat(parameters.lane, parameters.group)),
                tile.parameter_write_data.eq(parameter),
                tile.idle.eq(~sequencer.busy),
            ]
        host_write = Signal(write_layout(c))
        m.d.comb += [
            host_write.row.eq(trains.row),
            host_write.lane.eq(trains.lane),
            host_write.train.eq(decoder.word(HOST_WORD_BITS)),
            host_write.last.eq(trains.lane == c.tile_lanes - 1),
        ]
        for index, (bank, tile) in enumerate(zip(banks, tiles, strict=True)):
            chosen = decoder.write[Region.TRAINS] & (trains.bank == index)
            m.d.comb += [
                bank.write_valid.eq(Mux(sequencer.busy, tile.write_valid, chosen)),
                bank.write.eq(Mux(sequencer.busy, tile.write, host_write)),
            ]

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

    def _answer(self, m, decoder, sequencer, banks, tiles, argmax):  # type: ignore[no-untyped-def]
        """Reads of the host: all stores answer after two cycles; then the bank and the part of each
        is chosen, then the store."""
        c = self.config
        m.d.comb += self.best.eq(argmax.best)

        asked = [Cat(decoder.read)]
        offsets = [decoder.offset]
        for stage in range(READ_LATENCY - 2):
            asked_next = Signal(len(Region), name=f"read_{stage}")
            offset_next = Signal(len(decoder.offset), name=f"read_offset_{stage}", reset_less=True)
            m.d.sync += [asked_next.eq(asked[-1]), offset_next.eq(offsets[-1])]
            asked.append(asked_next)
            offsets.append(offset_next)
        offset = offsets[READ_LATENCY - 3]

        def chosen(region: Region, name: str, words):  # type: ignore[no-untyped-def]
            """The word that an address field selects, a field of no bits the only one."""
            field = getattr(address_view(c, region, offset), name)
            return Array(words)[field] if len(field) else words[0]

        def parts(region: Region, value):  # type: ignore[no-untyped-def]
            words = range(0, len(value), HOST_WORD_BITS)
            return chosen(region, "part", [value[low : low + HOST_WORD_BITS] for low in words])

        def of_banks(region: Region, words):  # type: ignore[no-untyped-def]
            return chosen(region, "bank", list(words))

        def extended(value):  # type: ignore[no-untyped-def]
            word = Signal(signed(HOST_WORD_BITS))
            m.d.comb += word.eq(value)
            return word

        control = address_view(c, Region.CONTROL, offset).word
        parameter = ([tile.parameter.bias, tile.parameter.threshold] for tile in tiles)
        values = {
            Region.CONTROL: Mux(
                control == Control.CLASS, argmax.best, Cat(sequencer.busy, self._refused)
            ),
            Region.DESCRIPTORS: self._descriptor,
            Region.TABLES: parts(Region.TABLES, self._table_entry),
            Region.PARAMETERS: extended(
                of_banks(
                    Region.PARAMETERS,
                    (chosen(Region.PARAMETERS, "part", pair) for pair in parameter),
                )
            ),
            Region.WEIGHTS: of_banks(
                Region.WEIGHTS, (parts(Region.WEIGHTS, tile.weights.as_value()) for tile in tiles)
            ),
            Region.TRAINS: of_banks(Region.TRAINS, (bank.train for bank in banks)),
            Region.OCCUPANCY: of_banks(Region.OCCUPANCY, (bank.occupancy for bank in banks)),
            Region.LOGITS: extended(of_banks(Region.LOGITS, (tile.logit for tile in tiles))),
            Region.COUNTERS: self._counter,
        }
        answer = Signal(HOST_WORD_BITS, reset_less=True)
        answered = Signal()
        m.d.sync += answered.eq(asked[-1].any())
        for region, value in values.items():
            found = Signal.like(value, name=f"found_{region.name.lower()}", reset_less=True)
            m.d.sync += found.eq(value)
            with m.If(asked[-1][region]):
                m.d.sync += answer.eq(found)
        m.d.comb += [self.host.read_data.eq(answer), self.host.read_valid.eq(answered)]
