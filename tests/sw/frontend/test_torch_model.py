"""Models from a user's files: code, weights, exported programs, and the sentences about faults."""

import copy
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from residuum.sw.errors import ResiduumError
from residuum.sw.frontend.models import module_to_network, open_model
from residuum.sw.frontend.torch_model import export, load_module, load_weights, read_weights
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.forward import forward
from residuum.sw.network.graph import Preprocessing
from tests.sw.frontend.modules import with_statistics

SHAPE = (3, 8, 8)
CODE = """
import torch
from torch import nn
from mynet_parts import WIDTH

def make():
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * WIDTH, 5), nn.Softmax(1),
    )

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = make()

    def forward(self, x):
        return self.layers(x)

def broken():
    size = 3
    return nn.Conv2d(size, "four", 3)

def wants_more(width):
    return make()

def number():
    return 5

def leaves():
    raise SystemExit(1)

ready = make()
"""


@pytest.fixture
def mynet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """mynet.py, which imports a file beside it."""
    (tmp_path / "mynet.py").write_text(CODE)
    (tmp_path / "mynet_parts.py").write_text("WIDTH = 4\n")
    monkeypatch.delitem(sys.modules, "mynet_parts", raising=False)
    return tmp_path / "mynet.py"


def model() -> nn.Sequential:
    """What `make` of mynet.py returns, with weights as after a training."""
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5), nn.Softmax(1))
    return with_statistics(module).float()


def logits(network: FloatNetwork, images: torch.Tensor) -> torch.Tensor:
    """The order of a softmax, as probabilities."""
    return forward(network, images).softmax(1)


def test_a_file_with_weights(mynet: Path) -> None:
    module = model()
    weights = mynet.with_name("mynet.pt")
    torch.save(module.state_dict(), weights)
    network = open_model(f"{mynet}:make", weights=weights).network(input_shape=SHAPE)
    images = torch.rand(3, *SHAPE)
    assert torch.allclose(logits(network, images), module(images), atol=1e-5)
    assert network.name == "mynet"
    assert network.metadata == {
        "source": f"{mynet}:make",
        "source sha256": hashlib.sha256(mynet.read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "weights": "mynet.pt",
        "weights sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "notes": "dropped at the end: '6' (Softmax)",
    }
    assert str(mynet.parent) not in sys.path


@pytest.mark.parametrize("attribute", ["make", "Network", "ready"])
def test_functions_classes_and_modules_are_models(mynet: Path, attribute: str) -> None:
    module = load_module(f"{mynet}:{attribute}")
    assert not module.training
    assert module(torch.rand(2, *SHAPE)).shape == (2, 5)


def test_a_package(mynet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mynet.parent)
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    assert isinstance(load_module("mynet:make"), nn.Sequential)
    monkeypatch.delitem(sys.modules, "mynet")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("mynet.py", "does not name a model; write file.py:callable"),
        ("{mynet}:missing", "has no 'missing'"),
        ("{mynet}x.py:make", "there is no file"),
        ("no_such_package:make", "importing no_such_package failed: ModuleNotFoundError"),
        ("{mynet}:number", "returned 'int'; it must be an nn.Module"),
        ("{mynet}:WIDTH", "is not callable"),
        ("{mynet}:broken", "mynet.py, line 22: TypeError"),
        ("{mynet}:wants_more", "failed: TypeError: wants_more() missing 1 required"),
        ("{mynet}:leaves", "mynet.py, line 31: SystemExit: 1"),
    ],
)
def test_faults_of_code(mynet: Path, source: str, words: str) -> None:
    with pytest.raises(ResiduumError) as caught:
        load_module(source.format(mynet=mynet))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_like_this", "mynet.py, line 1: ModuleNotFoundError"),
        ("def make(:", "mynet.py, line 1: SyntaxError"),
        ("def make():\n  return 1 / 0", "mynet.py, line 2: ZeroDivisionError"),
    ],
)
def test_faults_of_files(mynet: Path, text: str, words: str) -> None:
    mynet.write_text(text)
    with pytest.raises(ResiduumError, match=words):
        load_module(f"{mynet}:make")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"net": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {
            "model_state_dict": {f"_orig_mod.module.{key}": v for key, v in state.items()}
        },
        lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
        lambda state: {key: value.double() for key, value in state.items()},
    ],
)
def test_wrapped_weights(tmp_path: Path, wrap) -> None:
    module = model()
    torch.save(wrap(module.state_dict()), tmp_path / "weights.pt")
    other = model()
    for parameter in other.parameters():
        parameter.data.zero_()
    load_weights(other, tmp_path / "weights.pt")
    images = torch.rand(2, *SHAPE)
    assert torch.equal(other(images), module(images))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("0.weight"), "1 weights are missing, such as 0.weight"),
        (lambda s: s.update(more=torch.zeros(1)), "1 weights are not in the model, such as more"),
        (
            lambda s: s.update({"5.bias": torch.zeros(7)}),
            r"5.bias has the shape \(7,\), but the model has \(5,\)",
        ),
    ],
)
def test_weights_of_another_model(tmp_path: Path, change, words: str) -> None:
    state = model().state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ResiduumError, match=words):
        load_weights(model(), tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"not a file of torch", "is no file of weights|holds more than weights"),
        (b"", "is no file of weights"),
        ([1, 2], "holds no weights by name"),
        ({"epoch": 3}, "holds no weights by name"),
        (nn.ReLU(), "holds more than weights, which is not loaded"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content, words: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ResiduumError, match=words) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [1, 4, None])
