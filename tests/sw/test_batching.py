"""Which batch a network gets, and what an engine refuses."""

import numpy as np
import pytest

from residuum.hw.isa.presets import PRESETS
from residuum.sw.compiler.batch import SINGLE, Batch, Turn
from residuum.sw.compiler.batching import best_batch, estimate
from residuum.sw.compiler.fit import needs
from residuum.sw.compiler.layout import lay_out
from residuum.sw.compiler.program import compile_network
from residuum.sw.errors import ResiduumError
from residuum.sw.network.library import load_network
from residuum.sw.train.untrained import untrained_network

CONFIG = PRESETS["85f-sdram"]


@pytest.fixture(scope="module")
def deep():
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 32), np.uint8)
    return untrained_network("resnet18", images)


def test_the_order_of_turns():
    assert Batch(2, 1).turns(3) == (
        Turn(0, range(1)),
        Turn(0, range(1, 2)),
        Turn(1, range(2)),
        Turn(2, range(2)),
    )
    assert Batch(3, 2).runs(4) == (range(2), range(2, 4), range(4, 8))
    assert SINGLE.turns(2) == (Turn(0, range(1)), Turn(1, range(1)))
    assert SINGLE.runs(2) == (range(2),)


def test_maps_of_a_batch_never_share_rows_in_use(deep):
    """Every map that is read later keeps its rows, image by image."""
    batch = Batch(3, 11)
    program = compile_network(deep, CONFIG, tau=0, T=1, batch=batch)
    holds: dict[int, tuple[int, int, int]] = {}  # row: map, image, line of it

    def rows(number, image):
        plan, start = program.maps[number], program.starts[number][image]
        return [(start + n, (number, image, n)) for n in range(plan.rows * plan.passes)]

    for run in program.runs:
        image = program.runs.index(run)
        holds |= dict(rows(-1, image))
        for index in run:
            plan = program.layers[index]
            for source in plan.layer.sources:
                for image in plan.turn.images:
                    for row, content in rows(source.map, image):
                        assert holds[row] == content
            if plan.output is not None:
                for image in plan.turn.images:
                    holds |= dict(rows(plan.turn.layer, image))
    assert max(holds) < CONFIG.feature_rows


def test_the_best_batch_is_the_one_with_the_fewest_cycles(deep):
    best = best_batch(deep, CONFIG, steps=1)
    assert best.images == 3
    least = estimate(deep, CONFIG, best)
    assert least < estimate(deep, CONFIG, SINGLE)
    others = [Batch(3, joint) for joint in range(1, len(deep.layers))]
    fitting = [b for b in others if all(n.fits for n in needs(deep, CONFIG, 1, batch=b))]
    assert best in fitting
    assert least == min(estimate(deep, CONFIG, batch) for batch in fitting)


def test_one_image_at_a_time_is_no_batch(deep):
    assert best_batch(deep, CONFIG, steps=1, images=1) == SINGLE


def test_weights_on_the_chip_gain_nothing(deep):
    digits = load_network("digits")
    config = PRESETS["12f"]
    one, four = (estimate(digits, config, batch) for batch in (SINGLE, Batch(4, 1)))
    assert four == pytest.approx(one, rel=0.1)


def test_too_many_images_are_refused(deep):
    with pytest.raises(ResiduumError, match="does not run for 9 images at a time on this engine"):
        best_batch(deep, CONFIG, steps=1, images=9)
    with pytest.raises(ResiduumError, match="the maps in use need .* rows of feature memory"):
        compile_network(deep, CONFIG, tau=0, T=1, batch=Batch(4, 11))
    with pytest.raises(ResiduumError, match="the first one must be 1 to 17"):
        compile_network(deep, CONFIG, tau=0, T=1, batch=Batch(2, 0))
    with pytest.raises(ResiduumError, match="which take 83 descriptors for 6 images; .* holds 64"):
        compile_network(deep, CONFIG, tau=0, T=1, batch=Batch(6, 13))


def test_layers_of_a_batch_share_weights_and_parameters(deep):
    single, batch = (lay_out(deep, CONFIG, b) for b in (SINGLE, Batch(3, 11)))
    assert single.weight_rows == batch.weight_rows
    assert single.parameter_rows == batch.parameter_rows
    assert batch.logit_rows == 3 * single.logit_rows
