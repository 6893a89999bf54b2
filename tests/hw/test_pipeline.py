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
HOW = ("shared", "later", "more", "line_last", "group_last", "layer_last")


def config(steps: int, *, tile_lanes: int = 3, **sizes: int) -> EngineConfig:
    defaults = {"accumulator_bits": 12, "potential_bits": 24, "parameter_rows": 20}
    return EngineConfig(
        lanes=tile_lanes,
        tile_lanes=tile_lanes,
        steps=steps,
        **defaults | {"weight_bits": 6} | sizes,
    )


@dataclass(frozen=True)
class Mode:
    """The neurons of a layer: tau + T steps in rate code, or with ``bits`` K bits in radix code."""

    tau: int = 0
    inference: int = 1
    bits: int = 0
    numbers: bool = False
    fraction: bool = False
    start_zero: bool = False
    strict: bool = False
    carry: bool = False
    output: bool = False

    def signal(self, c: EngineConfig) -> dict[str, int]:
        """Masks of the steps: the last tau + T slots, and the last T; or the last K."""
        active = self.bits or self.tau + self.inference
        inference = self.bits or self.inference
        slots = range(c.steps)
        names = ("numbers", "fraction", "start_zero", "strict", "carry", "output")
        return {
            "active": sum(1 << t for t in slots if t >= c.steps - active),
            "inference": sum(1 << t for t in slots if t >= c.steps - inference),
            "radix": int(self.bits > 0),
            **{name: int(getattr(self, name)) for name in names},
        }


def radix(bits: int, **flags: bool) -> Mode:
    return Mode(bits=bits, numbers=True, start_zero=True, **flags)


@dataclass
class Neuron:
    """One lane of a window: sums from the array, and the channel's constants."""

    bias: int
    threshold: int
    sums: list[int]  # per step, or per bit-plane of numbers, lowest first
    lane: int = 0
    last: int = 0
    how: dict[str, int] = field(default_factory=dict)

    def parameters(self, mode: Mode) -> dict[str, int]:
        """Both constants, as the engine stores them."""
        if not mode.bits or mode.output:
            return {"bias": self.bias - mode.strict, "threshold": self.threshold}
        half = self.threshold // 2
        return {"bias": self.bias + half, "threshold": self.threshold * 2 ** (mode.bits - 1)}


@dataclass
class Life:
    train: list[int]  # of all slots
    silenced: int
    potential: int
    extremes: tuple[int, int]  # smallest and largest value anywhere


def current(c: EngineConfig, mode: Mode, neuron: Neuron) -> int:
    """The current of numbers, the same in every step."""
    worth = 2**c.fraction_bits if mode.fraction else 1
    return sum(v * 2**plane for plane, v in enumerate(neuron.sums)) * worth + neuron.bias


