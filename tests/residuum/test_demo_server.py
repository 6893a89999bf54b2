"""The server of `residuum demo`: what it computes, what it refuses, and who may ask."""

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.api import open_device
from residuum.cli import main
from residuum.demo.drawing import MNIST, Drawing, style_for
from residuum.demo.engines import by_size, engine_for
from residuum.demo.networks import offers
from residuum.demo.pictures import MOST_PIXELS, png, prepare
from residuum.demo.runs import OnDevice
from residuum.demo.server import MOST_JSON, MOST_PICTURE, bound
from residuum.sw.compiler.cycles import predict
from residuum.sw.compiler.program import compile_network
from residuum.sw.data.images import load_images
from residuum.sw.errors import ResiduumError
from residuum.sw.golden.golden_model import simulate
from residuum.sw.host.device import Device
from residuum.sw.network.graph import Preprocessing
from residuum.sw.network.integer_network import IntegerNetwork
from residuum.sw.network.library import load_network
from tests.residuum.demo_server import FILE, Site, serving
from tests.sw.fake_device import FakeLink
from tests.sw.networks import random_network

# A seven, of two strokes: the number of points, then x and y of each.
SEVEN = bytes([3, 60, 50, 190, 50, 110, 220, 2, 90, 135, 175, 135])
DRAWN = {"strokes": base64.b64encode(SEVEN).decode()}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving("digits") as running:
        yield running


