"""Every row of the tables: what is supported is taken, what is refused ends in one sentence."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend import supported
from residuum.sw.frontend.aten import HANDLERS
from residuum.sw.frontend.models import module_to_network
from residuum.sw.frontend.supported import PATTERNS, REFUSALS, SUPPORTED
from tests.sw.frontend.modules import InvertedResidual, with_statistics

SHAPE = (3, 8, 8)


class Model(nn.Module):
    """A convolution "stem" with ReLU, the tested function, and a head; modules by name."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def conv(inputs: int = 4, outputs: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, **{"padding": 1, **options})


def head(channels: int = 4) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


def behind(module: nn.Module, channels: int = 4) -> Model:
    """The module "part" behind the stem."""
    return Model(lambda m, x: m.head(m.part(m.stem(x))), part=module, head=head(channels))


def function(step: Callable[[Tensor], Tensor], channels: int = 4) -> Model:
    return Model(lambda m, x: m.head(step(m.stem(x))), head=head(channels))


class Gate(nn.Module):
    """Squeeze-and-excitation with ReLU as its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), conv())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Rows(nn.Module):
    """The rows of a map as a sequence, for a module of sequences."""

    def __init__(self, core: nn.Module) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: Tensor) -> Tensor:
        out = self.core(x.flatten(2).transpose(1, 2))
        return (out[0] if isinstance(out, tuple) else out)[:, -1]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.core = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(x, x, x, need_weights=False)[0]


def three(m: Any, x: Tensor) -> Tensor:
    maps = [F.relu(each(x)) for each in (m.a, m.b, m.c)]
    return m.head(F.relu(m.last(torch.cat(maps, 1))))


NORM = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4))
# Key of each row, a module that has it, and the place and operator that the sentence must name.
CASES: list[tuple[str, nn.Module, str]] = [
    *(
        (supported.ACTIVATION, behind(layer), f"'part' ({type(layer).__name__})")
        for layer in (nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.Tanh(), nn.ELU(), nn.Sigmoid())
    ),
    (supported.ACTIVATION, behind(nn.Softmax(1)), "'part' (Softmax)"),
    (supported.LEAKY, behind(nn.LeakyReLU()), "'part' (LeakyReLU)"),
    (supported.LEAKY, behind(nn.PReLU()), "'part' (PReLU)"),
    (supported.NORMALISATION, behind(nn.LayerNorm([4, 8, 8])), "'part' (LayerNorm)"),
    (supported.NORMALISATION, behind(nn.GroupNorm(2, 4)), "'part' (GroupNorm)"),
    (supported.NORMALISATION, behind(nn.InstanceNorm2d(4)), "'part' (InstanceNorm2d)"),
    (supported.NORMALISATION, behind(nn.LocalResponseNorm(2)), "'part' (LocalResponseNorm)"),
    (supported.PRODUCT, behind(Gate()), "'part/mul' (mul)"),
    (supported.PRODUCT, function(lambda x: x / (1 + x)), "'div' (div)"),
    (
        supported.ATTENTION,
        Model(lambda m, x: m.part(m.stem(x)), part=Rows(Attention())),
        "'part.core.core' (MultiheadAttention)",
    ),
    (supported.ATTENTION, function(lambda x: x @ x), "'matmul' (matmul)"),
    (
        supported.RECURRENCE,
        Model(lambda m, x: m.part(m.stem(x)), part=Rows(nn.LSTM(4, 5, batch_first=True))),
        "'part.core' (LSTM)",
    ),
    (
        supported.RECURRENCE,
        Model(lambda m, x: m.part(m.stem(x)), part=Rows(nn.GRU(4, 5, batch_first=True))),
        "'part.core' (GRU)",
    ),
    (
        supported.DIMENSIONS,
        Model(lambda m, x: m.part(x.flatten(2)).mean(2), part=nn.Conv1d(3, 5, 3)),
        "'part' (Conv1d)",
    ),
    (
        supported.DIMENSIONS,
        Model(lambda m, x: m.part(x.unsqueeze(2)).mean((2, 3, 4)), part=nn.Conv3d(3, 5, (1, 3, 3))),
        "'part' (Conv3d)",
    ),
    (supported.RESAMPLING, behind(nn.Upsample(scale_factor=2)), "'part' (Upsample)"),
    (supported.RESAMPLING, behind(nn.ConvTranspose2d(4, 4, 2, 2)), "'part' (ConvTranspose2d)"),
    (supported.RESAMPLING, behind(nn.PixelShuffle(2), 1), "'part' (PixelShuffle)"),
    (
        supported.QUANTISED,
        function(lambda x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255)),
        "(fake_quantize_per_tensor_affine)",
    ),
    *(
        (supported.PADDING, behind(conv(padding_mode=mode)), "'part' (Conv2d)")
        for mode in ("reflect", "circular", "replicate")
    ),
    (supported.PADDING, behind(nn.ConstantPad2d(1, 0.5)), "'part' (ConstantPad2d)"),
    (supported.CLIPPING, behind(nn.Hardtanh()), "'part' (Hardtanh)"),
    (supported.CLIPPING, function(lambda x: x.clamp(0.1, 1)), "'clamp' (clamp)"),
    (supported.DATA, function(lambda x: x + torch.rand_like(x)), "'rand_like' (rand_like)"),
    (supported.DATA, function(lambda x: x[:, torch.tensor([0, 2, 1, 3])]), "'index' (index)"),
    (supported.SIGNED_CONVOLUTION, behind(nn.Sequential(conv(), conv())), "'part.1' (Conv2d)"),
    (
        supported.SIGNED_CONVOLUTION,
        behind(nn.Sequential(InvertedResidual(4, 6, 1, 2), conv(6, 4))),
        "'part.1' (Conv2d)",
    ),
    (supported.SIGNED_SUM, behind(nn.Sequential(PreActivation(), conv())), "'part.1' (Conv2d)"),
    (
        supported.SIGNED_SUM,
        behind(nn.Sequential(InvertedResidual(4, 4, 1, 2), conv())),
        "'part.1' (Conv2d)",
    ),
    (
        supported.TERMS,
        behind(nn.Sequential(PreActivation(), PreActivation(), nn.ReLU())),
        "'part.1/add_1' (add)",
    ),
    (
        supported.TERMS,
        Model(three, a=conv(3), b=conv(3), c=conv(3), last=conv(12), head=head()),
        "'last' (Conv2d)",
    ),
    (supported.PADDED_NORM, behind(nn.Sequential(*NORM, conv())), "'part.2' (Conv2d)"),
    (
        supported.MIRRORED_MAXIMUM,
        behind(nn.Sequential(*NORM, nn.MaxPool2d(2))),
        "'part.2' (MaxPool2d)",
    ),
    (
        supported.DILATED_MAXIMUM,
        behind(nn.MaxPool2d(2, dilation=2)),
        "'part' (MaxPool2d)",
    ),
    (
        supported.IMAGE_MAXIMUM,
        Model(lambda m, x: m.head(m.stem(m.part(x))), part=nn.MaxPool2d(2), head=head()),
        "'part' (MaxPool2d)",
    ),
    (
        supported.MAP_OUTPUT,
        Model(lambda m, x: m.part(m.stem(x)), part=conv()),
        "'part' (Conv2d)",
    ),
    (
        supported.UNEQUAL_WINDOWS,
        behind(nn.Sequential(nn.AdaptiveAvgPool2d(3), conv())),
        "'part.1' (Conv2d)",
    ),
    (supported.UNEQUAL_WINDOWS, behind(nn.AdaptiveMaxPool2d(3)), "'part' (AdaptiveMaxPool2d)"),
    (supported.LAYOUT, behind(nn.Linear(8, 8)), "'part' (Linear)"),
    (
        supported.BORDERS,
        Model(lambda m, x: m.head(m.stem((x + 0.2) / 0.5)), head=head()),
        "'stem.0' (Conv2d)",
    ),
    (
        supported.BORDERS,
        Model(
            lambda m, x: m.head(F.relu(m.part(x - 0.5) + m.other(x - 0.25))),
            part=conv(3), other=conv(3), head=head(),
        ),
        "'add' (add)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("key", "module", "place"), CASES, ids=[case[0] for case in CASES])
def test_refused(key: str, module: nn.Module, place: str) -> None:
    """One sentence with the module's path, the operator, the reason and the cure."""
    with pytest.raises(ResiduumError) as caught:
        module_to_network(with_statistics(module).float(), SHAPE)
    sentence = str(caught.value)
    row = {**REFUSALS, **PATTERNS}[key]
    assert place in sentence
    assert row.why in sentence
    assert sentence.endswith(f": {row.cure}")
    assert "\n" not in sentence