def divide(c: EngineConfig, mode: Mode, neuron: Neuron) -> Life:
    """A neuron in radix code: the quotient of its current."""
    potential = current(c, mode, neuron)
    if mode.output:
        return Life([0] * c.steps, 0, potential, (potential, potential))
    top, largest = neuron.threshold * 2 ** (mode.bits - 1), 2**mode.bits - 1
    start = potential + neuron.threshold // 2
    quotient = min(max(start // neuron.threshold, 0), largest)
    train = [quotient >> bit & 1 for bit in range(c.steps)]
    return Life(train, 0, potential, (min(start, start - top), max(start, top)))


def live(c: EngineConfig, mode: Mode, neuron: Neuron) -> Life:
    """Simulates an integrate-and-fire neuron, step by step."""
    if mode.bits:
        return divide(c, mode, neuron)
    if mode.numbers:
        currents = [current(c, mode, neuron)] * c.steps
    else:
        currents = [value * 2**c.fraction_bits + neuron.bias for value in neuron.sums]
    unused = c.steps - mode.tau - mode.inference
    spikes: list[int] = []
    seen = [neuron.threshold]
    silenced = 0
    start = 0 if mode.start_zero else neuron.threshold // 2
    v = start
    for step, value in enumerate(currents[unused:]):
        if step == mode.tau and mode.tau and not mode.carry:
            silenced = int(v < 0)
            v = start
        v += value
        seen += [value - mode.strict, v, v - neuron.threshold]
        fires = v > neuron.threshold if mode.strict else v >= neuron.threshold
        if fires and not mode.output:
            v -= neuron.threshold
            spikes.append(int(step < mode.tau or not silenced))
        else:
            spikes.append(0)
    return Life([0] * unused + spikes, silenced, v, (min(seen), max(seen)))


def fits(c: EngineConfig, life: Life) -> bool:
    half = 1 << c.potential_bits - 1
    return -half <= life.extremes[0] and life.extremes[1] < half


def slots_of(c: EngineConfig, mode: Mode, neurons: list[Neuron]) -> list[tuple[dict, list[int]]]:
    """Slots and sums of a window."""
    slots: list[tuple[dict, list[int]]] = []
    for neuron in neurons:
        how = {name: neuron.how.get(name, 0) for name in HOW}
        sums = neuron.sums + [0] * (c.steps - len(neuron.sums))
        if mode.numbers and c.steps > PIXEL_PLANES:
            # Slots beyond the bits of a number are ignored.
            sums = sums[:PIXEL_PLANES] + [77] * (c.steps - PIXEL_PLANES)
        slots.append(({"lane": neuron.lane, "last": neuron.last, "empty": 0, "how": how}, sums))
    return slots


def results(
    c: EngineConfig, mode: Mode, windows: list[list[Neuron]], *, row: int = 0, gaps=lambda: 0
) -> list[tuple[int, dict]]:
    """(cycles later than promised, result) of every neuron. The last lane of a window may end its
    group of channels; each group has its own constants, from `row` on."""
    dut = NeuronPipeline(c)
    constants: dict[int, dict] = {}
    slots: list[tuple[dict, list[int]]] = []
    always = {"mode": mode.signal(c), "parameter_row": row, "last_lane": len(windows[0]) - 1}
    for window in windows:
        constants |= {row + neuron.lane: neuron.parameters(mode) for neuron in window}
        slots += slots_of(c, mode, window)
        row += len(window) * window[-1].how.get("group_last", 0)

    cycles: list[dict] = [
        {"write_enable": 1, "write_address": address, "write_data": data}
        for address, data in constants.items()
    ]
    cycles += [always | {"load": 1}, always]
    given_at = []
    sums_at: dict[int, list[int]] = {}
    for slot, slot_sums in slots:
        cycles += [dict(always) for _ in range(gaps())]
        given_at.append(len(cycles))
        sums_at[len(cycles) + c.sums_latency] = slot_sums
        cycles.append(always | {"slot_valid": 1, "slot": slot})
    cycles += [dict(always) for _ in range(dut.latency_numbers + 6)]
    for now, sums in sums_at.items():
        cycles[now]["sums"] = sums

    promised = dut.latency_numbers if mode.numbers else dut.latency
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
        train = [result["train"] >> t & 1 for t in range(c.steps + 1)]
        slot = result["result"]
        place = (neuron.lane, neuron.last, {name: neuron.how.get(name, 0) for name in HOW})
        seen_place = (slot["lane"], slot["last"], {name: slot["how"][name] for name in HOW})
        if mode.output:
            seen.append((seen_place, train[:-1], result["potential"]))
            expected.append((place, life.train, life.potential))
        else:
            seen.append((seen_place, train))
            expected.append((place, [*life.train, life.silenced]))
    return seen, expected


def random_neuron(
    c: EngineConfig, mode: Mode, rng: random.Random, constants: dict, planes: int
) -> Neuron:
    """A neuron in range, whose sums make it fire often, rarely or never."""
    size = rng.choice([3, 40, 500])
    sums = [rng.randint(-size, size) for _ in range(planes if mode.numbers else c.steps)]
    neuron = Neuron(**constants, sums=sums)
    if not fits(c, live(c, mode, neuron)):
        return random_neuron(c, mode, rng, constants, planes)
    return neuron


def random_windows(c: EngineConfig, mode: Mode, rng: random.Random) -> list[list[Neuron]]:
    planes = min(c.steps, PIXEL_PLANES)
    lanes = rng.randint(1, c.tile_lanes)
    unit = 1 if mode.numbers and not mode.fraction else 1 << c.fraction_bits
    thresholds = [1, 2, 7 * unit, 200 * unit + 1]
    if mode.bits:
        # The largest currents are some 2**K times the threshold, for quotients of all sizes.
        step = 300 * unit << planes >> mode.bits
        thresholds = [1, max(1, step // 40), step // 5 + 1, step + 1]
    windows = []
    for _ in range(3):
        constants = [
            {
                "bias": rng.randint(-60, 60) * unit // 4,
                "threshold": 0 if mode.output else rng.choice(thresholds),
            }
            for _ in range(lanes)
        ]
        for number in range(2):
            window = [random_neuron(c, mode, rng, constants[lane], planes) for lane in range(lanes)]
            for lane, neuron in enumerate(window):
                neuron.lane = lane
                neuron.how = {name: rng.randrange(2) for name in HOW} | {"group_last": number}
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
KINDS = {
    "plain": {},
    "from zero": {"start_zero": True},
    # Strict neurons are never masked.
    "strict": {"strict": True, "carry": True},
    "strict from zero": {"strict": True, "start_zero": True, "carry": True},
    "carry": {"carry": True},
}


@CASES
@pytest.mark.parametrize("output", [False, True], ids=["hidden", "output"])
@pytest.mark.parametrize("numbers", [False, True], ids=["spikes", "pixels"])
def test_the_equations(steps, tau, inference, numbers, output):
    c = config(steps)
    mode = Mode(tau, inference, numbers=numbers, output=output)
    seen, expected = seen_and_expected(c, mode, random_windows(c, mode, random.Random(steps)))
    assert seen == expected


@pytest.mark.parametrize(
    ("steps", "tau", "inference"), [(1, 0, 1), (3, 1, 2), (5, 2, 2), (8, 0, 8)]
)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_kinds_of_neurons(steps, tau, inference, kind):
    """Small numbers, where a potential that is wrong by one soon shows."""
    c = config(steps, fraction_bits=0)
    rng = random.Random(steps)
    groups = [[(rng.randint(-1, 1), rng.randint(1, 4)) for _ in range(3)] for _ in range(6)]
    windows = [
        [
            Neuron(*constants, [rng.randint(-2, 4) for _ in range(steps)], lane, int(lane == 2))
            for lane, constants in enumerate(group)
        ]
        for group in groups
        for _ in range(8)
    ]
    for window in windows[7::8]:
        window[-1].how = {"group_last": 1}
    seen, expected = seen_and_expected(c, Mode(tau, inference, **kind), windows)
    assert seen == expected


@pytest.mark.parametrize(
    ("steps", "bits"), [(s, k) for s in (1, 2, 3, 8) for k in range(1, s + 1)] + [(9, 1), (9, 8)]
)
def test_the_division(steps, bits):
    c = config(steps, potential_bits=30)
    mode = radix(bits, fraction=bits % 2 > 0)
    windows = random_windows(c, mode, random.Random(steps + bits))
    seen, expected = seen_and_expected(c, mode, windows)
    assert seen == expected


@pytest.mark.parametrize(("steps", "fraction"), [(1, True), (3, False), (8, True)])
def test_logits_in_radix_code_are_currents(steps, fraction):
    c = config(steps, potential_bits=30)
    mode = radix(1, fraction=fraction, output=True)
    seen, expected = seen_and_expected(c, mode, random_windows(c, mode, random.Random(steps)))
    assert seen == expected


@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_every_quotient_of_a_small_division(threshold):
    bits = 3
    c = config(4, tile_lanes=1, parameter_rows=1)
    currents = range(-2 * threshold, 10 * threshold)
    neurons = [Neuron(0, threshold, [value, 0, 0, 0], last=1) for value in currents]
    found = results(c, radix(bits), [[neuron] for neuron in neurons])
    quotients = [(value + threshold // 2) // threshold for value in currents]
    assert [r["train"] for _, r in found] == [min(max(q, 0), 7) for q in quotients]


@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_random_engines(seed):
    rng = random.Random(seed)
    steps = rng.randint(1, 10)
    tau = rng.randrange(steps)
    fraction = rng.random() < 0.5
    if rng.random() < 0.5:
        kind = rng.choice([*KINDS.values(), {"output": True}])
        inference = rng.randint(1, steps - tau)
        mode = Mode(tau, inference, numbers=rng.random() < 0.5, fraction=fraction, **kind)
    else:
        output = rng.random() < 0.3
        bits = 1 if output else rng.randint(1, min(steps, PIXEL_PLANES))
        mode = radix(bits, fraction=fraction, output=output)
    sizes = {"fraction_bits": rng.choice([0, 4]), "potential_bits": 30}
    c = config(steps, tile_lanes=rng.randint(1, 5), **sizes)
    windows = random_windows(c, mode, rng)
    seen, expected = seen_and_expected(
        c, mode, windows, row=rng.randrange(3), gaps=lambda: rng.choice([0, 0, 1, 4])
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
    # 8 + 7 is below 16 in both stages; without the restart of v, the neuron fires.
    seen, _ = alone(c, Mode(1, 1), (7, 16, [0, 0]))
    carried, _ = alone(c, Mode(1, 1, carry=True), (7, 16, [0, 0]))
    assert [train for _, train in seen + carried] == [[0, 0, 0], [0, 1, 0]]


def test_a_strict_neuron_does_not_fire_at_its_threshold():
    c = config(3)
    # From 8 on, v + I is 16, 24, 16 for the first neuron and 17, 10, 19 for the second one.
    neurons = [(8, 16, [0] * 3), (9, 16, [0] * 3)]
    seen, _ = alone(c, Mode(0, 3, strict=True), *neurons)
    assert [train for _, train in seen] == [[0, 1, 0, 0], [1, 0, 1, 0]]


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
    planes = min(steps, PIXEL_PLANES)
    neuron = (3 - ((1 << planes) - 1) * value, 5, [value] * planes)
    seen, expected = alone(c, Mode(0, steps, numbers=True), neuron)
    assert seen == expected


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 7, 8, 9])
@pytest.mark.parametrize("gap", [0, 2])
def test_bit_planes_of_many_windows(steps, gap):
    c = config(steps, tile_lanes=2)
    mode = Mode(0, steps, numbers=True, output=True)
    rng = random.Random(steps)
    seen, expected = seen_and_expected(c, mode, random_windows(c, mode, rng), gaps=lambda: gap)
    assert seen == expected


@pytest.mark.parametrize("numbers", [False, True], ids=["spikes", "numbers"])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_results_come_after_the_promised_latency(steps, numbers):
    c = config(steps)
    mode = Mode(0, steps, numbers=numbers)
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
    always = {"mode": Mode(output=True).signal(c), "parameter_row": 1, "last_lane": 1}
    slot = {"lane": 0, "last": 1, "empty": 0, "how": {"group_last": 1}}
    writes = [
        {"write_enable": 1, "write_address": row, "write_data": {"bias": 10 * row}}
        for row in range(5)
    ]
    layer = [always | {"load": 1}, *[always | {"slot_valid": 1, "slot": slot}] * 2]
    layer += [always] * 20
    seen = trace(NeuronPipeline(c), writes + layer + layer, ["result_valid", "potential"])
    assert [cycle["potential"] for cycle in seen if cycle["result_valid"]] == [10, 30, 10, 30]


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_load_forgets_neurons_on_their_way(after):
    c = config(1)
    always = {"mode": Mode().signal(c)}
    slot = {"lane": 0, "last": 1, "empty": 0, "how": {}}
    given = always | {"slot_valid": 1, "slot": slot}
    cycles = [given, *[always] * after, always | {"load": 1}, *[always] * 20]
    seen = trace(NeuronPipeline(c), cycles, ["result_valid"])
    assert [cycle["result_valid"] for cycle in seen] == [0] * len(cycles)
