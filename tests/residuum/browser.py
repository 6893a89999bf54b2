"""A browser without a window, driven through the DevTools protocol of Chromium."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Seconds for the start of the browser, and for one answer of it.
PATIENCE = 60.0


def installed() -> str | None:
    """The program of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Connection:
    """A connection to the browser, or to one page of it.

    Attributes
    ----------
    faults
        What a page has reported: exceptions, errors on the console, refused files.
    """

    def __init__(self, socket: ClientConnection):
        self._socket = socket
        self._numbers = itertools.count(1)
        self.faults: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        found = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.faults.append(json.dumps(found["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.faults.append(found["entry"]["text"])


class Tab(Connection):
    """One page of the browser."""

    def __init__(self, socket: ClientConnection):
        super().__init__(socket)
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.send(f"{domain}.enable")

    def js(self, expression: str) -> Any:
        """The value of an expression, as JSON; waits for a promise."""
        reply = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def open(self, address: str) -> None:
        """Load a page of the demo, and wait for its first run."""
        # An address with another fragment alone would not load the page.
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)
        self.wait("document.body && document.body.dataset.ready !== undefined")
        self.settled()

    def settled(self) -> None:
        """Wait for the end of all runs of the demo."""
        self.wait("!document.body.classList.contains('busy')")

    def text(self, selector: str) -> str:
        return str(self.js(f"document.querySelector({json.dumps(selector)}).textContent")).strip()

    def click(self, selector: str) -> None:
        self.js(f"document.querySelector({json.dumps(selector)}).click()")

    def choose(self, selector: str, value: object, event: str = "change") -> None:
        """Give a field of a form a value."""
        self.js(
            f"(field => {{ field.value = {json.dumps(str(value))};"
            f" field.dispatchEvent(new Event('{event}')) }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def upload(self, selector: str, path: Path) -> None:
        """Choose a file, as the user does in the dialogue of a file field."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        field = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def drag(self, selector: str, points: list[tuple[float, float]]) -> None:
        """Draw a line with the mouse; points are shares of the element's width and height."""
        self.js(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = self.js(
            f"(b => [b.x, b.y, b.width, b.height])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        places = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in points]
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1)]
        for kind, (x, y) in zip(kinds, places, strict=True):
            self._mouse(kind, x, y)
        self._mouse("mouseReleased", *places[-1])

    def _mouse(self, kind: str, x: float, y: float) -> None:
        self.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
        )

    def key(self, key: str, text: str = "") -> None:
        """Press a key."""
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def screen(self, width: int, height: int, *, dark: bool = False) -> None:
        """Size of the window, and the colours that the user prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save a screenshot, of the whole page or of the window."""
        reply = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(reply["data"]))


@contextmanager
def browser(program: str) -> Iterator[Callable[[], Tab]]:
    """A running browser; what it yields opens a tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        options += ["--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")
        child = subprocess.Popen(
            [program, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            address = _address(Path(folder) / "DevToolsActivePort", child)
            with ExitStack() as connections:

                def connected(address: str) -> ClientConnection:
                    return connections.enter_context(connect(address, max_size=None, proxy=None))

                def tab() -> Tab:
                    target = root.send("Target.createTarget", url="about:blank")["targetId"]
                    return Tab(connected(f"{address.partition('browser')[0]}page/{target}"))

                root = Connection(connected(address))
                yield tab
        finally:
            child.terminate()
            child.wait(PATIENCE)


def _address(file: Path, child: subprocess.Popen[bytes]) -> str:
    """The address of the browser's own connection, which it writes to a file."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and child.poll() is None:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("the browser does not start")
