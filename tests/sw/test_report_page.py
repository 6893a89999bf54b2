"""The page of a run: its content, and its layout in a real browser."""

import dataclasses
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from residuum.cli import main
from residuum.hw.isa.config import EngineConfig
from residuum.hw.isa.host_map import Counter
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network, grow_to_fit
from residuum.sw.data.data_sets import load_held_out
from residuum.sw.golden.golden_model import simulate
from residuum.sw.golden.reference import from_integers
from residuum.sw.look.page import (
    Cycles,
    board_reports,
    picture_uri,
    predict_cycles,
    render,
    run_golden,
)
from residuum.sw.network.corrections import CARRY, MASK
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.folders import work_in
from tests.sw.networks import random_graph, random_images, random_input, random_network

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
BOARD = {
    "board": "ulx3s-12f",
    "device": "LFE5U-12F",
    "lanes": 16,
    "target_mhz": 150.0,
    "fmax_mhz": 158.4,
    "met": True,
    "lut": 10_936,
    "ff": 15_405,
    "ebr": 33,
}
TIMING = {
    "board": "ulx3s",
    "lanes": 64,
    "fmax_min_mhz": 152.0,
    "fmax_median_mhz": 153.5,
    "lut": 35_428,
}


def page_of(network: IntegerNetwork, images: np.ndarray, labels: np.ndarray, **more: object) -> str:
    """A page with all sections, for tau 4 and T 4."""
    config = grow_to_fit(network, EngineConfig.for_lanes(16))
    program = compile_network(network, config, tau=4, T=4)
    reference = from_integers(network, 4, "its integers", own=True)
    activity = run_golden(network, reference, images, labels, tau=4, T=4)
    cycles = predict_cycles(program, images[:2], tau=4, T=4)
    given = {"program": program, "cycles": cycles, "boards": [BOARD], "timing": [TIMING], **more}
    content = render(
        network,
        command="residuum report",
        tau=4,
        T=4,
        images=images,
        activity=activity,
        reference=reference,
        **given,  # type: ignore[arg-type]
    )
    return content.decode()


@pytest.fixture(scope="module")
def digits_page() -> str:
    """A page with two wrong labels, so that there are misclassified images to show."""
    images, labels = load_held_out("digits")
    labels = labels[:40].copy()
    labels[[3, 8]] = (labels[[3, 8]] + 1) % 10
    return page_of(load_network("digits"), images[:40], labels)


def browse(page: str, folder: Path, *, dark: bool = False) -> dict:
    """The page's layout in a browser, 400 and 1200 pixels wide, and the browser's messages."""
    frames = "".join(
        f'<iframe id="w{width}" width="{width}" height="900" style="border:0" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for width in (400, 1200)
    )
    script = """
    addEventListener("load", () => {
      const result = {};
      for (const frame of document.querySelectorAll("iframe")) {
        const page = frame.contentDocument, root = page.documentElement;
        const box = (node) => {
          const r = node.getBoundingClientRect();
          return [r.left, r.right, r.width, r.height];
        };
        result[frame.width] = {
          width: root.scrollWidth, inner: frame.contentWindow.innerWidth,
          charts: [...page.querySelectorAll("svg.chart")].map(box),
          bars: [...page.querySelectorAll(".row svg rect")].map(box),
          maps: [...page.querySelectorAll(".map > svg > rect")].map(box),
          images: [...page.images].map((image) => image.naturalWidth),
          background: page.defaultView.getComputedStyle(page.body).backgroundColor,
        };
      }
      document.getElementById("result").textContent = JSON.stringify(result);
    });
    """
    harness = folder / "harness.html"
    harness.write_text(
        f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><pre id="result">'
        f"</pre><script>{script}</script>{frames}"
    )
    assert BROWSER is not None
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000"),
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            *("--dump-dom", harness.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.S)
    assert found is not None, done.stderr[-2000:]
    assert found[1], "the script of the harness did not end"
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {"messages": messages, **json.loads(html.unescape(found[1]))}


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_lays_it_out(dark: bool, digits_page: str, tmp_path: Path) -> None:
    found = browse(digits_page, tmp_path, dark=dark)
    assert found["messages"] == []
    for width in ("400", "1200"):
        page = found[width]
        assert page["inner"] == int(width)
        assert page["width"] <= int(width), "wider than the screen"
        assert len(page["charts"]) == 5 + 1 + 2 + 3
        for left, right, chart_width, height in page["charts"]:
            assert chart_width > 0.8 * min(int(width), 1000)
            assert height > 10
            assert 0 <= left < right <= int(width)
        for left, right, bar_width, height in page["bars"] + page["maps"]:
            assert height > 0
            assert bar_width >= 0
            assert right <= int(width)
            assert left >= 0
        assert sum(bar[2] > 3 for bar in page["bars"]) > 12
        assert page["images"] == [8, 8]
        assert page["background"] == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_the_browser_test_can_fail(digits_page: str, tmp_path: Path) -> None:
    broken = digits_page.replace(
        "</main>", '<div style="width:2000px">wide</div><script>nothing.here()</script></main>'
    ).replace(".row svg { display: block;", ".row svg { display: none;")
    found = browse(broken, tmp_path)
    assert any("nothing is not defined" in message for message in found["messages"])
    assert found["400"]["width"] > 400
    assert min(chart[2] for chart in found["400"]["charts"]) == 0


