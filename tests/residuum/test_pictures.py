"""The commands on pictures of the user: folders, files, arrays, with labels and without."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.cli import main
from residuum.sw.data.images import load_images
from residuum.sw.golden.golden_model import simulate
from residuum.sw.host.classifier import Classification
from residuum.sw.network.graph import SPIKES, Source
from residuum.sw.network.integer_network import IntegerNetwork, Layer
from residuum.sw.network.library import load_network

IMAGES = 12
STAGES = {"tau": 4, "T": 4}


@pytest.fixture
def photos(in_tmp: Path) -> Path:
    """The folders photos (a folder per class) and plain (no labels) with twelve digits, enlarged
    without a change of what is seen; photos.npz has the same."""
    network = load_network("digits")
    found = load_images("digits", network, count=IMAGES)
    assert found.labels is not None
    for digit in range(10):
        (in_tmp / "photos" / str(digit)).mkdir(parents=True)
        # Each class needs a picture.
        Image.new("RGB", (8, 8)).save(in_tmp / "photos" / str(digit) / "black.png")
    (in_tmp / "plain").mkdir()
    for index, (image, label) in enumerate(zip(found.images, found.labels, strict=True)):
        picture = Image.fromarray(image[0])
        picture.save(in_tmp / "plain" / f"{label}-{index}.png")
        picture.convert("RGB").save(in_tmp / "photos" / str(label) / f"{index}.png")
    np.savez(in_tmp / "photos.npz", images=found.images, labels=found.labels)
    return in_tmp


def expected(image: Path) -> int:
    """The class of a grey 8x8 picture, by the golden model, without the loader."""
    pixels = np.array(Image.open(image))[None, None]
    return int(simulate(load_network("digits"), pixels, **STAGES).prediction[0])


def run_json(*arguments: str) -> list[dict]:
    """The entries of the images that `residuum run` writes."""
    assert main(["run", *arguments, "--json", "out.json"]) == 0
    return json.loads(Path("out.json").read_text())["images"]


def test_the_same_pictures_from_everywhere(photos: Path) -> None:
    """Folder, npz file and picture files give the same logits."""
    golden = ["--device", "golden:"]
    files = sorted((photos / "plain").iterdir())
    by_file = run_json(*map(str, files), *golden)
    by_folder = run_json("--data", "photos", "--split", "all", "--images", "22", *golden)
    by_array = run_json("--data", "photos.npz", "--split", "all", *golden)
    best = {int(Path(e["image"]).stem.split("-")[1]): e["best"] for e in by_file}
    assert {int(e["image"]): e["best"] for e in by_array} == best
    names = {int(Path(e["image"]).stem): e["best"] for e in by_folder if "black" not in e["image"]}
    assert names == best


def test_run_classifies_files(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted((photos / "plain").iterdir())[:2]
    found = run_json(*map(str, files), "--device", "golden:")
    assert [entry["prediction"] for entry in found] == list(map(expected, files))
    assert [len(entry["best"]) for entry in found] == [5, 5]
    printed = capsys.readouterr().out
    assert "confidence" in printed
    assert str(files[0]) in printed


def test_confidence_is_the_softmax_of_the_float_network(photos: Path) -> None:
    """Of its activations after rounding: near, because the integers are rounded too."""
    from residuum.sw.golden.reference import find_reference

    (picture,) = sorted((photos / "plain").glob("3-*.png"))[:1]
    (entry,) = run_json(str(picture), "--device", "golden:", "--tau", "0", "--T", "32")
    reference = find_reference(load_network("digits"), "digits", against=None, T=32)
    _, logits = reference.rates(np.array(Image.open(picture))[None, None])
    sure = logits.softmax(dim=1)[0].tolist()
    assert entry["best"][0]["confidence"] == pytest.approx(max(sure), abs=0.05)


class FakeClassifier:
    """Answers as the golden model does; counts how often logits are read."""

    reads = 0

    def classify_all(
        self, images: Iterable[np.ndarray], *, logits: bool = False
    ) -> Iterator[Classification]:
        for image in images:
            trace = simulate(load_network("digits"), image[None], **STAGES)
            self.reads += logits
            scores = trace.logits[0] if logits else None
            yield Classification(int(trace.prediction[0]), 1000, scores)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeClassifier:
    from contextlib import nullcontext
    from types import SimpleNamespace

    fake = FakeClassifier()
    link = SimpleNamespace(name="fake", seconds_per_byte=0.0)
    device = SimpleNamespace(
        link=link, identity=SimpleNamespace(clock_hz=1e6), retries=0, sent=0, received=0
    )
    monkeypatch.setattr(
        "residuum.commands.devices.open_device", lambda *_, **__: nullcontext(device)
    )
    monkeypatch.setattr("residuum.commands.devices.prepare", lambda *_: fake)
    monkeypatch.setattr("residuum.commands.devices.describe_device", lambda _: "device fake")
    return fake


def test_run_on_a_device_as_on_the_golden_model(photos: Path, device: FakeClassifier) -> None:
    files = [str(path) for path in sorted((photos / "plain").iterdir())]
    assert run_json(*files) == run_json(*files, "--device", "golden:")


def test_logits_are_read_only_where_they_are_shown(photos: Path, device: FakeClassifier) -> None:
    assert main(["run", "--data", "photos.npz", "--split", "all"]) == 0
    assert device.reads == 0
    assert main(["run", "--data", "plain", "--split", "all"]) == 0
    assert device.reads == IMAGES


def test_labels_of_a_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "digits", "--data", "photos.npz", "--split", "all"]) == 0
    assert f"100.00 % of {IMAGES} images right" in capsys.readouterr().out


def test_eval_without_labels(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "digits", "--data", "plain", "--split", "all", "--json", "out.json"]
    assert main(arguments) == 0
    report = json.loads(Path("out.json").read_text())
    assert "accuracy" not in report
    assert sum(report["classes"].values()) == IMAGES
    assert report["agreement"] == 100
    assert "100.00 % agree with the float network" in capsys.readouterr().out


def test_eval_without_labels_and_float_network(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_network("digits").save("mine.npz")
    assert main(["eval", "mine.npz", "--data", "plain", "--split", "all"]) == 0
    assert "agree" not in capsys.readouterr().out


def test_logits_where_the_confidence_is_not_known(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_network("digits").save("mine.npz")
    assert main(["run", "--model", "mine.npz", "--data", "plain", "--device", "golden:"]) == 0
    printed = capsys.readouterr().out
    assert "logit" in printed
    assert "confidence" not in printed


def test_show_a_picture_file(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (picture,) = sorted((photos / "plain").iterdir())[:1]
    assert main(["show", "digits", "--data", str(picture), "--out", "out.png"]) == 0
    assert capsys.readouterr().out.startswith(f"image {picture.name}: class {expected(picture)}\n")


def test_explain_without_labels(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "digits", "--data", "plain", "--split", "all"]) == 0
    assert "the predictions of the float network are taken as right" in capsys.readouterr().out


def test_report_of_a_folder(photos: Path) -> None:
    assert main(["report", "digits", "--data", "photos", "--out", "page.html"]) == 0
    assert "--data photos" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["suggest", "digits"], "the choice of tau and T"),
        (["report", "digits"], "the page"),
    ],
)
def test_commands_that_need_labels(
    arguments: list[str], subject: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--data", "plain"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        f"residuum: {subject} needs labels, and plain has none: put the pictures into a folder for "
        "each class, or give the .npz file an array 'labels'"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["a.png"], "a.png cannot be read: No such file or directory"),
        (
            ["a.png", "--data", "digits"],
            "give picture files, or --data and --images, but not both",
        ),
        (["mnist"], "mnist is no picture; name a network with --model mnist"),
        (["my.npz"], "my.npz is no picture; name a network with --model my.npz"),
        (["."], ". is a folder; give it with --data ."),
        (["--images", "400"], "400 images are wanted, but digits has 360 held-out images"),
        (["--loaded"], "--loaded is for a device, and golden: is none"),
    ],
)
def test_wrong_use_of_run(
    arguments: list[str], error: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--device", "golden:", *arguments]) == 1
    assert capsys.readouterr().err == f"residuum: {error}\n"


@pytest.mark.parametrize("command", ["check", "sim", "verify"])
def test_engines_take_pictures_too(
    command: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data are read before anything is built."""
    (in_tmp / "empty").mkdir()
    model = ["--model"] if command == "check" else []
    assert main([command, *model, "digits", "--data", "empty"]) == 1
    assert capsys.readouterr().err == "residuum: the folder empty has no pictures\n"


