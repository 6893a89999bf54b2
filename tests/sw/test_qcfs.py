"""QCFS: values, gradient, and equality with the spiking neuron."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from residuum.sw.train.qcfs import QCFS, qcfs


@pytest.mark.parametrize(
    ("z", "expected"),
    [(-5.0, 0.0), (0.0, 0.0), (0.24, 0.0), (0.25, 0.5), (0.74, 0.5), (0.75, 1.0), (1.74, 1.5),
     (1.75, 2.0), (2.0, 2.0), (9.0, 2.0)],
)  # fmt: skip
def test_hand_computed_levels(z: float, expected: float) -> None:
    """lambda 2, L 4: steps of 1/2, each level centred on its value."""
    assert qcfs(torch.tensor(z), 2.0, 4).item() == expected


@given(
    z=st.floats(-4, 4, allow_nan=False),
    threshold=st.integers(1, 16).map(lambda n: n / 4),
    levels=st.integers(1, 16),
)
def test_formula_in_plain_python(z: float, threshold: float, levels: int) -> None:
    x = torch.tensor(z, dtype=torch.float64)
    # The formula in the paper: clip after floor.
    expected = threshold * min(max(math.floor(z * levels / threshold + 0.5) / levels, 0.0), 1.0)
    distance_to_step = abs(z * levels / threshold + 0.5 - round(z * levels / threshold + 0.5))
    if distance_to_step > 1e-9:
        assert qcfs(x, threshold, levels).item() == pytest.approx(expected, abs=1e-12)


def test_gradient_passes_inside_and_stops_outside() -> None:
    z = torch.tensor([-1.0, 0.3, 1.1, 5.0], requires_grad=True)
    qcfs(z, 2.0, 4).sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_threshold_gradient() -> None:
    """1 where the activation is clipped at lambda; rounding error / lambda inside."""
    activation = QCFS(levels=4, initial_threshold=2.0)
    activation(torch.tensor([-1.0, 5.0, 0.6])).sum().backward()
    assert activation.threshold.grad is not None
    assert activation.threshold.grad.item() == pytest.approx(1.0 + (0.5 - 0.6) / 2.0)


def test_share_is_remembered() -> None:
    activation = QCFS(levels=4, initial_threshold=2.0)
    activation(torch.tensor([5.0, 1.0]))
    assert activation.share is not None
    assert activation.share.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels must be at least 1, not 0"),
        ({"levels": 4, "initial_threshold": 0.0}, "initial_threshold must be positive, not 0.0"),
    ],
)
def test_wrong_parameters(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QCFS(**arguments)
