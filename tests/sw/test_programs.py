"""Programs on a model of the engine that reads them word by word, against the golden model."""

import ast
import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from residuum.hw.isa.config import EngineConfig
from residuum.sim.verilator.engine import Case
from residuum.sw.compiler import maps
from residuum.sw.compiler.layout import lay_out, lay_out_wide
from residuum.sw.compiler.maps import MapPlan, PackedMap
from residuum.sw.compiler.program import Program, compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.network.graph import HALF, INPUT, ZERO, MaxPool, Source
from residuum.sw.network.integer_network import RADIX, RATE, IntegerNetwork, Layer
from tests.sim.random_graphs import coverage, random_graph_cases
from tests.sw.layers import layer
from tests.sw.networks import CORNERS, identity, random_trains
from tests.sw.program_model import ProgramModel

WIDE = {"accumulator_bits": 20, "potential_bits": 32, "layers": 64, "weight_rows": 8192}
CONFIGS = {
    "2 tiles of 8": EngineConfig(feature_rows=2048, table_entries=1024, **WIDE),
    "1 lane": EngineConfig(
        lanes=1, tile_lanes=1, feature_rows=4096, table_entries=2048, parameter_rows=2048, **WIDE
    ),
    "3 lanes": EngineConfig(lanes=3, tile_lanes=3, table_entries=1024, **WIDE),
    "15 lanes, 5 steps, no shift": EngineConfig(
        lanes=15, tile_lanes=15, steps=5, shift_bits=0, **WIDE
    ),
    "2 tiles of 16, 4 steps": EngineConfig(
        lanes=32, tile_lanes=16, steps=4, fraction_bits=3, feature_rows=256, **WIDE
    ),
    "2 tiles of 4, 9 steps": EngineConfig(lanes=8, tile_lanes=4, steps=9, **WIDE),
}


def compiled(case: Case, config: EngineConfig) -> Program:
    return compile_network(case.network, config, tau=case.tau, T=case.T, correction=case.correction)


def squeezed(case: Case, config: EngineConfig) -> EngineConfig:
    """The engine with as few feature rows as its maps take, packed."""
    least = lay_out(case.network, config.with_changes(feature_rows=2)).placement.rows
    return config.with_changes(feature_rows=max(2, least))


def fault(case: Case, program: Program) -> str:
    """The first map that differs from the golden model's; '' if none."""
    steps = {"tau": case.tau, "T": case.T}
    golden = simulate(case.network, case.images, **steps, correction=case.correction)
    writes = zip(program.addresses.tolist(), program.words.tolist(), strict=True)
    model = ProgramModel(program.config, dict(writes))

    def read(addresses: np.ndarray) -> np.ndarray:
        return np.array([model.read(address) for address in addresses.tolist()], np.uint32)

    for number, values in enumerate(case.images):
        model.write_trains(*program.input_writes(values))
        for index in range(len(program.layers)):
            model.run(index, **steps, correction=case.correction)
            if index == len(program.layers) - 1:
                break
            trains, occupancy = program.train_reads(index)
            found, silenced = program.decode_trains(
                index, read(trains), read(occupancy), case.tau + case.T
            )
            expected = golden.layers[index]
            if not np.array_equal(found, expected.trains[number]):
                return f"map {index}"
            if case.network.code == RATE:
                masked = np.array_equal(silenced, expected.silenced[number])
            else:
                masked = not silenced.any()
            if not masked:
                return f"mask of map {index}"
        if program.decode_logits(read(program.logit_reads())).tolist() != (
            golden.logits[number].tolist()
        ):
            return "logits"
    return ""


def placements(program: Program) -> Iterator[str]:
    """What the compiler did with the maps of a program."""
    for plan in program.layers:
        if isinstance(plan.output, PackedMap):
            yield "packed"
        if len(plan.inputs) == 2 and isinstance(plan.output, MapPlan):
            if plan.output.row == plan.inputs[1].row:
                yield "overwritten"
            if isinstance(plan.inputs[1], PackedMap):
                yield "packed second source"
        rows = {(part.row, part.tail) for part in plan.group_entries}
        if plan.groups > 1 and plan.inputs[0].groups > 1 and len(rows) > 1:
            yield "skipped rows"


