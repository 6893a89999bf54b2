"""The page of `residuum demo` in a browser."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from residuum.demo.drawing import MNIST, SIDE, Drawing
from residuum.demo.request import decoded
from residuum.sw.data.images import load_images
from residuum.sw.network.library import load_network
from tests.residuum.browser import NAMES, Tab, browser, installed
from tests.residuum.demo_server import Site, serving

pytestmark = pytest.mark.skipif(
    installed() is None, reason=f"no browser is installed, none of {', '.join(NAMES)}"
)

# Corners of a seven, as shares of the drawing area.
SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.42, 0.85)]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving("mnist") as running:
        yield running


@pytest.fixture(scope="module")
def new_tab() -> Iterator[Callable[[], Tab]]:
    program = installed()
    assert program is not None
    with browser(program) as opened:
        yield opened


@pytest.fixture
def tab(new_tab: Callable[[], Tab]) -> Iterator[Tab]:
    """A tab, whose page must not report a fault."""
    found = new_tab()
    found.screen(1280, 900)
    yield found
    assert found.faults == []


def line(corners: list[tuple[float, float]], parts: int = 12) -> list[tuple[float, float]]:
    """Points on the way from corner to corner, as a mouse gives them."""
    points = [corners[0]]
    for (x, y), (u, v) in zip(corners, corners[1:], strict=False):
        points += [(x + (u - x) * i / parts, y + (v - y) * i / parts) for i in range(1, parts + 1)]
    return points


def draw(tab: Tab, corners: list[tuple[float, float]]) -> None:
    tab.drag("#pad", line(corners))
    tab.settled()


def address(tab: Tab) -> str:
    return str(tab.js("location.href"))


def state(tab: Tab) -> dict[str, str]:
    """The fields of the address."""
    found: dict[str, str] = tab.js(
        "Object.fromEntries(new URLSearchParams(location.hash.slice(1)))"
    )
    return found


@pytest.mark.parametrize("network", ["mnist", "digits", "mnist-radix"])
def test_a_drawn_seven_is_a_seven(tab, site, network):
    tab.open(f"{site.address}#network={network}")
    draw(tab, SEVEN)
    assert tab.text("#class") == "7"
    # The example has made room for it.
    assert len(Drawing.parse(decoded(state(tab)["strokes"])).strokes) == 1


def test_two_strokes_undo_and_clear(tab, site):
    tab.open(site.address)
    draw(tab, [(0.5, 0.15), (0.5, 0.85)])
    assert tab.text("#class") == "1"
    draw(tab, [(0.2, 0.5), (0.8, 0.5)])
    assert len(Drawing.parse(decoded(state(tab)["strokes"])).strokes) == 2
    tab.click("#undo")
    tab.settled()
    assert tab.text("#class") == "1"
    tab.click("#clear")
    tab.settled()
    assert state(tab)["strokes"] == ""


def test_a_digit_drawn_with_the_keys(tab, site):
    tab.open(site.address)
    tab.click("#clear")
    tab.js("document.querySelector('#pad').focus()")
    for _ in range(8):
        tab.key("ArrowUp")
    tab.key(" ", " ")
    for _ in range(16):
        tab.key("ArrowDown")
    tab.key(" ", " ")
    tab.settled()
    assert tab.text("#class") == "1"


def test_the_tab_key_reaches_every_control(tab, site):
    tab.open(f"{site.address}#test=0" if has_images(site) else site.address)
    seen = set()
    for _ in range(60):
        tab.send("Input.dispatchKeyEvent", type="keyDown", key="Tab", windowsVirtualKeyCode=9)
        tab.send("Input.dispatchKeyEvent", type="keyUp", key="Tab", windowsVirtualKeyCode=9)
        seen.add(tab.js("document.activeElement.id"))
    assert {"share", "network", "bits", "tau", "T", "correction", "board", "play"} <= seen


def has_images(site: Site) -> bool:
    """Whether the test images of the first network are on this computer."""
    return bool(site.get("/api/networks").json["networks"][0]["test"]["count"])


def test_a_link_shows_the_same_again(tab, new_tab, site):
    tab.open(f"{site.address}#network=mnist&bits=4&tau=3&T=5&correction=carry&board=ecpix5-45")
    draw(tab, SEVEN)
    other = new_tab()
    other.open(address(tab))
    assert state(other) == state(tab)
    assert {"bits": "4", "tau": "3", "T": "5", "correction": "carry"}.items() <= state(tab).items()
    for selector in ("#class", "#logits", "#facts", "#cycles", "#runs .setting"):
        assert other.text(selector) == tab.text(selector)
    assert "ecpix5-45" in other.text("#facts")
    assert other.js("document.querySelector('#seen').src") == tab.js(
        "document.querySelector('#seen').src"
    )


def test_test_images_by_number(tab, site):
    labels = load_images("digits").need_labels("the test")
    tab.open(f"{site.address}#network=digits&test=3")
    assert tab.text("#class") == str(labels[3])
    assert tab.text("#right").startswith("✓ right")
    tab.click("#next")
    tab.settled()
    assert (state(tab)["test"], tab.text("#class")) == ("4", str(labels[4]))
    for _ in range(5):
        tab.click("#previous")
        tab.settled()
    # Before the first comes the last.
    assert state(tab)["test"] == str(len(labels) - 1)


def test_a_picture_file_and_its_link(tab, new_tab, site, tmp_path):
    path = tmp_path / "seven.png"
    stroke = tuple((x * SIDE, y * SIDE) for x, y in SEVEN)
    pixels = Drawing((stroke,)).image((1, 112, 112), MNIST)[0]
    Image.fromarray(255 - pixels).convert("RGB").save(path)
    tab.open(site.address)
    tab.click("#invert")
    tab.upload("#file", path)
    tab.wait("location.hash.includes('picture=')")
    tab.settled()
    assert tab.text("#class") == "7"
    other = new_tab()
    other.open(address(tab))
    assert (other.text("#class"), other.text("#logits")) == ("7", tab.text("#logits"))
    # The same file, for a network of another size.
    before = state(tab)["picture"]
    tab.choose("#network", "digits")
    tab.wait(f"!location.hash.includes({before[:200]!r})")
    tab.settled()
    assert Image.open(io.BytesIO(decoded(state(tab)["picture"]))).size == (8, 8)


def test_a_wrong_file_gets_a_sentence(tab, site, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    tab.open(site.address)
    tab.upload("#file", tmp_path / "a.png")
    tab.wait("!document.querySelector('#problem').hidden")
    assert tab.text("#problem") == ("The file is no picture of a known format, or it is damaged.")
    # The browser reports the refusal of the server.
    assert all("400 (Bad Request)" in fault for fault in tab.faults)
    tab.faults.clear()
    tab.click("#tab-draw")
    draw(tab, SEVEN)
    assert tab.js("document.querySelector('#problem').hidden")


def test_settings_change_the_run(tab, site):
    tab.open(f"{site.address}#network=digits&test=0")
    assert tab.js("document.querySelectorAll('#steps button').length") == 1 + 8
    spikes = tab.text("#facts b")
    for selector, value, event in (("#tau", 2, "input"), ("#T", 7, "input")):
        tab.choose(selector, value, event)
        tab.settled()
    assert tab.js("document.querySelectorAll('#steps button').length") == 1 + 9
    assert tab.text("#facts b") != spikes
    assert "digits, 8 bit, τ 2, T 7, mask" in tab.text("#runs button")
    # The cycle model runs on an engine of 8 steps.
    assert "tau + T at most 8" in tab.text("#cycles")
    tab.faults.clear()
    tab.choose("#network", "mnist-radix")
    tab.wait("document.querySelector('#runs .setting').textContent.includes('radix')")
    tab.settled()
    assert tab.js("[...document.querySelectorAll('#steps button')].map(b => b.textContent)") == [
        *("Sum", "8", "4", "2", "1")
    ]
    # The first run is still there.
    tab.js("[...document.querySelectorAll('#runs button')].at(-1).click()")
    tab.wait("location.hash.includes('tau=4')")
    tab.settled()
    assert tab.text("#facts b") == spikes


def test_drawing_on_and_on_does_not_exhaust_the_address(tab, site):
    """Browsers refuse to change the address of a page too often."""
    tab.open(site.address)
    tab.js(
        "window.changes = 0; const replace = history.replaceState.bind(history);"
        " history.replaceState = (...given) => { changes += 1; replace(...given); }"
    )
    start = time.monotonic()
    draw(tab, [(0.2, 0.2), (0.8, 0.2), (0.2, 0.4), (0.8, 0.6), (0.2, 0.8), (0.8, 0.8)] * 3)
    assert 1 <= tab.js("changes") <= 1 + (time.monotonic() - start) / 0.4
    assert len(state(tab)["strokes"]) > 100


def test_steps_show_their_spikes(tab, site):
    """The blue pixels of a map are the spikes of the step."""
    tab.open(f"{site.address}#network=digits&test=3&tau=2&T=3&correction=carry")
    body = {"network": "digits", "bits": 8, "tau": 2, "T": 3, "correction": "carry", "test": 3}
    found = site.post("/api/run", body).json
    for step in range(5):
        tab.click(f"#steps [data-step='{step}']")
        for number, layer in enumerate(found["layers"]):
            assert blue_pixels(tab, number) == layer["spikes_by_step"][step]
    first = [x["spikes_by_step"] for x in found["layers"]]
    assert sum(map(sum, first)) == int(tab.text("#facts b").replace(",", ""))


def blue_pixels(tab: Tab, layer: int) -> int:
    return int(
        tab.js(
            "((canvas) => { const data = canvas.getContext('2d').getImageData(0, 0, canvas.width,"
            " canvas.height).data; let count = 0; for (let i = 0; i < data.length; i += 4)"
            " count += data[i] === 0 && data[i + 1] === 0x72 && data[i + 2] === 0xb2;"
            f" return count; }})(document.querySelectorAll('.layer canvas')[{layer}])"
        )
    )


def test_play_goes_through_the_steps_to_the_end(tab, site):
    tab.open(f"{site.address}#network=digits&test=3&tau=1&T=2")
    pressed = "document.querySelector('#steps [aria-pressed=true]').dataset.step"
    tab.click("#play")
    for step in ("0", "1", "2", "all"):
        tab.wait(f"{pressed} === '{step}'")
    assert tab.text("#play") == "Play"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("network", ["mnist", "cifar10", "resnet20-radix"])
def test_nothing_is_wider_than_a_phone(tab, site, network, dark):
    tab.screen(390, 844, dark=dark)
    tab.open(f"{site.address}#network={network}&bits=4&strokes=Ai8vv78")
    assert tab.js("document.documentElement.scrollWidth") == 390
    wide = (
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 390"
        " && !e.closest('#steps')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert tab.js(wide) == []
    background = tab.js("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(15, 19, 24)" if dark else "rgb(244, 246, 248)")


def test_every_picture_has_a_text(tab, site):
    tab.open(f"{site.address}#network=digits&test=3")
    unnamed = "[...document.querySelectorAll('canvas, #seen')].filter(e => !(e.ariaLabel || e.alt))"
    assert tab.js(f"{unnamed}.length") == 0
    assert tab.js("document.querySelector('.layer canvas').ariaLabel").startswith(
        "Spikes of layer conv1, whole run: "
    )


def test_names_of_a_network_are_text_and_no_html(tab, tmp_path: Path):
    path = tmp_path / "evil.npz"
    names = tuple(f"<img src=x onerror=alert({i})>" for i in range(10))
    replace(load_network("digits"), class_names=names).save(path)
    with serving(str(path)) as site:
        tab.open(f"{site.address}#test=3")
        assert tab.text("#class").startswith("<img src=x")
        assert tab.js("document.querySelectorAll('#results img[src=x], #class img').length") == 0


@pytest.mark.parametrize(
    ("fragment", "sentence"),
    [
        ("network=nets", "This server has no network nets."),
        ("strokes=Bg", "The drawing in the link is damaged."),
        ("strokes=%25", "The drawing in the link is damaged."),
    ],
)
def test_wrong_links(tab, site, fragment, sentence):
    tab.open(f"{site.address}#{fragment}")
    assert tab.text("#said") == sentence
    assert tab.text("#class") != ""


def test_a_damaged_picture_in_a_link(tab, site):
    tab.open(f"{site.address}#picture=AAAA")
    assert tab.text("#problem").startswith("The picture in the link is no picture of ")
    tab.faults.clear()


def test_a_server_that_has_ended(tab):
    with serving("digits") as site:
        tab.open(f"{site.address}#test=0")
    tab.click("#next")
    tab.settled()
    assert tab.text("#problem") == (
        "The server of this page does not answer; start `residuum demo` again."
    )
    tab.faults.clear()
