"""``residuum train`` with the options of the deep networks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from residuum.cli import main
from residuum.sw.data.data_sets import DATASETS, PUBLISHED_ONLY, Access, PublishedSet, Split
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.library import load_network

MISSING = ("amaranth", "cocotb", "jinja2", "matplotlib", "nir", "onnx", "rich", "serial", "sklearn")
TINY = ["train", "resnet20", "--data-set", "cifar10", "--width", "0.125", "--epochs", "2"]


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 is 16 random images, and nothing is compiled."""

    def split(self: PublishedSet, access: Access = PUBLISHED_ONLY) -> Split:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (16, 3, 32, 32)).astype(np.uint8)
        return images, rng.integers(0, 10, 16)

    monkeypatch.setattr(PublishedSet, "train", split)
    monkeypatch.setattr(PublishedSet, "test", split)
    monkeypatch.setattr("torch.compile", lambda module, **_: module)
    assert isinstance(DATASETS["cifar10"], PublishedSet)


@pytest.mark.usefixtures("few_images", "in_tmp")
def test_deep_network_is_trained_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """Paused, resumed and converted; the files name the command."""
    assert main([*TINY, "--minutes", "1e-9", "--bits", "8"]) == 0
    paused = "resnet20: 1 of 2 epochs are finished; the same command goes on from there"
    assert paused in capsys.readouterr().out
    assert not list(Path("build/zoo").iterdir())
    assert main([*TINY, "--bits", "8"]) == 0
    assert "epoch 1 of 2" not in capsys.readouterr().out
    network = load_network("build/zoo/resnet20-8bit.npz")
    command = "residuum train resnet20 --data-set cifar10 --seed 0 --epochs 2 --width 0.125"
    assert network.metadata["command"] == command
    assert network.metadata["dataset"] == "cifar10"
    floats = FloatNetwork.load("build/zoo/resnet20-float.npz")
    assert floats.metadata["command"] == command
    assert floats.class_names[3] == "cat"


@pytest.mark.usefixtures("few_images", "in_tmp")
def test_relu_network_is_written_and_starts_a_qcfs_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A quarter of the epochs, or as many as are given."""
    assert main([*TINY, "--relu", "--augment", "strong"]) == 0
    assert sorted(path.name for path in Path("build/zoo").iterdir()) == ["resnet20-relu-float.npz"]
    floats = FloatNetwork.load("build/zoo/resnet20-relu-float.npz")
    assert floats.levels is None
    assert "before conversion (float ReLU network)" in capsys.readouterr().out
    start = ["--from", "build/zoo/resnet20-relu-float.npz"]
    assert main([*TINY, *start, "--bits", "8", "--levels", "4"]) == 0
    network = load_network("build/zoo/resnet20-8bit.npz")
    assert network.metadata["levels"] == "4"
    assert network.metadata["command"] == (
        "residuum train resnet20 --data-set cifar10 --seed 0 --epochs 2 --levels 4 --width 0.125 "
        "--from resnet20-relu-float.npz"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["resnet20"], "resnet20 needs --data-set cifar10 or --data-set cifar100"),
        (
            ["resnet20", "--data-set", "digits"],
            "resnet20 is trained on cifar10 and cifar100, not on digits",
        ),
        (
            ["digits", "--width", "2"],
            "--width is for resnet20, resnet18, vgg16, not for digits",
        ),
        (
            ["mnist", "--data-set", "mnist"],
            "--data-set is for resnet20, resnet18, vgg16, not for mnist",
        ),
        (
            ["resnet18", "--data-set", "cifar10", "--width", "-1"],
            "--width must be above 0 and at most 16, not -1.0",
        ),
        (
            ["vgg16", "--data-set", "cifar10", "--shortcut", "option-a"],
            "vgg16 has no shortcuts, so --shortcut is not for it",
        ),
        (["digits", "--minutes", "0"], "--minutes must be positive, not 0"),
        (
            ["digits", "--relu", "--activity-penalty", "0.1"],
            "--activity-penalty is for QCFS, not for --relu",
        ),
        (["digits", "--from", "none.npz"], "there is no file none.npz"),
        (
            ["digits", "--device", "cuda"],
            "--device cuda needs a GPU that torch can use, and there is none",
        ),
        (
            ["resnet34"],
            "there is no model 'resnet34' to train; the known models are cifar10, digits, fashion, "
            "mnist, resnet18, resnet20, vgg16",
        ),
    ],
)
def test_wrong_options_get_a_sentence(
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_tmp: Path,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["train", *words]) == 1
    assert capsys.readouterr().err == f"residuum: {sentence}\n"


def test_training_needs_torch_numpy_and_pillow_only() -> None:
    """All other packages are missing, as on a machine that is lent for a training."""
    script = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in {MISSING}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from residuum.cli import main
sys.exit(main(["train", "mnist", "--epochs", "1"]))
"""
    environment = {**os.environ, "RESIDUUM_DATA": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env=environment,
    )
    # It gets as far as the data.
    assert "neither that folder nor its folder mnist holds the files of MNIST" in done.stderr
