"""Compiler: translates an integer network into the program of an engine of given sizes.

The program is a list of host writes: layer descriptors, tables, weight rows, and per channel a bias
and a threshold. `Program` also computes the host accesses that write an input and read trains and
logits.

`residuum.sw.compiler.exact` puts the network in the engine's terms, `residuum.sw.compiler.layout`
lays it out: in all layouts of maps a window is a list of segments. A segment is a run of
consecutive slots whose weight rows are consecutive too; the tables hold its start.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from residuum.hw.isa.config import CHUNK_ROWS, EXTERNAL_WORD_BITS, EngineConfig
from residuum.hw.isa.descriptors import AxisEntry, LayerDescriptor
from residuum.hw.isa.host_map import HOST_WORD_BITS, HostMap, Region, split_words
from residuum.hw.isa.image import FIRST_IMAGE_WORD, ImageDescriptor
from residuum.sw.checks import whole_number
from residuum.sw.compiler.batch import SINGLE, Batch, Turn, first_joint_layers
from residuum.sw.compiler.exact import logit_shift, reads_numbers
from residuum.sw.compiler.fit import LARGEST, Need, needs
from residuum.sw.compiler.image import image_descriptor
from residuum.sw.compiler.layout import LayerLayout, Layout, lay_out, lay_out_wide
from residuum.sw.compiler.maps import PackedMap, Plan
from residuum.sw.compiler.runnable import not_runnable
from residuum.sw.errors import ResiduumError
from residuum.sw.network.corrections import CARRY, MASK, check_correction, longest_stage
from residuum.sw.network.graph import IMAGE, INPUT, ZERO
from residuum.sw.network.integer_network import RADIX, IntegerNetwork, Layer

# Width of potentials, and of shifted accumulators, in the largest engine.
_MAX_BITS = 32
_MEMORIES = (
    "weight_rows",
    "feature_rows",
    "parameter_rows",
    "logit_rows",
    "table_entries",
    "layers",
)


@dataclass(frozen=True)
class LayerPlan:
    """A layer as the engine runs it.

    Attributes
    ----------
    turn
        Its number, and the images that it runs for.
    layer
        In the terms of the engine (`residuum.sw.compiler.exact`).
    inputs
        The maps that it reads, in the order of the walk.
    output
        The map that it writes, that of its first image; None for the output layer.
    descriptor
        As in the engine's memory.
    group_entries, lines, columns
        Its tables, as in the engine's memory.
    groups
        Groups of output channels.
    weight_rows
        Weight rows of all groups. Other layers may have other lanes of them.
    """

    turn: Turn
    layer: Layer
    inputs: tuple[Plan, ...]
    output: Plan | None
    descriptor: LayerDescriptor
    group_entries: tuple[AxisEntry, ...]
    lines: tuple[AxisEntry, ...]
    columns: tuple[AxisEntry, ...]
    groups: int
    weight_rows: int


@dataclass(frozen=True)
class Program:
    """A network compiled for one configuration of the engine.

    Attributes
    ----------
    addresses, words
        uint32 arrays of equal length: the host writes that load the program, in order.
    batch
        How many images run at a time, and how.
    layers
        The plans of the layers in the order in which they run: one per layer, of a batch more.
    maps, starts
        The input of the network (`INPUT`) and all maps, by number; their first rows for each image
        of a batch.
    weight_rows, feature_rows, table_entries
        Rows and entries in use.
    logit_shift
        The engine's logits are 2**shift times those of the network.
    image
        How a device packs raw pixels; None: it cannot, and a host writes `input_writes`.
    external
        The words of the external memory, from its start on, uint16; none if the weight store holds
        all weights.
    """

    network: IntegerNetwork
    config: EngineConfig
    batch: Batch
    layers: tuple[LayerPlan, ...]
    maps: Mapping[int, Plan]
    starts: Mapping[int, tuple[int, ...]]
    addresses: np.ndarray
    words: np.ndarray
    weight_rows: int
    feature_rows: int
    table_entries: int
    logit_shift: int
    image: ImageDescriptor | None
    external: np.ndarray

    @property
    def load_words(self) -> int:
        """Host words to load it."""
        return len(self.words) + len(self.external) // 2

    @property
    def runs(self) -> tuple[range, ...]:
        """The plans that run without a pause once an image is in the engine, for each image of a
        batch, or the single one."""
        return self.batch.runs(len(self.network.layers))

    @property
    def plans(self) -> tuple[LayerPlan, ...]:
        """The first plan of each layer of the network."""
        return tuple(plan for plan in self.layers if plan.turn.images.start == 0)

    def by_layer(self, values: np.ndarray) -> np.ndarray:
        """Sums over the plans of each layer of the network, (layers, ...), of values (plans,
        ...)."""
        result = np.zeros((len(self.network.layers), *values.shape[1:]), values.dtype)
        np.add.at(result, [plan.turn.layer for plan in self.layers], values)
        return result

    @property
    def takes_pixels(self) -> bool:
        """Whether a device can pack the raw pixels of an image."""
        return self.image is not None

    def input_writes(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Host writes (addresses, words) that put one input into the engine.

        An image, uint8 (C, H, W): bit-plane k of a pixel is bit k of its train. With S < 8 there
        are two copies of the image, of its upper and of its lower four bit-planes.

        Spike trains, (tau + T, C, H, W) of 0 and 1: step t is in slot S - tau - T + t.
        """
        config, plan = self.config, self.maps[INPUT]
        if self.network.input == IMAGE:
            framed = self.network.with_border(self.network.as_image(values)[None])[0]
            numbers, bits = framed.astype(np.uint32), config.pixel_planes
        else:
            steps = len(values)
            if steps > config.steps:
                raise ResiduumError(
                    f"spike trains of {steps} steps do not fit this engine, which has "
                    f"{config.steps}"
                )
            trains = self.network.as_trains(np.asarray(values)[None], steps)[0].astype(np.uint32)
            slots = np.arange(config.steps - steps, config.steps, dtype=np.uint32)
            numbers = (trains << slots[:, None, None, None]).sum(axis=0, dtype=np.uint32)
            bits = config.steps
        placed = plan.scatter(numbers)
        lowest = [(plan.passes - 1 - index) * bits for index in range(plan.passes)]
        copies = [placed >> low & (1 << bits) - 1 for low in lowest]
        words = np.concatenate(copies).reshape(-1)
        return self._train_addresses(plan.row, plan.rows_taken).reshape(-1), words

    def _train_addresses(self, row: int, count: int) -> np.ndarray:
        """Host addresses of the trains in ``count`` rows from ``row`` on, uint32 (count, lanes)."""
        config, host_map = self.config, HostMap(self.config)
        within = [
            host_map.address(Region.TRAINS, **_place(slot, config)) for slot in range(config.lanes)
        ]
        step = host_map.address(Region.TRAINS, row=1) - host_map.address(Region.TRAINS)
        rows = np.arange(row, row + count, dtype=np.uint32)[:, None]
        result: np.ndarray = rows * np.uint32(step) + np.array(within, np.uint32)
        return result

    def train_reads(self, index: int, image: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Host addresses to read for `decode_trains`, before the next of `layers` runs.

        First array: the trains in all rows of the output map of ``layers[index]`` for an image of
        its turn, then in the rows of its shared result. Second array: the occupancy (bank 0) of
        each row of the map.
        """
        plan = self._output(index)
        first = plan.row + (image - self.layers[index].turn.images.start) * plan.rows
        trains = [self._train_addresses(first, plan.rows)]
        if plan.empty_row is not None:
            trains.append(self._train_addresses(plan.empty_row, plan.groups))
        host_map = HostMap(self.config)
        occupancy = [
            host_map.address(Region.OCCUPANCY, row=row) for row in range(first, first + plan.rows)
        ]
        return np.concatenate(trains).reshape(-1), np.array(occupancy, np.uint32)

    def decode_trains(
        self, number: int, trains: np.ndarray, occupancy: np.ndarray, steps: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Trains and masks of an image from the words read at the addresses of `train_reads`.

        Parameters
        ----------
        number
            Of the layer in the network.
        steps
            tau + T. In radix code the trains have K steps; step k is bit k of the number.

        Returns
        -------
        trains : bool (steps, C, H, W)
        silenced : bool (C, H, W)
        """
        plan, bits = self.maps[number], self.network.layers[number].bits
        words = trains.reshape(-1, self.config.lanes).copy()
        own = words[: plan.rows]
        refers = (occupancy >> self.config.bank_slots & 1).astype(bool)
        if plan.empty_row is not None:
            shared = words[plan.rows :]
            own[refers] = shared[np.flatnonzero(refers) % plan.groups]
        rows, slots = plan.slots()
        neurons = own[rows, slots]
        first, count = (self.config.steps - steps, steps) if bits is None else (0, bits)
        found = neurons[None] >> (first + np.arange(count)).reshape(-1, 1, 1, 1) & 1
        return found.astype(bool), (neurons >> self.config.steps & 1).astype(bool)

    def _output(self, index: int) -> Plan:
        plan = self.layers[index].output
        if plan is None:
            raise ResiduumError("the output layer has logits, not trains")
        return plan

    def logit_reads(self, image: int = 0) -> np.ndarray:
        """Host addresses of the logits of an image of a batch, one per class. The engine finds the
        class of the first image, whose logits come first."""
        config, host_map = self.config, HostMap(self.config)
        lanes = self.layers[-1].descriptor.last_lane + 1
        places = []
        for index in range(self.network.classes):
            # Each group of output channels has its rows image by image.
            group, slot = divmod(index, config.lanes)
            lane, bank = divmod(slot, config.tiles)
            places.append(((group * self.batch.images + image) * lanes + lane, bank))
        addresses = [host_map.address(Region.LOGITS, row=row, bank=bank) for row, bank in places]
        return np.array(addresses, np.uint32)

    def decode_logits(self, words: np.ndarray) -> np.ndarray:
        """Logits, int64 (classes,), from the words read at `logit_reads`."""
        return words.astype(np.int32).astype(np.int64) >> self.logit_shift


def compile_network(
    network: IntegerNetwork,
    config: EngineConfig,
    *,
    tau: int,
    T: int,
    correction: str | None = None,
    batch: Batch = SINGLE,
) -> Program:
    """Compile a network for an engine, for single images or a batch
    (`residuum.sw.compiler.batching.best_batch` chooses one).

    tau, T and the correction (None: that of `default_correction`) only bound the potentials. The
    program also runs with any other tau and T whose maximum (with the correction "carry": whose
    sum) is not larger. A network in radix code runs once, whatever they are.

    Raises
    ------
    ResiduumError
        If the network does not fit: names the layer, the resource, the need and the size.
    """
    tau, T = whole_number("tau", tau), whole_number("T", T)
    if tau < 0 or T < 1 or tau + T > config.steps:
        raise ResiduumError(
            f"tau = {tau} and T = {T} do not fit this engine: tau must be at least 0, T at least "
            f"1, and tau + T at most {config.steps}"
        )
    hidden = output = 1
    if network.code != RADIX:
        correction = check_correction(network, correction, tau, engine=True)
        if correction == MASK and not config.masks:
            raise ResiduumError(
                f"this engine does not have the correction {MASK!r}, which stores a bit for each "
                f"neuron; take {CARRY!r}, or tau = 0"
            )
        hidden, output = (
            longest_stage(layer, correction, tau, T)
            for layer in (network.layers[0], network.layers[-1])
        )
    check_batch(network, batch)
    _refuse(network, needs(network, config, hidden, output_steps=output, batch=batch))
    return _Assembler(network, config, lay_out_wide(network, config, batch), batch).program()


def check_batch(network: IntegerNetwork, batch: Batch) -> None:
    """ResiduumError if the joint layers of a batch are none of `first_joint_layers`."""
    possible = first_joint_layers(network)
    if batch.images > 1 and batch.joint not in possible:
        raise ResiduumError(
            f"layers from {batch.joint} on cannot run for {batch.images} images of {network.name} "
            f"at once: the first one must be {possible.start} to {possible.stop - 1}"
        )


def _refuse(network: IntegerNetwork, taken: Iterable[Need]) -> list[Need]:
    """The needs, if the engine meets them; else ``ResiduumError`` on the first that it does not."""
    if sentences := not_runnable(network):
        raise ResiduumError(sentences[0])
    found = []
    for need in taken:
        if not need.fits:
            raise ResiduumError(need.sentence)
        found.append(need)
    return found


def grow_to_fit(network: IntegerNetwork, config: EngineConfig) -> EngineConfig:
    """``config`` with memories, accumulators and potentials enlarged to fit a network.

    An enlarged memory has a power of two entries. Accumulators and potentials are wide enough for
    every tau and T with tau + T <= ``config.steps``, and every correction.

    Raises
    ------
    ResiduumError
        As `compile_network`, if the network exceeds even the largest engine.
    """
    if config.external:
        ring = 1 << (lay_out(network, config).ring_rows - 1).bit_length()
        config = config.with_changes(weight_rows=max(ring, config.weight_rows))
    largest = config.with_changes(
        weight_rows=config.weight_rows if config.external else 1 << 20,
        feature_rows=1 << 20,
        parameter_rows=1 << 16,
        logit_rows=1 << 12,
        table_entries=1 << 16,
        layers=64,
        accumulator_bits=_MAX_BITS - config.fraction_bits,
        potential_bits=_MAX_BITS,
    )
    needed = {
        need.parameter: need.needed
        for need in _refuse(network, needs(network, largest, config.steps, LARGEST))
    }
    # Maps that fit packed need no larger memory.
    if lay_out(network, config).placement.rows <= config.feature_rows:
        needed["feature_rows"] = config.feature_rows
    widths = {
        name: max(getattr(config, name), needed[name])
        for name in ("accumulator_bits", "potential_bits")
    }
    widths["potential_bits"] = max(
        widths["potential_bits"], widths["accumulator_bits"] + config.fraction_bits
    )
    grown = {
        name: 1 << (needed[name] - 1).bit_length()
        for name in _MEMORIES
        if needed[name] > getattr(config, name)
    }
    return config.with_changes(**grown, **widths)


def _place(slot: int, config: EngineConfig) -> dict[str, int]:
    """Bank and lane of a slot, as fields of a host address."""
    lane, bank = divmod(slot, config.tiles)
    return {"bank": bank, "lane": lane}


class _Assembler:
    """Collects the host writes of a program, resource by resource."""

    def __init__(self, network: IntegerNetwork, config: EngineConfig, layout: Layout, batch: Batch):
        self.network = network
        self.batch = batch
        self.config = config
        self.layout = layout
        self.host_map = HostMap(config)
        self.writes: list[tuple[int, int]] = []

    def program(self) -> Program:
        layout = self.layout
        entries = [self._wrapped(entry) for entry in layout.entries]
        self._tables(entries)
        plans = []
        for index, layer in enumerate(layout.layers):
            descriptor = self._descriptor(index, layer)
            if layer.turn.images.start == 0:
                self._parameters(layer)
            groups, lines, columns = (
                tuple(self._wrapped(entry) for entry in table)
                for table in (layer.groups, layer.lines, layer.columns)
            )
            plans.append(
                LayerPlan(
                    layer.turn,
                    layer.layer,
                    tuple(reading.plan for reading in layer.readings),
                    layer.output,
                    descriptor,
                    groups,
                    lines,
                    columns,
                    layer.group_count,
                    layer.weight_rows,
                )
            )
        shift = logit_shift(self.network, self.config)
        image = image_descriptor(
            self.network, self.config, layout.placement.maps[INPUT], logit_shift=shift
        )
        self._image(image)
        store = self._weight_store()
        none = np.zeros(0, np.uint32)
        addresses, words = (none, none) if layout.external else self._weight_writes(store)
        external = self._external_words(store) if layout.external else np.zeros(0, np.uint16)
        return Program(
            network=self.network,
            config=self.config,
            batch=self.batch,
            layers=tuple(plans),
            maps=layout.placement.maps,
            starts=layout.placement.starts,
            addresses=np.concatenate(
                [np.array([address for address, _ in self.writes], np.uint32), addresses]
            ),
            words=np.concatenate([np.array([word for _, word in self.writes], np.uint32), words]),
            weight_rows=layout.weight_rows,
            feature_rows=layout.placement.rows,
            table_entries=len(layout.entries),
            logit_shift=shift,
            image=image,
            external=external,
        )

    def _image(self, image: ImageDescriptor | None) -> None:
        """The descriptor of images, or zeros: no image descriptor."""
        if not ImageDescriptor.fits(self.config):
            return
        words = image.words() if image else [0] * len(ImageDescriptor.places())
        for index, word in enumerate(words):
            self._write(Region.DESCRIPTORS, word, layer=0, word=FIRST_IMAGE_WORD + index)

    def _wrapped(self, entry: AxisEntry) -> AxisEntry:
        """An entry whose weight row is in the address space of the store."""
        return replace(entry, weight=entry.weight % (1 << self.config.weight_row_bits))

    def _tables(self, entries: list[AxisEntry]) -> None:
        width = AxisEntry.width(self.config)
        for index, entry in enumerate(entries):
            for part, word in enumerate(split_words(entry.pack(self.config), width)):
                self._write(Region.TABLES, word, entry=index, part=part)

    def _descriptor(self, index: int, layout: LayerLayout) -> LayerDescriptor:
        """Makes and writes the descriptor of a layer."""
        config, layer, first = self.config, layout.layer, layout.readings[0]
        read, plan, target = first.source, first.plan, layout.output
        two_sources = len(layout.readings) == 2
        table_group, table_y, table_x = self.layout.tables[index]
        numbers = reads_numbers(self.network, layer)
        row_space, weight_space = 1 << config.feature_row_bits, 1 << config.weight_row_bits
        radix = self.network.code == RADIX
        position_lanes = 0
        if isinstance(target, PackedMap):
            # 0, too, where a window fills a row.
            position_lanes = layout.positions * target.column // config.tiles % config.tile_lanes
        # A kernel with a single position along an axis never adds a pitch that wraps.
        descriptor = LayerDescriptor(
            windows_y=layout.windows[0] - 1,
            windows_x=layout.windows[1] - 1,
            max_y=layout.steps[0] - 1,
            max_x=layout.steps[1] - 1,
            table_y=table_y,
            table_x=table_x,
            table_group=table_group,
            groups=layout.group_count - 1,
            parts=1 if two_sources else plan.passes - 1,
            pool_y=read.pool[0] - 1,
            pool_x=read.pool[1] - 1,
            pass_pitch=plan.rows if plan.passes > 1 else 0,
            pitch_y=plan.pitch * read.dilation[0] % row_space,
            pitch_x=plan.groups * read.dilation[1] % row_space,
            weight_x=first.column % weight_space,
            weight_y=first.line % weight_space,
            two_sources=int(two_sources),
            second_shift=int(layer.shift > 0),
            skip_empty=int(layout.skip_empty),
            chunks=layout.chunks,
            burst=layout.weight_row // CHUNK_ROWS * config.row_words if layout.chunks else 0,
            last_lane=layout.lanes - 1,
            first_lane=layout.first_lane,
            numbers=int(numbers),
            fraction=int(numbers and layer.fraction_bits > 0),
            bits=(layer.bits or 1) if radix else 0,
            start_zero=int(radix or layer.output or layer.start == ZERO),
            strict=int(layer.strict),
            output=int(layer.output),
            output_row=target.row if target else 0,
            output_empty_row=(target.empty_row or 0) if target else 0,
            output_pitch=target.groups if target else 0,
            position_lanes=position_lanes,
            parameter_row=layout.parameter_row,
            classes=layer.out_channels - 1 if layer.output else 0,
        )
        try:
            words = descriptor.words(config)
        except ValueError as error:
            raise ResiduumError(f"layer {layer.name!r} does not fit this engine: {error}") from None
        for word, value in enumerate(words):
            self._write(Region.DESCRIPTORS, value, layer=index, word=word)
        return descriptor

    def _weight_store(self) -> np.ndarray:
        """All weight rows, int16 (rows, tiles, lanes of a tile). Slot s of a group is lane
        s // tiles of tile s % tiles, counted from the layer's first lane."""
        config = self.config
        store = np.zeros((self.layout.weight_rows, config.tiles, config.tile_lanes), np.int16)
        once = [layer for layer in self.layout.layers if layer.turn.images.start == 0]
        for layer in once:
            for group in range(layer.group_count):
                weights = np.concatenate(
                    [reading.weights(group, config.lanes) for reading in layer.readings]
                )
                spare = layer.lanes * config.tiles - weights.shape[1]
                slots = np.pad(weights, ((0, 0), (0, spare)))
                first = layer.weight_row + group * layer.group_rows
                store[
                    first : first + len(slots),
                    :,
                    layer.first_lane : layer.first_lane + layer.lanes,
                ] = slots.reshape(-1, layer.lanes, config.tiles).transpose(0, 2, 1)
        return store

    def _packed(self, store: np.ndarray, width: int) -> np.ndarray:
        """The weights of a tile in words of ``width`` bits, the first lane lowest: (rows, tiles,
        words)."""
        bits = (store[..., None] >> np.arange(self.config.weight_bits, dtype=np.int16)) & 1
        packed = np.packbits(
            bits.astype(np.uint8).reshape(*store.shape[:2], -1), axis=-1, bitorder="little"
        )
        spare = -packed.shape[-1] % (width // 8)
        return np.pad(packed, ((0, 0), (0, 0), (0, spare))).view(f"<u{width // 8}")

    def _external_words(self, store: np.ndarray) -> np.ndarray:
        """The words of the external memory: those of the last tile first."""
        parts = np.array_split(store, max(1, len(store) >> 12))
        packed = [self._packed(part, EXTERNAL_WORD_BITS)[:, ::-1].reshape(-1) for part in parts]
        return np.concatenate(packed)

    def _weight_writes(self, store: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Host writes of all weight rows."""
        config = self.config
        words = self._packed(store, HOST_WORD_BITS)
        parts = words.shape[-1]
        zero = self.host_map.address(Region.WEIGHTS)
        steps = {
            name: self.host_map.address(Region.WEIGHTS, **{name: 1}) - zero
            for name, count in (("row", 2), ("bank", config.tiles), ("part", parts))
            if count > 1
        }
        row, bank, part = np.ogrid[: len(store), : config.tiles, :parts]
        addresses = (
            zero + row * steps["row"] + bank * steps.get("bank", 0) + part * steps.get("part", 0)
        )
        return addresses.reshape(-1).astype(np.uint32), words.reshape(-1).astype(np.uint32)

    def _parameters(self, layout: LayerLayout) -> None:
        """Bias and threshold of every lane that the layer uses. A lane without a channel gets the
        largest threshold and never fires: in radix code, where the threshold is halved from stage
        to stage, because its v is negative."""
        config, layer = self.config, layout.layer
        never = (1 << config.potential_bits - 1) - 1
        count = layout.parameter_rows * config.tiles
        bias, threshold = np.zeros(count, np.int64), np.zeros(count, np.int64)
        bias[: layer.out_channels] = layer.bias
        if layer.threshold is not None:
            bits = layer.bits
            threshold[:] = never
            threshold[: layer.out_channels] = layer.threshold << (bits - 1 if bits else 0)
            if bits:
                bias[: layer.out_channels] += layer.threshold >> 1
                bias[layer.out_channels :] = -1
            # All steps but the first add 1 again.
            bias -= int(layer.strict)
        for index in range(count):
            row, bank = divmod(index, config.tiles)
            for part, values in enumerate((bias, threshold)):
                self._write(
                    Region.PARAMETERS,
                    int(values[index]) & 0xFFFFFFFF,
                    row=layout.parameter_row + row,
                    bank=bank,
                    part=part,
                )

    def _write(self, region: Region, value: int, /, **fields: int) -> None:
        self.writes.append((self.host_map.address(region, **fields), value))
