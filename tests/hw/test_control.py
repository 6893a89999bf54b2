"""run_control: the control registers, and the mode that they and a layer give the neurons."""

import pytest
from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring

from residuum.hw.host.control import TILES_AT_ONCE, run_control
from residuum.hw.host.port import HostDecoder, HostPort
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.descriptors import DRAIN_FIELDS, LayerDescriptor
from residuum.hw.isa.host_map import HOST_WORD_BITS, Control, Correction, HostMap, Region
from residuum.hw.layouts import mode_layout
from tests.hw.simulation import idle, trace

CONFIG = EngineConfig(steps=6)
FLAGS = ("numbers", "fraction", "start_zero", "strict", "output")
MODE_LATENCY = 2
# Cycles from a host's write to the start of the run: the decoder, the check of the steps.
START_LATENCY = 2


class Harness(wiring.Component):
    """The control registers behind a host port."""

    def __init__(self, config: EngineConfig = CONFIG):
        self.config = config
        widths = LayerDescriptor.widths(config)
        self.address = Signal(HostMap(config).address_bits)
        self.word = Signal(HOST_WORD_BITS)
        self.write = Signal()
        self.busy = Signal()
        self.layer = Signal(data.StructLayout({n: unsigned(widths[n]) for n in DRAIN_FIELDS}))
        self.mode = Signal(mode_layout(config))
        self.start = Signal(1 + 2 * config.layer_bits)
        self.asked, self.waiting, self.refused = Signal(), Signal(), Signal()
        super().__init__({"host": wiring.In(HostPort(config))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = HostDecoder(self.config, longest=HOST_WORD_BITS)
        control = run_control(m, self.config, decoder, busy=self.busy)
        m.d.comb += [
            decoder.port.address.eq(self.address),
            decoder.port.write_data.eq(self.word),
            decoder.port.write.eq(self.write),
            self.mode.eq(control.mode(m, self.config, self.layer)),
            Cat(self.start, self.asked, self.waiting, self.refused).eq(
                Cat(control.start, control.asked, control.waiting, control.refused)
            ),
        ]
        return m


def write(word: Control, value: int, c: EngineConfig = CONFIG, **inputs) -> dict:
    address = HostMap(c).address(Region.CONTROL, word=word)
    return {"address": address, "word": value, "write": 1, **inputs}


def steps(tau: int, inference: int, correction: Correction = Correction.MASK, **inputs) -> dict:
    return write(Control.STEPS, tau | inference << 8 | correction << 16, **inputs)


def mode(layer: dict, *writes: dict) -> dict[str, int]:
    """The mode of a layer, some cycles after the writes."""
    cycles = [*writes, *[{"layer": layer}] * (MODE_LATENCY + 2)]
    return trace(Harness(), [*cycles, {"layer": layer}], ["mode"])[-1]["mode"]


def last_slots(count: int) -> int:
    return sum(1 << slot for slot in range(CONFIG.steps) if slot >= CONFIG.steps - count)


@pytest.mark.parametrize(("tau", "inference"), [(0, 6), (0, 1), (2, 4), (5, 1), (1, 3)])
def test_the_steps_of_a_run_are_the_last_slots(tau, inference):
    seen = mode({}, steps(tau, inference))
    expected = (last_slots(tau + inference), last_slots(inference), 0)
    assert (seen["active"], seen["inference"], seen["radix"]) == expected


@pytest.mark.parametrize("bits", range(1, CONFIG.steps + 1))
def test_the_steps_of_a_map_in_radix_code_are_its_bits(bits):
    seen = mode({"bits": bits}, steps(2, 3))
    assert (seen["active"], seen["inference"], seen["radix"]) == (last_slots(bits),) * 2 + (1,)


def test_all_slots_are_inference_from_power_up_on():
    seen = mode({})
    assert (seen["active"], seen["inference"], seen["carry"]) == (0b111111, 0b111111, 0)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags_are_those_of_the_layer(flag):
    seen = mode({flag: 1})
    assert {name for name in FLAGS if seen[name]} == {flag}


@pytest.mark.parametrize(
    ("writes", "output", "carry"),
    [
        ([steps(2, 4, Correction.CARRY)], 0, 1),
        ([steps(2, 4, Correction.CARRY)], 1, 0),
        ([steps(2, 4, Correction.MASK)], 0, 0),
        ([steps(2, 4, Correction.CARRY), steps(2, 4, Correction.MASK)], 0, 0),
        ([steps(2, 4, Correction.CARRY), *idle(3), {"reset": 1}], 0, 0),
    ],
    ids=["carry", "never in the output layer", "mask", "mask again", "mask after a reset"],
)
def test_the_correction_is_the_one_last_written(writes, output, carry):
    assert mode({"output": output}, *writes)["carry"] == carry


def test_the_mode_follows_the_layer_two_cycles_later():
    cycles = [*idle(6), *[{"layer": {"bits": 2, "strict": 1}}] * (MODE_LATENCY + 1)]
    seen = trace(Harness(), cycles, ["mode"])[-1]["mode"]
    assert (seen["active"], seen["inference"], seen["strict"]) == (0b110000, 0b110000, 1)


def test_a_run_in_progress_keeps_its_steps():
    busy = [steps(2, 4, Correction.CARRY), *idle(2), steps(0, 1, busy=1), *[{"busy": 1}] * 6]
    seen = trace(Harness(), busy, ["mode"])[-1]["mode"]
    assert (seen["active"], seen["inference"], seen["carry"]) == (0b111111, 0b111100, 1)


def started(c: EngineConfig, *writes: dict) -> list[tuple[int, int, int]]:
    """(cycle, first layer, last layer) of each run that starts."""
    seen = trace(Harness(c), [*writes, *idle(c.tiles + 4)], ["start"])
    layers = (1 << c.layer_bits) - 1
    return [
        (now, cycle["start"] >> 1 & layers, cycle["start"] >> 1 + c.layer_bits)
        for now, cycle in enumerate(seen)
        if cycle["start"] & 1
    ]


@pytest.mark.parametrize(
    "c",
    [CONFIG, EngineConfig(lanes=TILES_AT_ONCE + 1, tile_lanes=1)],
    ids=["usual", "a tile too many"],
)
def test_a_run_starts_when_the_hosts_writes_have_reached_all_tiles(c):
    late = max(0, c.tiles - TILES_AT_ONCE)
    assert started(c, write(Control.RUN, 3 | 7 << 8, c)) == [(START_LATENCY + late, 3, 7)]


@pytest.mark.parametrize(
    ("tau", "inference", "refused"),
    [(0, 6, 0), (5, 1, 0), (0, 0, 1), (6, 0, 1), (6, 1, 1), (0, 7, 1), (8, 1, 1), (0, 255, 1)],
)
@pytest.mark.parametrize("correction", Correction)
def test_a_run_without_inference_or_with_too_many_steps_is_refused(
    tau, inference, refused, correction
):
    cycles = [steps(tau, inference, correction), *idle(2), write(Control.RUN, 0)]
    seen = trace(Harness(), [*cycles, *idle(4)], ["start", "refused"])
    starts = sum(cycle["start"] & 1 for cycle in seen)
    assert (seen[-1]["refused"], starts) == (refused, 1 - refused)


@pytest.mark.parametrize(
    ("tau", "correction", "refused"),
    [(0, Correction.MASK, 0), (2, Correction.MASK, 1), (2, Correction.CARRY, 0)],
)
def test_an_engine_without_masks_refuses_a_probe_that_silences(tau, correction, refused):
    c = CONFIG.with_changes(masks=0)
    cycles = [steps(tau, 4, correction), *idle(2), write(Control.RUN, 0)]
    seen = trace(Harness(c), [*cycles, *idle(4)], ["start", "refused"])
    starts = sum(cycle["start"] & 1 for cycle in seen)
    assert (seen[-1]["refused"], starts) == (refused, 1 - refused)


def test_a_run_is_not_started_while_the_engine_is_busy():
    assert started(CONFIG, write(Control.RUN, 0, busy=1), {"busy": 1}) == []
