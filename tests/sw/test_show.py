"""The picture of one image: its content, and its atomic writing."""

import dataclasses
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from residuum.cli import main
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.reference import from_integers
from residuum.sw.look.picture import SAMPLE, SILENCED, SPIKE, Scene, check_format, draw, sample
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.folders import work_in
from tests.sw.layers import layer
from tests.sw.networks import random_graph, random_images, random_input, random_network


def scene(network: IntegerNetwork, image: np.ndarray, *, tau: int = 4, T: int = 4) -> Scene:
    reference = from_integers(network, 4, "its integers", own=True)
    return Scene.of(network, reference, image, index=0, label=0, tau=tau, T=T)


def pixels(content: bytes) -> np.ndarray:
    """The pixels of a PNG, uint8 (H, W, 3)."""
    return np.rint(imread(io.BytesIO(content))[..., :3] * 255).astype(np.uint8)


def count(picture: np.ndarray, color: str) -> int:
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == wanted).all(axis=2).sum())


@pytest.mark.parametrize("seed", [0, 5])
def test_any_network_can_be_drawn(seed: int) -> None:
    """Odd sizes, two channels of pixels, 1-neuron layers, no hidden layer."""
    network = random_network(seed)
    image = random_images(seed, network, 1)[0]
    height, width = pixels(draw(scene(network, image, tau=seed % 3, T=1 + seed))).shape[:2]
    assert width == 1800
    assert height == round(120 * (2.9 + 2.75 * (len(network.layers) - 1)))


@pytest.mark.parametrize(
    ("seed", "code", "kind"), [(0, "radix", "image"), (1, "rate", "image"), (2, "rate", "spikes")]
)
def test_any_graph_can_be_drawn(seed: int, code: str, kind: str) -> None:
    """Maps of numbers behind max-pooling, two sources, spike trains as the image."""
    network = random_graph(seed, code, kind)
    stages = {"tau": 0, "T": 1 if code == "radix" else 3}
    image = random_input(seed, network, 1, sum(stages.values()))[0]
    height, _ = pixels(draw(scene(network, image, **stages))).shape[:2]
    assert height == round(120 * (2.9 + 2.75 * (len(network.layers) - 1)))


def test_numbers_in_radix_code_are_drawn_as_bits() -> None:
    """A layer whose neurons all have the number 5: two of three bits, without steps."""
    ones = np.ones((80, 1, 1, 1), int)
    hidden = layer(0, "a", ones, np.zeros(80, int), np.full(80, 2))
    network = IntegerNetwork(
        "five",
        (1, 1, 1),
        (
            replace(hidden, bits=3),
            layer(1, "out", np.ones((2, 80, 1, 1), int), np.zeros(2, int), None),
        ),
        8,
        code="radix",
    )
    shown = scene(network, np.full((1, 1, 1), 10, np.uint8), tau=0, T=1)
    assert shown.trace.layers[0].values.tolist() == np.full((1, 80, 1, 1), 5).tolist()
    text = draw(shown, "svg").decode()
    assert "radix code" in text
    assert "bits of the number" in text
    assert "number 0 .. 7" in text
    assert "inference" not in text


def test_silenced_neurons_are_marked_and_only_with_a_probe() -> None:
    network = load_network("digits")
    image = random_images(2, network, 1)[0]
    with_probe, without = (pixels(draw(scene(network, image, tau=tau))) for tau in (4, 0))
    assert count(with_probe, SILENCED) > 500
    assert count(without, SILENCED) == 0
    assert min(count(with_probe, SPIKE), count(without, SPIKE)) > 5000


def test_same_run_same_file() -> None:
    network = random_network(3)
    image = random_images(3, network, 1)[0]
    for file_format in ("png", "svg"):
        assert len({draw(scene(network, image), file_format) for _ in range(2)}) == 1


def test_sample_is_sorted_and_leaves_out_the_quiet() -> None:
    rng = np.random.default_rng(0)
    rates = np.where(rng.random(1000) < 0.8, 0, rng.integers(1, 5, 1000) / 4)
    trains = np.zeros((8, 1000), bool)
    trains[0] = rates > 0
    chosen, pool = sample(trains, np.zeros(1000, bool), rates)
    assert pool == (rates > 0).sum()
    assert len(chosen) == len(set(chosen)) == SAMPLE
    assert (np.diff(rates[chosen]) <= 0).all()
    assert rates[chosen[-1]] > 0


def test_small_layers_are_shown_whole() -> None:
    chosen, pool = sample(np.zeros((4, 5), bool), np.zeros(5, bool), np.array([0, 1, 0, 0.5, 0.25]))
    assert pool == 5
    assert chosen.tolist() == [1, 3, 4, 0, 2]


@pytest.mark.parametrize("name", ["picture", "picture.gif", "picture.html"])
def test_unknown_format_is_refused(name: str) -> None:
    with pytest.raises(ResiduumError, match=rf"^{name} must end in .png, .svg or .pdf$"):
        check_format(Path(name))


def test_verdict_names_classes() -> None:
    network = load_network("fashion")
    found = scene(network, random_images(0, network, 1)[0])
    names = [found.class_name(label) for label in range(10)]
    assert names[0] == "T-shirt"
    right = dataclasses.replace(found, label=found.said)
    assert right.verdict == f"class {names[found.said]}, right"
    other = dataclasses.replace(found, label=(found.said + 1) % 10)
    assert other.verdict == f"class {names[found.said]}, wrong: it is {names[other.label]}"
    assert draw(other).startswith(b"\x89PNG")


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in(tmp_path, monkeypatch)
    assert main(["show", "digits", "--image", "3"]) == 0
    assert capsys.readouterr().out == (
        "image 3: class 7, right\nwritten: build/show/digits-8bit-3.png\n"
    )
    assert [path.name for path in (tmp_path / "build/show").iterdir()] == ["digits-8bit-3.png"]
    assert (tmp_path / "build/show/digits-8bit-3.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_get_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("")
    numbers = "there is no image 360; the 360 held-out images are numbered 0 .. 359"
    for arguments, sentence in (
        (["digits", "--image", "360"], numbers),
        (["none"], "there is no network 'none'"),
        (["digits", "--out", "x.bmp"], "x.bmp must end in .png, .svg or .pdf"),
        (["digits", "--out", "file/x.png"], "file cannot be written: a file is in the way"),
        (["digits", "--against", "none.npz"], "there is no file none.npz"),
    ):
        assert main(["show", *arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"residuum: {sentence}")
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "file"]
