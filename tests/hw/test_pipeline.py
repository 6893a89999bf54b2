"""NeuronPipeline: against the equations of its docstring, one neuron after another."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.hw.isa.config import EngineConfig
from residuum.hw.neuron.pipeline import NeuronPipeline
from tests.hw.simulation import trace

PIXEL_PLANES = 8
SUMS_LATENCY = 2
HOW = ("partial", "first", "shared", "group_last", "layer_last")


def config(steps: int, *, tile_lanes: int = 3, groups: int = 5) -> EngineConfig:
    return EngineConfig(
        lanes=tile_lanes,
        tile_lanes=tile_lanes,
        steps=steps,
        accumulator_bits=12,
        potential_bits=24,
        channel_groups=groups,
    )


@dataclass(frozen=True)
class Mode:
    tau: int
    inference: int
    pixels: bool = False
    output: bool = False

    def signal(self, c: EngineConfig) -> dict[str, int]:
        """Masks of the steps: the last tau + T slots, and the last T."""
        slots = range(c.steps)
        return {
            "active": sum(1 << t for t in slots if t >= c.steps - self.tau - self.inference),
            "inference": sum(1 << t for t in slots if t >= c.steps - self.inference),
            "pixels": int(self.pixels),
            "output": int(self.output),
        }


@dataclass
class Neuron:
    """One lane of a window: sums from the array, and the channel's constants."""

    bias: int
    threshold: int
    sums: list[int]  # per step, or per bit-plane of pixels, lowest first
    lane: int = 0
    last: int = 0
    how: dict[str, int] = field(default_factory=dict)


@dataclass
class Life:
    spikes: list[int]
    silenced: int
    potential: int
    extremes: tuple[int, int]  # smallest and largest value anywhere


def live(c: EngineConfig, mode: Mode, neuron: Neuron) -> Life:
    """Simulates an integrate-and-fire neuron, step by step."""
    if mode.pixels:
        weighted = sum(value * 2**plane for plane, value in enumerate(neuron.sums))
        currents = [weighted + neuron.bias] * c.steps
    else:
        currents = [value * 2**c.fraction_bits + neuron.bias for value in neuron.sums]
    currents = currents[c.steps - mode.tau - mode.inference :]
    spikes: list[int] = []
    seen = [neuron.threshold, *currents]
    silenced = 0
    v = neuron.threshold // 2
    for step, current in enumerate(currents):
        if step == mode.tau and mode.tau:
            silenced = int(v < 0)
            v = neuron.threshold // 2
        v += current
        seen += [v, v - neuron.threshold]
        fires = v >= neuron.threshold and not mode.output
        if fires:
            v -= neuron.threshold
        spikes.append(int(fires and not (step >= mode.tau and silenced)))
    return Life(spikes, silenced, v, (min(seen), max(seen)))


def fits(c: EngineConfig, life: Life) -> bool:
    half = 1 << c.potential_bits - 1
    return -half <= life.extremes[0] and life.extremes[1] < half