def test_every_refusal_has_a_case() -> None:
    assert {case[0] for case in CASES} == {*REFUSALS, *PATTERNS}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda x: x.mean(0, keepdim=True), "drops the batch axis"),
        (lambda x: x.cumsum(1), "'cumsum' (cumsum) is an operator that is not supported"),
        (lambda x: x + torch.rand(4, 8, 8), "'add' (add) has constants of their own for each"),
        (lambda x: x + x.amax((2, 3), keepdim=True), "adds maps of the shapes"),
        (lambda x: (x, x), "returns 2 values"),
        (lambda x: x if x.sum() > 0 else 2 * x, "has an if or a loop on the numbers of the image"),
    ],
)
def test_other_sentences(step: Callable[[Tensor], Tensor], words: str) -> None:
    class Returned(Model):
        def forward(self, x: Tensor) -> Any:
            out = step(self.stem(x))
            return tuple(map(self.head, out)) if isinstance(out, tuple) else self.head(out)

    with pytest.raises(ResiduumError) as caught:
        module_to_network(Returned(lambda m, x: x, head=head()).eval(), SHAPE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


FINAL = {"sigmoid"}


@pytest.mark.parametrize("name", [name for row in SUPPORTED for name in row.torch])
def test_supported_operators_are_handled(name: str) -> None:
    assert name in HANDLERS
    assert hasattr(torch.ops.aten, name)


@pytest.mark.parametrize(
    "name", [name for row in REFUSALS.values() for name in row.torch if name not in FINAL]
)
def test_refused_operators_are_not_handled(name: str) -> None:
    assert name not in HANDLERS
    assert supported.refusal_of_torch(name)


def test_tables_for_pages() -> None:
    assert "| dense layer | `linear` `addmm` `mm` `matmul` | `Gemm` `MatMul` | a convolution" in (
        supported.supported_table()
    )
    lines = supported.refused_table().splitlines()
    assert len(lines) == 2 + len(REFUSALS) + len(PATTERNS)
    assert {line.count(" | ") for line in lines} == {2}


def test_no_operator_has_two_reasons() -> None:
    for names in ([row.torch for row in REFUSALS.values()], [r.onnx for r in REFUSALS.values()]):
        every = [name for row in names for name in row]
        assert len(every) == len(set(every))


def test_operators_of_onnx_exist() -> None:
    schemas = {s.name for s in pytest.importorskip("onnx").defs.get_all_schemas_with_history()}
    rows = [*SUPPORTED, *REFUSALS.values()]
    # Operators of ONNX Runtime's own domain are no part of the standard.
    own = {"MultiHeadAttention"}
    assert {name for row in rows for name in row.onnx} - own <= schemas


@pytest.mark.parametrize("name", [name for row in REFUSALS.values() for name in row.torch])
def test_refused_operators_exist(name: str) -> None:
    assert hasattr(torch.ops.aten, name)