def wanted(**changes: object) -> dict[str, object]:
    """The fourth test image of the digits; a value of None leaves a field out."""
    fields = {"network": "digits", "bits": 8, "tau": 4, "T": 4, "correction": "mask", "test": 3}
    return {name: value for name, value in (fields | changes).items() if value is not None}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bits(found: str, shape: tuple[int, ...]) -> np.ndarray:
    """The bits of a base64 text, without `numpy.packbits`."""
    data = base64.b64decode(found)
    count = int(np.prod(shape))
    return np.array([data[i // 8] >> i % 8 & 1 for i in range(count)], bool).reshape(shape)


def picture(size: tuple[int, int] = (8, 8), mode: str = "L", kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(content, kind)
    return content.getvalue()


# -------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize(
    ("tau", "T", "correction"), [(4, 4, "mask"), (2, 6, "carry"), (3, 5, "offset"), (0, 5, None)]
)
def test_a_run_has_the_spikes_of_the_golden_model(site, tau, T, correction):
    network = load_network("digits")
    images = load_images("digits", network)
    golden = simulate(network, images.images[3:4], tau=tau, T=T, correction=correction)
    found = site.post("/api/run", wanted(tau=tau, T=T, correction=correction)).json
    assert found["class"] == golden.prediction[0]
    assert found["logits"] == golden.logits[0].tolist()
    assert found["label"] == images.labels[3]
    assert [layer["name"] for layer in found["layers"]] == [x.name for x in network.layers[:-1]]
    for layer, trace in zip(found["layers"], golden.layers, strict=True):
        spikes = bits(layer["spikes"], trace.trains.shape[1:])
        assert (spikes == trace.trains[0]).all()
        assert layer["spikes_by_step"] == [int(spikes[step].sum()) for step in range(tau + T)]
        silenced = layer["silenced"] and bits(layer["silenced"], trace.silenced.shape[1:])
        assert np.all((False if silenced is None else silenced) == trace.silenced[0])
        assert layer["silenced_neurons"] == trace.silenced.sum()


@pytest.mark.parametrize(("tau", "correction"), [(3, "mask"), (2, "carry"), (0, None)])
def test_logits_by_step_are_those_of_shorter_runs(site, tau, correction):
    """A run of t inference steps is the start of a longer one."""
    network = load_network("digits")
    image = load_images("digits", network).images[3:4]
    found = site.post("/api/run", wanted(tau=tau, T=4, correction=correction)).json
    shorter = [
        simulate(network, image, tau=tau, T=t, correction=correction).logits[0].tolist()
        for t in (1, 2, 3, 4)
    ]
    assert found["logits_by_step"] == shorter


def test_a_network_in_radix_code(site):
    network = load_network("mnist-radix", 4)
    body = wanted(network="mnist-radix", bits=4, tau=0, T=1, correction=None, test=None)
    found = site.post("/api/run", body | {"strokes": text(SEVEN)}).json
    image = Drawing.parse(SEVEN).image((1, 28, 28), MNIST)
    golden = simulate(network, image[None], tau=0, T=1)
    assert (found["class"], found["logits_by_step"]) == (7, None)
    assert [layer["worth"] for layer in found["layers"]] == [[1, 2, 4, 8]] * 4
    for layer, trace in zip(found["layers"], golden.layers, strict=True):
        assert (bits(layer["spikes"], trace.trains.shape[1:]) == trace.trains[0]).all()


def test_cycles_are_those_of_the_board_at_its_clock(site):
    network = load_network("digits")
    image = load_images("digits", network).images[3:4]
    found = site.post("/api/cycles", wanted(board="orangecrab-25f")).json
    engine = engine_for(network, "orangecrab-25f", tau=4, T=4, correction="mask")
    program = compile_network(network, engine.program.config, tau=4, T=4)
    counters = predict(program, image[0], simulate(network, image, tau=4, T=4), 0)
    assert found["cycles"] == counters[:, 7].sum() == sum(x["cycles"] for x in found["layers"])
    assert found["clock_hz"] == pytest.approx(125e6, rel=0.02)
    assert found["microseconds"] == pytest.approx(found["cycles"] / found["clock_hz"] * 1e6)
    assert (found["where"], found["measured"]) == ("orangecrab-25f, preset 25f", False)


def test_the_smallest_board_is_chosen():
    sizes = [board.preset for board in by_size()]
    assert sizes == sorted(sizes)
    assert engine_for(
        load_network("digits"), "smallest", tau=4, T=4, correction="mask"
    ).board.endswith("12f")
    large = engine_for(load_network("cifar10", 4), "smallest", tau=4, T=4, correction="mask")
    assert (large.preset, large.clock_hz) == ("85f-4bit", 130e6)


def test_a_network_that_no_board_holds_is_refused_in_a_sentence():
    with pytest.raises(ResiduumError, match=r"^no board runs cifar10 with 8-bit weights: layer .*"):
        engine_for(load_network("cifar10"), "smallest", tau=4, T=4, correction="mask")


def test_other_weights_that_fit_are_named(site):
    body = wanted(network="cifar10", test=None, board="smallest") | DRAWN
    status, sentence = site.post("/api/cycles", body).error
    assert status == 400
    assert sentence.startswith("no board runs cifar10 with 8-bit weights: layer ")
    assert sentence.endswith("; with 4-bit weights it runs on ulx3s")


def test_the_offers_name_every_network(site):
    found = site.get("/api/networks").json
    names = [each["name"] for each in found["networks"]]
    assert names[0] == "digits"
    assert {"mnist", "fashion", "cifar10", "resnet20-radix"} < set(names)
    assert found["networks"][0]["test"] == {"count": 360}
    assert found["runner"] == {"golden": True, "name": "golden model"}


def test_missing_test_images_are_named_and_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv("RESIDUUM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with serving("mnist") as site:
        (mnist,) = (x for x in site.get("/api/networks").json["networks"] if x["name"] == "mnist")
        status, sentence = site.post("/api/run", wanted(network="mnist")).error
    assert mnist["test"] == {"count": 0, "missing": sentence}
    assert (status, sentence) == (
        404,
        "the test images of mnist are not on this computer; the command 'residuum eval mnist' "
        "downloads them once",
    )
    assert list(tmp_path.iterdir()) == []


def test_an_own_network_with_own_pictures(tmp_path):
    network = load_network("digits")
    path = tmp_path / "mine-8bit.npz"
    replace(network, class_names=tuple("abcdefghij"), metadata={}).save(path)
    np.savez(tmp_path / "mine.npz", images=load_images("digits").images[:50])
    offered = offers(str(path), data=str(tmp_path / "mine.npz"))
    first = next(iter(offered.values())).described()
    assert (first["name"], first["bits"]) == ("mine-8bit", (8,))
    assert first["classes"] == list("abcdefghij")
    assert first["test"]["count"] == len(load_images(str(tmp_path / "mine.npz"), network).images)
    assert (
        "does not say which data set"
        in offers(str(path))["mine-8bit"].described()["test"]["missing"]
    )


# ------------------------------------------------------------------------------ drawings, pictures


def test_a_drawn_seven_is_a_seven_wherever_and_however_large_it_is(site):
    small = bytes([3, 20, 30, 60, 30, 35, 90])
    for network in ("digits", "mnist"):
        body = wanted(network=network, test=None)
        found = [site.post("/api/run", body | {"strokes": text(x)}).json for x in (SEVEN, small)]
        assert [each["class"] for each in found] == [7, 7]


def test_a_drawing_is_centred_by_mass_as_in_mnist():
    image = Drawing.parse(bytes([2, 30, 10, 30, 60])).image((1, 28, 28), MNIST)[0]
    rows, columns = np.nonzero(image > 64)
    centre = [float((axis * image).sum() / image.sum()) for axis in np.indices(image.shape)]
    assert centre == pytest.approx([13.5, 13.5], abs=0.1)
    assert rows.max() - rows.min() + 1 == 20
    assert 2 <= columns.max() - columns.min() + 1 <= 4


def test_drawings_of_nothing_and_of_a_dot():
    style = style_for("digits", tuple("0123456789"))
    assert Drawing.parse(b"").image((3, 8, 8), style).tolist() == np.zeros((3, 8, 8)).tolist()
    dot = Drawing.parse(bytes([1, 0, 0])).image((1, 8, 8), style)
    # Its centre is the corner of four pixels.
    assert (dot > 50).sum() == 4


@pytest.mark.parametrize("damaged", [b"\x02\x01\x01", b"\x00", b"\x01"])
def test_a_damaged_drawing(site, damaged):
    reply = site.post("/api/run", wanted(test=None, strokes=text(damaged)))
    assert reply.error == (400, "the drawing in the link is damaged")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("model", ["digits", "cifar10"])
def test_a_picture_is_prepared_as_by_the_commands(site, tmp_path, kind, model):
    data = picture((50, 30), "RGB", kind)
    (tmp_path / "a").write_bytes(data)
    network = load_network(model)
    expected = load_images_of(tmp_path / "a", model)
    reply = site.post(f"/api/picture?network={model}&bits=8", data).json
    body = wanted(network=model, test=None, picture=reply["picture"])
    found = site.post("/api/run", body).json
    assert (prepare(base64.b64decode(reply["picture"]), network, ready=True) == expected).all()
    assert found["logits"] == simulate(network, expected[None], tau=4, T=4).logits[0].tolist()
    assert found["image"] == reply["picture"]


def load_images_of(path: Path, model: str) -> np.ndarray:
    """As `residuum run` reads a file."""
    from residuum.sw.data.images import load_files

    image: np.ndarray = load_files([str(path)], load_network(model)).images[0]
    return image


def test_a_prepared_picture_is_not_cut_again():
    """Of a network that scales a picture to 12 x 12 and takes 8 x 8 of it."""
    network = replace(
        load_network("digits"), preprocessing=Preprocessing(size=(12, 12), crop=(8, 8))
    )
    image = prepare(picture((20, 30)), network)
    data = png(image, network)
    assert (prepare(data, network, ready=True) == image).all()
    assert (prepare(data, network) != image).any()


def test_an_inverted_picture(site):
    data = picture()
    plain, inverted = (
        site.post(f"/api/picture?network=digits&bits=8&invert={i}", data).json["picture"]
        for i in (0, 1)
    )
    pixels = [np.array(Image.open(io.BytesIO(base64.b64decode(x)))) for x in (plain, inverted)]
    assert (pixels[0] == 255 - pixels[1]).all()


def bomb() -> bytes:
    """A PNG file of a few kB with more pixels than are decoded."""
    side = int(MOST_PIXELS**0.5) + 1

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    size = side.to_bytes(4, "big") * 2
    rows = zlib.compress(bytes(side * (1 + -(-side // 8))), 9)
    parts = [chunk(b"IHDR", size + bytes([1, 0, 0, 0, 0])), chunk(b"IDAT", rows)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "* is no picture of a known format, or it is damaged"),
        (b"%PDF-1.7 no picture", "* is no picture of a known format, or it is damaged"),
        (picture(kind="TIFF"), "* is no picture of a known format, or it is damaged"),
        (picture((64, 64))[:300], "* cannot be read: it is damaged"),
        (bomb(), "* has too many pixels; make the picture smaller"),
    ],
    ids=["empty", "pdf", "tiff", "cut", "bomb"],
)
def test_files_that_are_no_pictures(site, data, sentence):
    for name, reply in (
        ("the file", site.post("/api/picture?network=digits&bits=8", data)),
        ("the picture in the link", site.post("/api/run", wanted(test=None, picture=text(data)))),
    ):
        status, found = reply.error
        assert (status, found.partition(" (")[0]) == (400, sentence.replace("*", name))


# ------------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ([], 400, "the request must be a JSON object"),
        (wanted(network=7), 400, "the field network must be a text"),
        (wanted(network="nets"), 404, "there is no network 'nets'; there are digits, cifar10, *"),
        (wanted(bits=5), 400, "there is no 5-bit digits; there are 4 and 8 bits"),
        (wanted(tau="4"), 400, "the field tau must be a whole number"),
        (wanted(tau=True), 400, "the field tau must be a whole number"),
        (wanted(tau=-1), 400, "the field tau must be at least 0, not -1"),
        (wanted(T=0), 400, "the field T must be at least 1, not 0"),
        (wanted(T=1000), 400, "tau = 4 and T = 1000 are 1004 steps; the page shows at most 32"),
        (wanted(correction="hope"), 400, "there is no correction 'hope'; the corrections are *"),
        (wanted(correction="none"), 400, "the correction 'none' is for runs without a probe*"),
        (wanted(correction=1), 400, "the field correction must be a text"),
        (wanted(test=360), 404, "there is no test image 360; they are numbered 0 .. 359"),
        (wanted(test=None), 400, "the request must have one of the fields test, strokes, picture"),
        (wanted(strokes=""), 400, "the request must have one of the fields test, strokes, *"),
        (wanted(test=None, strokes="?"), 400, "the picture in the link is damaged: it is no *"),
        (wanted(test=None, strokes="é"), 400, "the picture in the link is damaged: it is no *"),
        (wanted(network="mnist-radix"), 400, "network 'mnist-radix' is in radix code, which *"),
    ],
)
def test_wrong_requests(site, body, status, sentence):
    for path in ("/api/run", "/api/cycles"):
        known = body | {"board": "smallest"} if isinstance(body, dict) else body
        found = site.post(path, known).error
        assert found[0] == status
        assert fnmatchcase(found[1], sentence)


@pytest.mark.parametrize(
    ("board", "sentence"),
    [(None, "the field board must be a text"), ("none", "there is no board 'none'; the boards *")],
)
def test_wrong_boards(site, board, sentence):
    status, found = site.post("/api/cycles", wanted(board=board)).error
    assert (status, fnmatchcase(found, sentence)) == (400, True)


def test_more_steps_than_an_engine_has(site):
    status, found = site.post("/api/cycles", wanted(T=16, board="ulx3s-12f")).error
    assert status == 400
    assert found.startswith("ulx3s-12f does not run digits with 8-bit weights: tau = 4 and T = 16")


def test_a_body_that_is_no_json(site):
    for body in (b"{", b"\xff", b"[" * 100_000):
        reply = site.post("/api/run", body, {"Content-Type": "application/json"})
        assert reply.error == (400, "the request is no JSON")


@pytest.mark.parametrize(
    ("path", "most"),
    [("/api/picture?network=digits&bits=8", MOST_PICTURE), ("/api/run", MOST_JSON)],
)
def test_long_bodies_are_not_read(site, path, most):
    kind = FILE["Content-Type"] if "picture" in path else "application/json"
    sentence = f"the file is too large; at most {most // 1_000_000} MB are read"
    told = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    for length in (f"Content-Length: {most + 1}", "Transfer-Encoding: chunked"):
        with socket.create_connection(("127.0.0.1", site.port), timeout=60) as raw:
            raw.sendall(f"{told}{length}\r\n\r\n".encode())
            if "chunked" in length:
                block = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
                for _ in range(most // (1 << 16) + 1):
                    raw.sendall(block)
            raw.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: raw.recv(1 << 16), b"")).decode()
        assert answer.startswith("HTTP/1.1 413 ")
        assert sentence in answer


# ---------------------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:80"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "evil.example:8765"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400),
        ({"Host": ""}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:81", "Origin": "http://localhost:82"}, 403),
        ({"Host": "localhost:81", "Origin": "http://localhost:81"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_only_the_page_itself_may_ask(site, headers, status):
    assert site.get("/api/networks", headers).status == status
    assert site.post("/api/run", wanted(), headers).status == status


def test_a_link_from_another_site_opens_the_page(site):
    reply = site.get("/", {"Sec-Fetch-Site": "cross-site"})
    assert (reply.status, b"<title>Residuum demo</title>" in reply.body) == (200, True)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_forms_of_other_sites_are_refused(site, kind):
    for path in ("/api/run", "/api/cycles", "/api/picture"):
        reply = site.post(path, wanted(), {"Content-Type": kind})
        assert reply.status == 415
        assert reply.json["error"].startswith("the type of the content must be ")


@pytest.mark.parametrize("path", ["/", "/api/networks", "/static/app.js", "/nothing"])
def test_every_reply_keeps_other_sites_out(site, path):
    headers = site.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py", "/etc"])
def test_only_the_files_of_the_page_are_served(site, path):
    assert site.get(path).error == (404, "Not Found")


def test_the_page_needs_nothing_from_elsewhere():
    folder = Path(__file__).parents[2] / "residuum" / "demo" / "static"
    files = {path.name: path.read_text() for path in folder.iterdir()}
    assert {"index.html", "style.css", "app.js"} < set(files)
    outside = [name for name, text in files.items() if "https://" in text or "http://" in text]
    # The name of a namespace, which nobody opens.
    assert outside == ["icon.svg"]


# ---------------------------------------------------------------------------------- on a device


class OnFake(OnDevice):
    """On a model of a device whose engine computes nothing."""

    def __init__(self, faults: tuple[str, ...] = ()):
        self.links: list[FakeLink] = []
        self.faults = [faults, ()]
        super().__init__("serial:fake", self._opened)

    def _opened(self, network: object, steps: int) -> Device:
        self.links.append(FakeLink(faults=self.faults[min(len(self.links), 1)]))
        return Device(self.links[-1])


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """The file of a network that the model of a device holds."""
    path = tmp_path / "net.npz"
    random_network(11).save(path)
    return path


def on_net(site: Site) -> dict[str, object]:
    """A run of the first network of a server."""
    network = site.get("/api/networks").json["networks"][0]
    return wanted(network="net", bits=network["bits"][0], tau=1, T=2, test=None) | DRAWN


def test_what_a_device_gives_is_shown_and_compared(net):
    with serving(str(net)) as site:
        golden = site.post("/api/run", on_net(site)).json
    runner = OnFake()
    with serving(str(net), runner=runner) as site:
        found = site.post("/api/run", on_net(site)).json
    assert golden["mismatches"] is None
    assert found["mismatches"] > 0
    assert "in the engine" in found["difference"]
    assert found["logits"] != golden["logits"]
    assert found["layers"] != golden["layers"]
    assert found["cycles"]["measured"]
    assert runner.links[0].closed


def test_a_device_that_is_unplugged_and_back(net):
    # The first request finds the device.
    runner = OnFake(("", "unplugged"))
    with serving(str(net), runner=runner) as site:
        failed, again = (site.post("/api/run", on_net(site)) for _ in range(2))
    assert failed.error == (502, "the connection to fake: broke off")
    assert again.status == 200
    assert [link.closed for link in runner.links] == [True, True]


def test_a_correction_that_no_engine_has(net):
    with serving(str(net), runner=OnFake()) as site:
        reply = site.post("/api/run", on_net(site) | {"correction": "offset"})
    status, sentence = reply.error
    assert (status, "the engine does not have the correction 'offset'" in sentence) == (400, True)


@pytest.mark.long
def test_the_simulated_engine_has_every_spike_of_the_golden_model():
    def opened(network: IntegerNetwork, steps: int) -> Device:
        return open_device("sim:", network=network, steps=steps)

    with serving("digits", runner=OnDevice("sim:", opened)) as site:
        found = [site.post("/api/run", wanted(network=name)).json for name in ("digits", "digits")]
        found.append(site.post("/api/run", wanted(network="mnist", test=None) | DRAWN).json)
        cycles = site.post("/api/cycles", wanted(board="smallest")).json
    assert [each["mismatches"] for each in found] == [0, 0, 0]
    assert [each["class"] for each in found][2] == 7
    assert cycles == found[0]["cycles"]
    assert cycles["measured"]


# --------------------------------------------------------------------------------- the command


def test_a_busy_port(capsys):
    with bound(0) as listener:
        port = listener.getsockname()[1]
        assert main(["demo", "digits", "--no-browser", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"residuum: port {port} cannot be opened: another program uses it; choose another with "
        "--port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "there is no port 70000; ports go up to 65535"),
        (["nets"], "there is no network 'nets'; the known ones are *"),
        (["--board", "nets"], "there is no board 'nets'; the boards are *"),
        (["--data", "nets"], "there is no data set, folder or file 'nets'; *"),
        (["--bits", "5"], "there is no 5-bit mnist; there are 4 and 8 bits"),
        (["--device", "usb:"], "*usb:*"),
        (["--device", "sim:", "--board", "ulx3s"], "--board is for the cycle model, and sim: *"),
    ],
)
def test_wrong_arguments(in_tmp, capsys, arguments, sentence):
    assert main(["demo", "--no-browser", *arguments]) == 1
    found = capsys.readouterr().err
    assert fnmatchcase(found, f"residuum: {sentence}\n")
    assert found.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command(tmp_path, number):
    """Also while a browser keeps a connection open."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-m", "residuum", "demo", "digits", "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("the page is at http://127.0.0.1:")
        port = int(line.split(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as open_connection:
            open_connection.sendall(b"GET /api/networks HTTP/1.1\r\nHost: localhost\r\n\r\n")
            open_connection.recv(1000)
            child.send_signal(number)
            rest, errors = child.communicate(timeout=30)
    assert (rest, errors) == ("", "residuum: interrupted\n" if number == signal.SIGINT else "")
    assert child.returncode == (130 if number == signal.SIGINT else -number)