def found_in(cases: list[Case], config: EngineConfig) -> tuple[list[str], Counter[str]]:
    """Faults, and how often programs have each of `placements`."""
    faults: list[str] = []
    seen: Counter[str] = Counter()
    for number, case in enumerate(cases):
        for engine in (config, squeezed(case, config)):
            program = compiled(case, engine)
            seen.update(set(placements(program)))
            if wrong := fault(case, program):
                faults.append(f"case {number}: {wrong}")
    return faults, seen


@pytest.mark.parametrize("name", CONFIGS)
def test_random_graphs(name):
    cases = random_graph_cases(1, CONFIGS[name], 4, images=1)
    assert found_in(cases, CONFIGS[name])[0] == []


WIDE_WAYS = (
    "wide windows", "wide windows, two sources", "wide windows, second stride",
    "wide windows in a part of a row", "wide windows of a packed map",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ways"), [("2 tiles of 8", WIDE_WAYS), ("2 tiles of 16, 4 steps", WIDE_WAYS[:1])]
)
def test_wide_windows(name, ways):
    config = CONFIGS[name]
    cases = random_graph_cases(3, config, 30, images=1, narrow=True)
    assert [fault(case, compiled(case, config)) for case in cases] == [""] * len(cases)
    found = coverage(cases, config)
    assert [way for way in ways if not found[way]] == []


@pytest.mark.long
@pytest.mark.parametrize("name", CONFIGS)
def test_many_random_graphs(name):
    faults, seen = found_in(random_graph_cases(2, CONFIGS[name], 30, images=2), CONFIGS[name])
    assert faults == []
    assert seen["overwritten"] > 3
    assert CONFIGS[name].lanes == 1 or seen["packed"] > 3


@pytest.mark.long
def test_the_cases_have_every_corner():
    found: Counter[str] = Counter()
    for config in CONFIGS.values():
        found += coverage(random_graph_cases(2, config, 25, images=1), config)
    ways = {"two_sources", "second_shift", "skip_empty", "fraction", "passes", "shared weight rows"}
    assert not [name for name in {*CORNERS} | ways if not found[name]]


def residual(
    old: int = 4, new: int = 4, *, first: int = 0, branch: int = 1,
    max_pool: MaxPool | None = None, again: bool = False, pool: int = 1,
) -> Case:  # fmt: skip
    """Map 2 is a convolution of map ``branch``, plus map 0, channel 0 at channel ``first``.
    ``again``: map 0 is read later. ``pool``: of the reader of map 2. Lines of 5 positions have no
    wide windows."""
    rng = np.random.default_rng(0)

    def conv(number: int, out: int, channels: int, size: int, **options: object) -> Source:
        return Source(rng.integers(-8, 9, (out, channels, size, size)), number, **options)  # type: ignore[arg-type]

    sources = [
        (conv(INPUT, old, 1, 1),),
        (conv(0, old, old, 3, padding=(1,) * 4),),
        (
            conv(branch, new, old, 3, padding=(1,) * 4),
            Source(np.roll(identity(new, old, 7), first, axis=0), 0),
        ),
        (conv(2, new, new, 1, pool=(pool, pool)),),
    ]
    if again or branch == 0:
        sources[3] = (*sources[3], conv(0 if again else 1, new, old, 1))
    layers = [
        Layer(
            f"layer{index}", read, rng.integers(-9, 10, read[0].out_channels),
            rng.integers(20, 60, read[0].out_channels) << (3 if index == 0 else 0), 0, bits=2,
            max_pool=max_pool if index == 2 else None,
        )
        for index, read in enumerate(sources)
    ]  # fmt: skip
    side = 5 // pool
    layers.append(Layer("output", (conv(3, 3, new, side),), np.zeros(3, int), None, 0))
    network = IntegerNetwork("residual", (1, 5, 5), tuple(layers), 8, RADIX)
    return Case(network, rng.integers(0, 256, (2, 1, 5, 5), dtype=np.uint8), 0, 1)


# Networks whose sum must not be written over its identity, by the condition that forbids it.
UNSAFE = {
    "old, MapPlan": residual(pool=2),
    "max_pool": residual(max_pool=MaxPool((2, 2), (1, 1), (1, 0, 1, 0))),
    "first.map": residual(branch=0),
    "last_readers": residual(again=True),
    "groups": residual(new=20),
    "_reads_own_group": residual(18, 18, first=1),
}


