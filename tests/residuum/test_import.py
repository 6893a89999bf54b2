"""``residuum import``: the page that explains it, the ladder, and errors in one sentence."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from residuum import cli
from residuum.hw.isa.presets import PRESETS
from residuum.sw.data.data_sets import load_held_out
from residuum.sw.frontend.supported import refused_table, supported_table
from residuum.sw.importing.ladder import Step, climb
from residuum.sw.network.float_network import FloatNetwork
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.train.fine_tuning import float_accuracy

ROOT = Path(__file__).resolve().parents[2]
ZOO = str(ROOT / "sw" / "zoo")
DIGITS = f"{ZOO}/digits-float.npz"
ON_BOARD = [DIGITS, "--data", "digits", "--board", "ulx3s-12f"]
PAGE = ROOT / "docs" / "own-model.md"
MODULE = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)
        self.last = nn.Linear(144, 10)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))).flatten(1))
"""


def parts_of_page() -> tuple[dict[str, str], list[str]]:
    """The files and the commands of the worked example."""
    text = PAGE.read_text()
    files = dict(re.findall(r"^```python file=(\S+)\n(.*?)^```", text, re.M | re.S))
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return files, [line for line in lines if line]


@pytest.mark.long
def test_the_example_runs_from_an_empty_folder(in_tmp: Path) -> None:
    files, commands = parts_of_page()
    for name, content in files.items():
        Path(name).write_text(content)
    assert len(files) == 2
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)
        program = {"python": [], "residuum": ["-m", "residuum"]}[words[0]]
        if words[1] == "import":
            words += ["--json", "ladder.json"]
        done = subprocess.run(
            [sys.executable, *program, *words[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        if words[1] == "fit":
            assert "it fits" in done.stdout
    shares = [rung["percent"] for rung in json.loads(Path("ladder.json").read_text())["rungs"]]
    assert len(shares) == 5
    assert min(shares) > 98
    assert IntegerNetwork.load("mynet.npz").weight_bits == 4


def test_the_page_has_both_tables() -> None:
    text = PAGE.read_text()
    assert supported_table().strip() in text
    assert refused_table().strip() in text


@pytest.fixture
def module(in_tmp: Path) -> Path:
    (in_tmp / "net.py").write_text(MODULE)
    return in_tmp


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.onnx"], "missing.onnx cannot be read: No such file"),
        (["net.py:none", "--data", "digits"], "net.py has no 'none'"),
        (["net.py:Norm", "--data", "digits"], "'norm' (GroupNorm)"),
        (["net.py:small"], "name them with --data"),
        (["net.py:small", "--data", "nowhere"], "there is no data set, folder or file 'nowhere'"),
        (["net.py:small", "--data", "digits", "--tau", "2"], "give --code rate"),
        (["net.py:small", "--data", "digits", "--correction", "carry"], "give --code rate"),
        (["net.py:small", "--data", "digits", "-o", "a.onnx"], "-o names a.onnx"),
        (["net.py:small", "--data", "digits", "--mean", "0.1", "0.2"], "--mean has 2 values"),
        (["net.py:small", "--data", "digits", "--reset", "subtract"], "are for .nir files"),
        (["net.pth"], "net.pth holds weights"),
        ([DIGITS], "name them with --data"),
        (
            [DIGITS, "--data", "digits", "--mean", "0.5"],
            "digits-float.npz says already how a picture becomes its input; leave out --mean",
        ),
        ([DIGITS, "--data", "digits", "--weights", "a.pt"], "has its weights already"),
        ([ZOO + "/digits-8bit.npz", "--data", "digits"], "is not a float network of Residuum"),
        (["none-float.npz", "--data", "digits"], "there is no file none-float.npz"),
        ([DIGITS, "--data", "digits", "--board", "x"], "there is no board 'x'"),
        ([DIGITS, "--data", "digits", "--preset", "12f"], "--preset goes with --board"),
        ([*ON_BOARD, "--preset", "9f"], "there is no preset '9f'"),
        ([*ON_BOARD, "--potential-bits", "24"], "those of --board"),
        ([*ON_BOARD, "--code", "rate", "--T", "9"], "are 9 steps; the engines of ulx3s-12f have 8"),
    ],
)
def test_errors_are_one_sentence(module: Path, words: list[str], sentence: str, capsys) -> None:
    assert cli.main(["import", *words]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert error.strip().splitlines()[-1].startswith("residuum: ")
    assert list(module.glob("*.npz")) == []


@pytest.mark.parametrize("option", ["--bits=9", "--bits=1", "--size=0", "--size=a", "--scale=-1"])
def test_impossible_options_are_refused(option: str, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["import", "net.py:small", option])
    assert left.value.code == 2
    assert f"argument {option.split('=')[0]}" in capsys.readouterr().err


def test_the_network_tells_where_it_came_from(module: Path, capsys) -> None:
    words = ["import", "net.py:small", "--data", "digits", "--bits", "5", "--name", "tiny"]
    assert cli.main([*words, "--calibrate", "64"]) == 0
    network = IntegerNetwork.load("tiny.npz")
    assert (network.name, network.weight_bits, network.code) == ("tiny", 5, "radix")
    assert network.class_names[:2] == ("0", "1")
    assert network.metadata["dataset"] == "digits"
    assert network.metadata["command"] == (
        "residuum import net.py:small --name tiny --data digits --calibrate 64 --bits 5"
    )
    assert len(network.metadata["source sha256"]) == 64
    assert FloatNetwork.load("tiny-float.npz").shapes == network.shapes
    assert cli.main(["eval", "tiny.npz", "--images", "20"]) == 0


def test_a_folder_of_pictures_of_any_size(module: Path, capsys) -> None:
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if number < 200:
            folder = module / "photos" / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((image * 15).astype(np.uint8)).convert("RGB")
            picture.resize((20, 30)).save(folder / f"{number}.png")
    words = ["--data", "photos", "--size", "8", "--channels", "grey", "-o", "n.npz"]
    assert cli.main(["import", "net.py:small", *words]) == 0
    network = IntegerNetwork.load("n.npz")
    assert network.input_shape == (1, 8, 8)
    assert network.class_names == tuple(f"digit {label}" for label in range(10))
    assert cli.main(["eval", "n.npz", "--data", "photos", "--split", "all"]) == 0
    picture = next((module / "photos" / "digit 3").iterdir())
    capsys.readouterr()
    assert cli.main(["run", str(picture), "--model", "n.npz", "--device", "golden:"]) == 0
    assert "digit" in capsys.readouterr().out


def test_fine_tuning_is_repeatable(module: Path, capsys) -> None:
    words = ["import", "net.py:small", "--data", "digits", "--bits", "3", "--fine-tune", "1"]
    weights = []
    for more in ([], [], ["--restart"]):
        assert cli.main([*words, *more, "-o", "n.npz"]) == 0
        weights.append([layer.source.weight for layer in IntegerNetwork.load("n.npz").layers])
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    # The second call took the epoch from the checkpoint.
    assert capsys.readouterr().err.count("epoch 1 of 1") == 2


def test_rate_code_has_the_steps_of_the_options(module: Path, capsys) -> None:
    words = ["net.py:small", "--data", "digits", "--code", "rate", "--T", "16", "-o", "rate.npz"]
    assert cli.main(["import", *words]) == 0
    assert IntegerNetwork.load("rate.npz").code == "rate"


def test_a_float_network_of_the_project_is_a_source(in_tmp: Path, capsys) -> None:
    """Thresholds of QCFS are the ranges, and what the file says of classes and data set stays."""
    words = ["import", DIGITS, "--data", "digits", "--bits", "8", "--bits-per-activation", "4"]
    assert cli.main(words) == 0
    ladder = capsys.readouterr().out
    network, given = IntegerNetwork.load("digits-8bit.npz"), FloatNetwork.load(DIGITS)
    assert (network.name, network.code, network.layers[0].bits) == ("digits", "radix", 4)
    assert network.metadata["source"] == "digits-float.npz"
    assert network.metadata["command"] == shlex.join(["residuum", *words])
    floats = FloatNetwork.load("digits-float.npz")
    assert [layer.threshold for layer in floats.layers] == [each.threshold for each in given.layers]
    # The first rung is the network with its own levels.
    shares = [float(share) for share in re.findall(r"([\d.]+) %", ladder)]
    assert min(shares) > 97
    data = load_held_out("digits")
    assert shares[0] == pytest.approx(100 * float_accuracy(given, *data), abs=0.01)
    # A second import shares the float network, which explain finds.
    again = ["import", "digits-float.npz", "--data", "digits", "-o", "other.npz"]
    assert cli.main([*again, "--images", "20"]) == 0
    assert sorted(path.name for path in in_tmp.glob("*.npz")) == [
        *("digits-8bit.npz", "digits-float.npz", "other.npz")
    ]
    assert cli.main(["explain", "other.npz", "--images", "20"]) == 0
    assert "the float network" in capsys.readouterr().out


def test_a_float_network_is_not_written_over(module: Path, capsys) -> None:
    assert cli.main(["import", "net.py:small", "--data", "digits", "--images", "20"]) == 0
    before = Path("net-float.npz").read_bytes()
    words = ["import", "net-float.npz", "--data", "digits", "--images", "20"]
    assert cli.main([*words, "--bits", "4"]) == 0
    assert Path("net-4bit-float.npz").exists()
    assert IntegerNetwork.load("net-4bit.npz").metadata["float network"] == "net-4bit-float.npz"
    assert cli.main([*words, "-o", "net.npz"]) == 1
    assert "over net-float.npz; name another file with -o" in capsys.readouterr().err
    assert Path("net-float.npz").read_bytes() == before


def test_the_board_chooses_the_widths(in_tmp: Path, monkeypatch, capsys) -> None:
    """The metadata have the chosen widths, so the same network comes out on any later board."""
    narrow = PRESETS["12f"].with_changes(weight_bits=5, accumulator_bits=12, potential_bits=17)
    monkeypatch.setitem(PRESETS, "12f", narrow)
    words = ["--calibrate", "64", "--images", "200"]
    assert cli.main(["import", *ON_BOARD, *words, "--json", "ladder.json"]) == 0
    network, output = IntegerNetwork.load("digits-ulx3s-12f.npz"), capsys.readouterr()
    chosen = network.weight_bits, network.layers[0].bits
    assert chosen == (4, 6)
    assert "ulx3s-12f holds 4 bits, K = 6, preset 12f" in output.err
    rungs = json.loads(Path("ladder.json").read_text())["rungs"]
    assert [rung["name"] for rung in rungs[-2:]] == ["integers", "integers, weights of 8 bits"]
    lost = rungs[-1]["percent"] - rungs[-2]["percent"]
    assert f"weights of 4 bits cost {lost:.2f} % of the images, against" in output.out
    command = shlex.split(network.metadata["command"])
    assert command[-6:] == [
        *("--bits", "4", "--bits-per-activation", "6", "--potential-bits", "17")
    ]
    assert cli.main([*command[1:], "-o", "again.npz"]) == 0
    again = IntegerNetwork.load("again.npz")
    for layer, other in zip(network.layers, again.layers, strict=True):
        assert np.array_equal(layer.source.weight, other.source.weight)
        assert np.array_equal(layer.bias, other.bias)
    # `fit` proposes the same.
    capsys.readouterr()
    assert cli.main(["fit", "digits-ulx3s-12f.npz", "--board", "ulx3s-12f"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "`residuum import digits-ulx3s-12f-float.npz --data digits --board ulx3s-12f` would take "
        "4 bits, K = 6, preset 12f"
    )


@pytest.fixture
def presets():
    """The presets, which are the same afterwards, and in the same order."""
    before = dict(PRESETS)
    yield PRESETS
    PRESETS.clear()
    PRESETS.update(before)


def test_what_no_engine_of_the_board_holds(in_tmp: Path, presets, capsys) -> None:
    for name in ("12f", "12f-4bit"):
        presets[name] = presets[name].with_changes(weight_rows=100)
    assert cli.main(["import", *ON_BOARD, "--calibrate", "64"]) == 0
    assert "holds 4 bits, K = 4, preset 12f-sdram" in capsys.readouterr().err
    for path in in_tmp.glob("*.npz"):
        path.unlink()
    del presets["12f-sdram"]
    assert cli.main(["import", *ON_BOARD, "--calibrate", "64"]) == 1
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("residuum: ulx3s-12f does not hold 'digits' even with weights of 2")
    assert "this engine has 100 (preset 12f); what helps: preset 25f" in sentence
    assert list(in_tmp.glob("*.npz")) == []


@pytest.mark.long
def test_pixels_of_0_to_255_are_found(module: Path, capsys) -> None:
    """A model whose weights expect large numbers is only right with them."""
    train = """
import torch
from sklearn.datasets import load_digits
from net import small
torch.manual_seed(0)
digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32)[:1437, None] * 255 / 16
y = torch.tensor(digits.target)[:1437]
model = small()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(60):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
torch.save(model.state_dict(), "net.pt")
"""
    subprocess.run([sys.executable, "-c", train], check=True)
    words = ["import", "net.py:small", "--weights", "net.pt", "--data", "digits", "-o", "n.npz"]
    assert cli.main(words) == 0
    preprocessing = IntegerNetwork.load("n.npz").preprocessing
    assert preprocessing is not None
    assert preprocessing.scale == pytest.approx(1.0)


def step(name: str, wrong: int, only: dict[int, int] | None = None) -> Step:
    """Predictions with ``wrong`` errors; ``only`` has the errors of a change in one layer."""

    def predict(errors: int):
        return lambda images: iter([np.where(np.arange(len(images)) < errors, 1, 0)])

    layers = tuple(f"layer{i}" for i in only or ())
    return Step(name, predict(wrong), layers, only and (lambda i: predict(only[i])), "a cure")


def test_a_rung_that_loses_names_its_layers() -> None:
    images, labels = np.zeros((200, 1)), np.zeros(200, np.int64)
    steps = [step("first", 0), step("second", 1), step("third", 12, {0: 3, 1: 9, 2: 1})]
    rungs = climb(steps, images, labels)
    assert [rung.share for rung in rungs] == [1, 0.995, 0.94]
    assert [rung.cure for rung in rungs] == ["", "", "a cure"]
    assert rungs[2].losers == (("layer1", pytest.approx(0.04)), ("layer0", pytest.approx(0.01)))


def test_without_labels_the_first_rung_is_the_measure() -> None:
    rungs = climb([step("first", 10), step("second", 15)], np.zeros((100, 1)), None)
    assert [rung.share for rung in rungs] == [1, 0.95]