def counter_of_spikes() -> IntegerNetwork:
    """Two inputs, two classes: the class of the input with more spikes."""
    source = Source(np.eye(2, dtype=int).reshape(2, 2, 1, 1))
    output = Layer("count", (source,), np.zeros(2, int), None, 0)
    return IntegerNetwork(
        "counter", (2, 1, 1), (output,), 8, input=SPIKES, class_names=("left", "right")
    )


def test_run_on_spike_trains(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counter_of_spikes().save("counter.npz")
    trains = np.zeros((3, 5, 2, 1, 1), bool)
    trains[0, 0, 0] = trains[1, :, 1] = trains[2, :2, 0] = trains[2, 3, 1] = True
    np.savez("trains.npz", trains=trains)
    arguments = ["--model", "counter.npz", "--data", "trains.npz", "--split", "all"]
    arguments += ["--device", "golden:"]
    found = run_json(*arguments, "--tau", "0", "--T", "5")
    assert [entry["class"] for entry in found] == ["left", "right", "left"]
    assert [entry["best"][0]["logit"] for entry in found] == [1, 5, 2]
    assert main(["run", *arguments]) == 1
    assert capsys.readouterr().err.endswith(
        "residuum: the spike trains of trains.npz have 5 steps, but tau + T is 8; say how many of "
        "them are probe (--tau) and inference (--T)\n"
    )


def test_spike_trains_are_no_pictures(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counter_of_spikes().save("counter.npz")
    assert main(["run", "--model", "counter.npz", "a.png", "--device", "golden:"]) == 1
    assert capsys.readouterr().err == (
        "residuum: network 'counter' reads spike trains, not pictures\n"
    )


@pytest.mark.parametrize("device", ["sim:", "golden:"])
def test_a_network_in_radix_code(in_tmp: Path, device: str) -> None:
    """One grey pixel, on the simulated engine and on the golden model."""
    rows = np.array([1, -1]).reshape(2, 1, 1, 1)
    hidden = Layer("hidden", (Source(rows),), np.array([0, 255]), np.array([1, 1]), 0, bits=8)
    output = Layer(
        "output", (Source(np.eye(2, dtype=int).reshape(2, 2, 1, 1), 0),), [0, 0], None, 0
    )
    IntegerNetwork(
        "dark", (1, 1, 1), (hidden, output), 8, "radix", class_names=("light", "dark"),
        logit_scale=np.log(2) / 51,
    ).save("dark.npz")  # fmt: skip
    Image.new("L", (9, 5), 153).save("a.png")
    (entry,) = run_json("--model", "dark.npz", "a.png", "--device", device)
    assert [best["logit"] for best in entry["best"]] == [153, 102]
    assert [best["confidence"] for best in entry["best"]] == pytest.approx([2 / 3, 1 / 3], abs=1e-6)