def test_an_exported_program(tmp_path: Path, batch: int | None) -> None:
    module = model()
    dynamic = None if batch else {"input": {0: torch.export.Dim("batch")}}
    program = torch.export.export(
        module, (torch.zeros(batch or 3, *SHAPE),), dynamic_shapes=dynamic
    )
    torch.export.save(program, tmp_path / "mynet.pt2")
    network = open_model(str(tmp_path / "mynet.pt2")).network(input_shape=SHAPE)
    images = torch.rand(3, *SHAPE)
    assert torch.allclose(logits(network, images), module(images), atol=1e-5)
    assert network.name == "mynet"


def test_faults_of_exported_programs(tmp_path: Path) -> None:
    path = tmp_path / "mynet.pt2"
    with pytest.raises(ResiduumError, match="cannot be read"):
        open_model(str(path)).network(input_shape=SHAPE)
    path.write_bytes(b"nothing")
    with pytest.raises(ResiduumError, match="is no program that torch.export.save"):
        open_model(str(path)).network(input_shape=SHAPE)
    torch.export.save(export(model(), SHAPE, name="mynet"), path)
    with pytest.raises(ResiduumError, match="has its weights already"):
        open_model(str(path), weights=tmp_path / "w.pt").network(input_shape=SHAPE)
    with pytest.raises(ResiduumError, match=r"takes pictures of the shape .*not \(3, 9, 9\)"):
        open_model(str(path)).network(input_shape=(3, 9, 9))


def test_pictures_of_another_shape() -> None:
    with pytest.raises(ResiduumError, match=r"net does not take pictures of the shape \(3, 9, 12"):
        module_to_network(model(), (3, 9, 12), name="net")


def test_normalisation_by_options_equals_normalisation_in_the_model() -> None:
    """(u * scale - mean) / std: in the module, and as options; the border is the mean."""

    class Normalised(nn.Module):
        def __init__(self, core: nn.Module) -> None:
            super().__init__()
            self.core = core

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
            return self.core((x * 255 * (2 / 255) - mean) / std)

    MEAN, STD = (1.0, 0.5, 0.75), (0.5, 0.25, 1.0)
    preprocessing = Preprocessing(scale=2 / 255, mean=MEAN, std=STD)
    module = model()
    inside = module_to_network(Normalised(module).eval(), SHAPE)
    options = module_to_network(module, SHAPE, preprocessing=preprocessing)
    assert options.preprocessing == preprocessing
    assert inside.pad is not None
    assert options.pad is not None
    assert options.pad.sides == inside.pad.sides == (1, 1, 1, 1)
    assert options.pad.pixel == pytest.approx(tuple(value / 2 for value in MEAN))
    assert inside.pad.pixel == pytest.approx(options.pad.pixel)
    assert options.layers[0].source.padding == (0, 0, 0, 0)
    for first, second in zip(inside.layers, options.layers, strict=True):
        assert np.allclose(first.source.weight, second.source.weight, rtol=1e-6)
        assert np.allclose(first.bias, second.bias, rtol=1e-6, atol=1e-7)


def test_pixels_as_they_are() -> None:
    """A model for u = 0..255 without a mean keeps its zero padding."""
    module = model()
    network = module_to_network(module, SHAPE, preprocessing=Preprocessing(scale=1.0))
    images = torch.randint(0, 256, (3, *SHAPE)) / 255
    assert torch.allclose(logits(network, images), module(images * 255), atol=1e-4)
    assert network.pad is None
    assert network.layers[0].source.padding == (1, 1, 1, 1)


def test_torchscript_and_quantised_modules_are_refused() -> None:
    with pytest.warns(DeprecationWarning, match="jit.trace"):
        traced = torch.jit.trace(model(), torch.rand(1, *SHAPE))
    with pytest.raises(ResiduumError, match="net is TorchScript, .* give the Python code"):
        module_to_network(traced, SHAPE, name="net")
    # A module of torch's eager quantisation, whose construction warns that it is deprecated.
    quantised = type("Conv2d", (nn.Identity,), {"__module__": "torch.ao.nn.quantized.modules.conv"})
    module = nn.Sequential(nn.ReLU(), quantised())
    with pytest.raises(ResiduumError, match=r"'1' \(Conv2d\) belongs to a model that is quantised"):
        module_to_network(module, SHAPE)


def test_half_precision_is_read_as_single() -> None:
    module = nn.Sequential(*list(model())[:-1])
    half = copy.deepcopy(module).to(torch.bfloat16)
    images = torch.rand(2, *SHAPE)
    network = module_to_network(half, SHAPE)
    assert next(half.parameters()).dtype == torch.bfloat16
    assert torch.allclose(forward(network, images), module(images), atol=0.1)


def test_a_saved_network_is_the_same(tmp_path: Path) -> None:
    network = module_to_network(model(), SHAPE, preprocessing=Preprocessing(mean=(0.5,) * 3))
    network.save(tmp_path / "net.npz")
    loaded = FloatNetwork.load(tmp_path / "net.npz")
    images = torch.rand(3, *SHAPE)
    assert torch.allclose(forward(loaded, images), forward(network, images), atol=1e-5)
    assert loaded.pad == network.pad
    assert loaded.metadata == network.metadata