def test_a_sum_is_written_over_its_identity():
    seen = found_in([residual(), residual(18, 18)], CONFIGS["2 tiles of 8"])
    assert seen[0] == []
    assert seen[1]["overwritten"] >= 2


@pytest.mark.parametrize("condition", UNSAFE)
def test_every_condition_of_writing_over_a_map_is_needed(condition, monkeypatch):
    case, config = UNSAFE[condition], CONFIGS["2 tiles of 8"]
    assert found_in([case], config)[0] == []
    tree = ast.parse(inspect.getsource(maps._writes_over))
    chains = [node for node in ast.walk(tree) if isinstance(node, ast.BoolOp)]
    chain = next(node for node in chains if isinstance(node.op, ast.And))
    (wanted,) = [value for value in chain.values if condition in ast.unparse(value)]
    chain.values.remove(wanted)
    faulty: dict[str, object] = dict(vars(maps))
    exec(compile(tree, "faulty", "exec"), faulty)
    monkeypatch.setattr(maps, "_writes_over", faulty["_writes_over"])
    forget_layouts()
    try:
        wrong = found_in([case], config)[0] != []
    except IndexError:  # a row beyond the memory
        wrong = True
    forget_layouts()
    assert wrong


def forget_layouts() -> None:
    for layout in (lay_out, lay_out_wide):
        layout.cache_clear()


@pytest.mark.parametrize("depth", [1, 17, 21, 64])
def test_deep_chains(depth):
    rng = np.random.default_rng(depth)
    layers = []
    for index in range(depth):
        last = index == depth - 1
        weight = rng.integers(-8, 9, (3, 3, 1, 1))
        layers.append(
            layer(
                index,
                f"layer{index}",
                weight,
                rng.integers(-9, 10, 3),
                None if last else rng.integers(1, 200 if index == 0 else 20, 3),
            )
        )
    network = IntegerNetwork("deep", (3, 1, 1), tuple(layers), 8)
    images = rng.integers(0, 256, (2, 3, 1, 1), dtype=np.uint8)
    case = Case(network, images, 3, 4, correction="carry")
    assert fault(case, compiled(case, CONFIGS["2 tiles of 8"])) == ""


def scaled_case(seed: int, start: str, *, strict: bool, fraction: int, odd: bool) -> Case:
    """One hidden layer of spikes with few fraction bits and small thresholds."""
    rng = np.random.default_rng(seed)
    first = layer(0, "a", rng.integers(-3, 4, (5, 3, 1, 1)), rng.integers(-3, 4, 5), None, fraction)
    threshold = 2 * rng.integers(1, 5, 5) + int(odd)
    first = replace(first, threshold=threshold, start=start, strict=strict)
    second = layer(1, "b", np.ones((2, 5, 2, 2), int), np.ones(2, int), None, fraction)
    network = IntegerNetwork("scaled", (3, 2, 2), (first, second), 8, input="spikes")
    correction = "carry" if strict else str(rng.choice(["mask", "carry"]))
    return Case(network, random_trains(seed, network, 3, 8), 3, 5, correction=correction)


@pytest.mark.parametrize("start", [HALF, ZERO])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("fraction", [0, 1, 3])
def test_smaller_fractions_are_exact(start, strict, odd, fraction):
    """Thresholds of a few units, where any other rounding gives other spikes."""
    config = CONFIGS["2 tiles of 8"]
    for seed in range(2):
        case = scaled_case(seed, start, strict=strict, fraction=fraction, odd=odd)
        if strict and odd and start == HALF:
            with pytest.raises(ResiduumError, match="fires strictly above an odd threshold"):
                compiled(case, config)
            continue
        assert fault(case, compiled(case, config)) == ""


def test_spike_trains_enter_the_last_slots():
    case = scaled_case(0, HALF, strict=False, fraction=0, odd=False)
    program = compiled(case, CONFIGS["2 tiles of 4, 9 steps"])
    one = np.zeros((2, 3, 2, 2), np.uint8)
    one[0] = 1
    words = program.input_writes(one)[1]
    assert set(words.tolist()) == {0, 1 << 7}
    assert program.maps[INPUT].rows_taken * 8 == len(words)
    with pytest.raises(ResiduumError, match="spike trains of 10 steps do not fit this engine"):
        program.input_writes(np.zeros((10, 3, 2, 2), np.uint8))