def slots_of(c: EngineConfig, mode: Mode, neurons: list[Neuron]) -> list[tuple[dict, list[int]]]:
    """Slots and sums of a window: one pass, or a pass per group of bit-planes, highest first."""
    passes: list[tuple[dict, list[int]]] = []
    count = -(-PIXEL_PLANES // c.steps) if mode.pixels else 1
    for number in range(count):
        for neuron in neurons:
            how = {name: neuron.how.get(name, 0) for name in HOW}
            how |= {"partial": int(number < count - 1), "first": int(number == 0)}
            if how["partial"]:
                how |= {"group_last": 0, "layer_last": 0}
            slot = {"lane": neuron.lane, "last": neuron.last, "empty": 0, "how": how}
            if not mode.pixels:
                sums = neuron.sums
            elif c.steps >= PIXEL_PLANES:
                # Slots beyond the planes of a pixel are ignored.
                sums = neuron.sums + [77] * (c.steps - PIXEL_PLANES)
            else:
                low = (count - 1 - number) * c.steps
                planes = neuron.sums + [0] * (count * c.steps - PIXEL_PLANES)
                sums = planes[low : low + c.steps]
            passes.append((slot, sums))
    return passes


def results(
    c: EngineConfig, mode: Mode, windows: list[list[Neuron]], *, group: int = 0, gaps=lambda: 0
) -> list[tuple[int, dict]]:
    """(cycles later than promised, result) of every neuron. The last lane of a window may end its
    group of channels; each group has its own constants, from `group` on."""
    dut = NeuronPipeline(c)
    constants: dict[int, Neuron] = {}
    slots: list[tuple[dict, list[int]]] = []
    now_group = group
    for window in windows:
        constants |= {now_group * c.bank_slots + neuron.lane: neuron for neuron in window}
        slots += slots_of(c, mode, window)
        now_group += window[-1].how.get("group_last", 0)

    always = {"mode": mode.signal(c), "parameter_group": group}
    cycles: list[dict] = [
        {
            "write_enable": 1,
            "write_address": address,
            "write_data": {"bias": neuron.bias, "threshold": neuron.threshold},
        }
        for address, neuron in constants.items()
    ]
    cycles += [always | {"load": 1}, always]
    given_at = []
    sums_at: dict[int, list[int]] = {}
    for slot, slot_sums in slots:
        cycles += [dict(always) for _ in range(gaps())]
        if not slot["how"]["partial"]:
            given_at.append(len(cycles))
        sums_at[len(cycles) + SUMS_LATENCY] = slot_sums
        cycles.append(always | {"slot_valid": 1, "slot": slot})
    cycles += [dict(always) for _ in range(dut.latency_pixels + 6)]
    for now, sums in sums_at.items():
        cycles[now]["sums"] = sums

    promised = dut.latency_pixels if mode.pixels else dut.latency
    seen = trace(dut, cycles, ["result_valid", "result", "train", "potential"])
    answers = [(now, cycle) for now, cycle in enumerate(seen) if cycle["result_valid"]]
    return [
        (now - given - promised, cycle)
        for given, (now, cycle) in zip(given_at, answers, strict=True)
    ]


def seen_and_expected(c: EngineConfig, mode: Mode, windows: list[list[Neuron]], **options):
    """The output of the pipeline, and the expected output from the equations."""
    seen, expected = [], []
    neurons = [neuron for window in windows for neuron in window]
    for neuron, (_, result) in zip(neurons, results(c, mode, windows, **options), strict=True):
        life = live(c, mode, neuron)
        assert fits(c, life)
        unused = c.steps - mode.tau - mode.inference
        train = [result["train"] >> t & 1 for t in range(c.steps + 1)]
        slot = result["result"]
        place = (neuron.lane, neuron.last, {name: neuron.how.get(name, 0) for name in HOW[2:]})
        seen_place = (slot["lane"], slot["last"], {name: slot["how"][name] for name in HOW[2:]})
        if mode.output:
            seen.append((seen_place, train[:-1], result["potential"]))
            expected.append((place, [0] * c.steps, life.potential))
        else:
            seen.append((seen_place, train))
            expected.append((place, [0] * unused + life.spikes + [life.silenced]))
    return seen, expected


def random_neuron(c: EngineConfig, mode: Mode, rng: random.Random, constants: dict) -> Neuron:
    """A neuron in range, whose sums make it fire often, rarely or never."""
    size = rng.choice([3, 40, 500])
    count = PIXEL_PLANES if mode.pixels else c.steps
    sums = [rng.randint(-size, size) for _ in range(count)]
    return Neuron(**constants, sums=sums)


def random_windows(c: EngineConfig, mode: Mode, rng: random.Random) -> list[list[Neuron]]:
    lanes = rng.randint(1, c.tile_lanes)
    unit = 1 if mode.pixels else 1 << c.fraction_bits
    windows = []
    for _ in range(3):
        constants = [
            {
                "bias": rng.randint(-60, 60) * unit // 4,
                "threshold": 0 if mode.output else rng.choice([1, 2, 7 * unit, 200 * unit + 1]),
            }
            for _ in range(lanes)
        ]
        for number in range(2):
            window = [random_neuron(c, mode, rng, constants[lane]) for lane in range(lanes)]
            for lane, neuron in enumerate(window):
                neuron.lane = lane
                neuron.how = {"group_last": number, "layer_last": rng.randrange(2)}
            window[-1].last = 1
            windows.append(window)
    return windows


def modes(steps: int) -> list[tuple[int, int]]:
    """(tau, T): plain, with a probe, and with unused slots."""
    every = {(0, steps), (steps // 2, steps - steps // 2), (0, 1), (steps - 1, 1), (1, steps - 2)}
    return sorted((tau, t) for tau, t in every if tau >= 0 and t >= 1)


CASES = pytest.mark.parametrize(
    ("steps", "tau", "inference"),
    [(steps, *mode) for steps in (1, 3, 8) for mode in modes(steps)] + [(12, 2, 7), (4, 1, 2)],
)


@CASES
@pytest.mark.parametrize("output", [False, True], ids=["hidden", "output"])
@pytest.mark.parametrize("pixels", [False, True], ids=["spikes", "pixels"])
def test_the_equations(steps, tau, inference, pixels, output):
    c = config(steps)
    mode = Mode(tau, inference, pixels=pixels, output=output)
    rng = random.Random(steps)
    seen, expected = seen_and_expected(c, mode, random_windows(c, mode, rng))
    assert seen == expected


@settings(max_examples=15)
@given(st.integers(0, 1 << 32))
def test_random_engines(seed):
    rng = random.Random(seed)
    steps = rng.randint(1, 10)
    tau = rng.randrange(steps)
    mode = Mode(
        tau,
        rng.randint(1, steps - tau),
        pixels=rng.random() < 0.5,
        output=rng.random() < 0.3,
    )
    c = config(steps, tile_lanes=rng.randint(1, 5), groups=6)
    windows = random_windows(c, mode, rng)
    seen, expected = seen_and_expected(
        c, mode, windows, group=rng.randrange(3), gaps=lambda: rng.choice([0, 0, 1, 4])
    )
    assert seen == expected


def alone(c: EngineConfig, mode: Mode, *neurons: tuple[int, int, list[int]]):
    """Neurons (bias, threshold, sums) on lane 0, each in a separate window and group."""
    return seen_and_expected(
        c,
        mode,
        [[Neuron(b, th, s, last=1, how={"group_last": 1})] for b, th, s in neurons],
    )


def test_a_neuron_is_silenced_below_zero_and_not_at_zero():
    c = config(2)
    # V0 = 8. The probes end at 0, without a spike, and at -16: only the second neuron is silenced.
    seen, _ = alone(c, Mode(1, 1), (-8, 16, [0, 2]), (-8, 16, [-1, 2]))
    assert [train for _, train in seen] == [[0, 1, 0], [0, 0, 1]]


def test_without_a_probe_nothing_is_silenced():
    c = config(3)
    seen, _ = alone(c, Mode(0, 3), (0, 16, [-9, 30, 30]))
    assert [train for _, train in seen] == [[0, 1, 1, 0]]


def test_the_potential_starts_again_with_the_inference():
    c = config(2)
    # 8 + 7 is below 16 in both stages; without the restart of v, the neuron would fire.
    seen, _ = alone(c, Mode(1, 1), (7, 16, [0, 0]))
    assert [train for _, train in seen] == [[0, 0, 0]]


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_ends_of_the_range(steps):
    c = config(steps)
    high = (1 << c.potential_bits - 1) - 1
    calm = [0] * steps
    neurons = [
        # v + I is the largest potential; v + I - TH = 0 is the smallest that fires.
        (high - high // 2, high, [0] * (steps - 1) + [0]),
        # v + I = -1, so that v + I - TH is the smallest number in range.
        (-1 - high // 2, high, calm),
        # With the lowest threshold: the largest and the smallest current.
        (high, 1, calm),
        (-high, 1, calm),
    ]
    seen, expected = alone(c, Mode(0, 1), *neurons)
    assert seen == expected


@pytest.mark.parametrize("bias", [-(1 << 23), (1 << 23) - 1])
def test_a_logit_at_the_ends_of_the_range(bias):
    seen, expected = alone(config(3), Mode(0, 1, output=True), (bias, 0, [0, 0, 0]))
    assert seen == expected


@pytest.mark.parametrize("steps", [1, 3, 5, 8, 9])
@pytest.mark.parametrize("value", [-2048, 2047])
def test_bit_planes_at_the_ends_of_the_accumulators(steps, value):
    c = config(steps)
    neuron = (-255 * value + 3, 5, [value] * PIXEL_PLANES)
    seen, expected = alone(c, Mode(0, steps, pixels=True), neuron)
    assert seen == expected


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 8, 9])
@pytest.mark.parametrize("gap", [0, 2])
def test_bit_planes_of_many_windows(steps, gap):
    c = config(steps, tile_lanes=2)
    mode = Mode(0, steps, pixels=True, output=True)
    rng = random.Random(steps)
    seen, expected = seen_and_expected(c, mode, random_windows(c, mode, rng), gaps=lambda: gap)
    assert seen == expected


@pytest.mark.parametrize("pixels", [False, True], ids=["spikes", "pixels"])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_results_come_after_the_promised_latency(steps, pixels):
    c = config(steps)
    mode = Mode(0, steps, pixels=pixels)
    windows = random_windows(c, mode, random.Random(1))
    cycles = {late for late, _ in results(c, mode, windows)}
    assert cycles == {0}


def test_windows_without_events_pass_through_in_order():
    c = config(3)
    dut = NeuronPipeline(c)
    always = {"mode": Mode(0, 3).signal(c)}
    lane = {"lane": 1, "last": 0, "empty": 0, "how": {}}
    ticket = {"lane": 0, "last": 1, "empty": 1, "how": {"layer_last": 1}}
    cycles = [always | {"slot_valid": 1, "slot": slot} for slot in (lane, ticket, ticket, lane)]
    seen = trace(dut, cycles + [always] * 30, ["result_valid", "result"])
    kinds = [(s["result"]["empty"], s["result"]["last"]) for s in seen if s["result_valid"]]
    assert kinds == [(0, 0), (1, 1), (1, 1), (0, 0)]


def test_a_load_goes_back_to_the_first_group():
    c = config(1)
    mode = Mode(0, 1, output=True)
    always = {"mode": mode.signal(c), "parameter_group": 1}
    slot = {"lane": 0, "last": 1, "empty": 0, "how": {"group_last": 1}}
    writes = [
        {"write_enable": 1, "write_address": g * c.bank_slots, "write_data": {"bias": 10 * g}}
        for g in range(4)
    ]
    layer = [always | {"load": 1}, *[always | {"slot_valid": 1, "slot": slot}] * 2]
    layer += [always] * 20
    seen = trace(NeuronPipeline(c), writes + layer + layer, ["result_valid", "potential"])
    assert [cycle["potential"] for cycle in seen if cycle["result_valid"]] == [10, 20, 10, 20]


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_load_forgets_neurons_on_their_way(after):
    c = config(1)
    always = {"mode": Mode(0, 1).signal(c)}
    slot = {"lane": 0, "last": 1, "empty": 0, "how": {}}
    given = always | {"slot_valid": 1, "slot": slot}
    cycles = [given, *[always] * after, always | {"load": 1}, *[always] * 20]
    seen = trace(NeuronPipeline(c), cycles, ["result_valid"])
    assert [cycle["result_valid"] for cycle in seen] == [0] * len(cycles)