def test_page_needs_nothing_else(digits_page: str) -> None:
    assert "<script" not in digits_page
    assert "@import" not in digits_page
    addresses = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', digits_page)
    assert all((a or b).startswith("data:") for a, b in addresses)


def test_page_says_what_was_found(digits_page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", digits_page))
    assert "95.00 % of 40 images right" in text
    assert "809 of 2,048" in text
    assert "ulx3s-12f LFE5U-12F 16 150.0 MHz 158.4 MHz 10,936 15,405 33" in text
    assert "ulx3s 64 152.0 MHz 153.5 MHz 35,428" in text
    assert "image 3: is 8, read as 7" in text
    assert "image 8: is" in text


def test_sums_are_those_of_the_golden_model() -> None:
    network = load_network("digits", 4)
    images, labels = load_held_out("digits")
    reference = from_integers(network, 4, "", own=True)
    found = run_golden(network, reference, images, labels, tau=4, T=4)
    trace = simulate(network, images, tau=4, T=4)
    wrong = np.flatnonzero(trace.prediction != labels)
    assert [number for number, *_ in found.wrong] == wrong.tolist()
    assert found.right == len(labels) - len(wrong)
    assert found.confusion.sum() == found.images == len(labels)
    assert found.silenced == [int(layer.silenced.sum()) for layer in trace.layers]
    assert found.spikes == [int(layer.trains.sum()) for layer in trace.layers]


def test_predicted_cycles_are_a_mean() -> None:
    network = load_network("digits")
    images, _ = load_held_out("digits")
    program = compile_network(network, EngineConfig(), tau=4, T=4)
    trace = simulate(network, images[:3], tau=4, T=4)
    singles = [predict(program, images[i], trace, i) for i in range(3)]
    found = predict_cycles(program, images[:3], tau=4, T=4)
    np.testing.assert_allclose(found.counters, np.mean(singles, axis=0))
    assert found.predicted == pytest.approx(found.counters[:, Counter.CYCLES].sum())


def test_a_mismatch_is_on_the_page(digits_page: str) -> None:
    counters = np.ones((3, 8))
    run = Cycles(counters, 2, True, 3.0, mismatches=7, first="layer 'conv1', image 0: the spike")
    images, labels = load_held_out("digits")
    page = page_of(load_network("digits"), images[:4], labels[:4], cycles=run)
    assert "<strong>7 values of the simulated engine differ from the golden model</strong>" in page
    assert "layer &#39;conv1&#39;, image 0: the spike" in page
    assert "values of the simulated engine differ" not in digits_page


@pytest.mark.parametrize("seed", range(4))
def test_any_network_gets_a_page(seed: int) -> None:
    network = random_network(seed)
    images = random_images(seed, network, 3)
    reference = from_integers(network, 4, "", own=True)
    labels = np.zeros(3, np.int64)
    activity = run_golden(network, reference, images, labels, tau=2, T=2)
    page = render(
        network,
        command="",
        tau=2,
        T=2,
        program=None,
        no_program="it is too <large>",
        images=images,
        activity=activity,
        reference=reference,
    ).decode()
    assert "it is too &lt;large&gt;" in page
    assert "residuum bitstream BOARD" in page
    assert "residuum timing" in page


@pytest.mark.parametrize(
    ("seed", "code", "kind"), [(0, "radix", "image"), (1, "rate", "image"), (2, "rate", "spikes")]
)
def test_any_graph_gets_a_page(seed: int, code: str, kind: str) -> None:
    """With both sources of a layer in one row, and names of its own for the classes."""
    network = random_graph(seed, code, kind)
    names = tuple(f"kind {number}" for number in range(network.classes))
    network = dataclasses.replace(network, class_names=names)
    stages = {"tau": 0, "T": 1 if code == "radix" else 2}
    images = random_input(seed, network, 3, sum(stages.values()))
    reference = from_integers(network, 4, "", own=True)
    labels = np.zeros(3, np.int64)
    activity = run_golden(network, reference, images, labels, **stages)
    page = render(
        network,
        command="",
        **stages,
        program=None,
        no_program="no engine runs it",
        images=images,
        activity=activity,
        reference=reference,
    ).decode()
    assert ("numbers, golden model" in page) == ("radix code" in page) == (code == "radix")
    assert "silenced" not in page
    assert "kind 0" in page
    assert "no engine runs it" in page
    assert len(re.findall(" \\+ ", page.split("</tbody>")[0])) >= 4


@pytest.mark.parametrize("correction", [MASK, CARRY])
def test_the_page_of_a_run_with_a_probe_names_the_correction(correction: str) -> None:
    """Only mask silences neurons; carry has bounds for all steps."""
    network = random_graph(1, "rate", "image")
    stages = {"tau": 3, "T": 2, "correction": correction}
    images, labels = random_input(1, network, 3, 5), np.zeros(3, np.int64)
    reference = from_integers(network, 4, "", own=True)
    activity = run_golden(network, reference, images, labels, **stages)
    assert activity.fired == [
        int(layer.trains.any(axis=1).sum()) for layer in simulate(network, images, **stages).layers
    ]
    page = render(
        network,
        command="",
        **stages,
        program=None,
        no_program="it is a test",
        images=images,
        activity=activity,
        reference=reference,
    ).decode()
    assert f"T = 2 inference steps, correction {correction}" in page
    assert ("silenced" in page) == (correction == MASK)
    assert f"for {5 if correction == CARRY else 3} steps" in page


def test_classes_are_named() -> None:
    """Captions and the confusion matrix have the class names of the data set."""
    network = load_network("fashion")
    images, labels = random_images(0, network, 3), np.array([9, 9, 9])
    page = page_of(network, images, labels)
    assert "is boot, read as " in page
    for name in ("T-shirt", "boot"):
        assert f'<span class="tall">{name}</span>' in page
        assert f"<tr><th>{name}<td" in page


def test_every_table_is_in_a_box_that_scrolls(digits_page: str) -> None:
    assert digits_page.count("<table") > 5
    assert len(re.findall(r'<div class="scroll" tabindex="0">\s*<table', digits_page)) == (
        digits_page.count("<table")
    )


def test_no_bar_has_the_colour_of_the_image(digits_page: str) -> None:
    """All layers use feature rows, so their bar must not have the image's grey."""
    assert "feature rows" in digits_page
    assert not [bar for bar in re.findall(r'<rect x="[^"]*%"[^>]*>', digits_page) if "--s7" in bar]


def test_names_cannot_break_the_page() -> None:
    network = dataclasses.replace(random_network(1), name="<script>alert(1)</script>")
    page = render(network, command="", tau=1, T=1, program=None).decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_pictures_are_png() -> None:
    for channels in (1, 2, 3):
        uri = picture_uri(np.full((channels, 2, 5), 100, np.uint8))
        assert uri.startswith("data:image/png;base64,iVBORw0KGgo")


def test_board_reports_that_are_there(tmp_path: Path) -> None:
    assert board_reports(tmp_path) == ([], [])
    for name, content in (
        ("ulx3s-12f", json.dumps(BOARD)),
        ("sim", json.dumps({"model": "digits"})),
        ("torn", '{"board": "ulx'),
        ("half", json.dumps({key: BOARD[key] for key in ("board", "fmax_mhz", "lut", "met")})),
        ("words", json.dumps({**BOARD, "lut": "many"})),
        ("timing", json.dumps([TIMING, {"board": "half"}, {**TIMING, "fmax_min_mhz": None}, 3])),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(content)
    assert board_reports(tmp_path) == ([BOARD], [TIMING])


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A committed network, a file, and a file that does not name its data set."""
    work_in(tmp_path, monkeypatch)
    assert main(["report", "--images", "12", "--bits", "4"]) == 0
    assert capsys.readouterr().out == "written: build/report/digits-4bit.html\n"
    page = (tmp_path / "build/report/digits-4bit.html").read_text()
    assert "residuum report digits --bits 4 --tau 4 --T 4 --images 12 --lanes 16" in page
    assert str(tmp_path) not in page

    network = load_network("digits")
    dataclasses.replace(network, metadata={}).save(tmp_path / "in" / "mine.npz")
    assert main(["report", "in/mine.npz", "--out", "mine.html"]) == 0
    assert "does not say which data set" in (tmp_path / "mine.html").read_text()


def test_mistakes_get_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("")
    for arguments, sentence in (
        (["none"], "there is no network 'none'"),
        (["digits", "--images", "361"], "361 images are wanted, but digits has 360"),
        (["digits", "--lanes", "1025"], "this engine cannot be built: lanes must be in 1..1024"),
        (
            ["digits", "--images", "1", "--out", "file/x.html"],
            "file cannot be written: a file",
        ),
        (["digits", "--images", "1", "--out", "."], ". cannot be written: "),
    ):
        assert main(["report", *arguments]) == 1
        error = capsys.readouterr().err.splitlines()
        assert error[-1].startswith(f"residuum: {sentence}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "file"]
