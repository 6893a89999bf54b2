"""The server of the demo in a thread, for tests."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from residuum.demo.jobs import Jobs
from residuum.demo.networks import offers
from residuum.demo.runs import OnGolden, Runner
from residuum.demo.server import ADDRESS, bound, serve
from residuum.demo.session import Session

JSON = {"Content-Type": "application/json"}
FILE = {"Content-Type": "application/octet-stream"}
# Seconds for a reply: the first run of a network on the simulated engine compiles that engine.
PATIENCE = 600


@dataclass(frozen=True)
class Reply:
    """Status, headers and body of a reply."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and sentence of a refusal."""
        return self.status, self.json["error"]


@dataclass(frozen=True)
class Site:
    """A running server."""

    port: int

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self._ask("GET", path, b"", headers or {})

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
        """Bytes go as a file, everything else as JSON."""
        if isinstance(body, bytes):
            return self._ask("POST", path, body, FILE | (headers or {}))
        return self._ask("POST", path, json.dumps(body).encode(), JSON | (headers or {}))

    def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body or None, headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()


@contextmanager
def serving(model: str = "digits", *, runner: Runner | None = None) -> Iterator[Site]:
    """A server on a free port, which shows ``model`` first."""
    runner, jobs, ended = runner or OnGolden(), Jobs(), threading.Event()
    session = Session(offers(model), runner, jobs)
    with bound(0) as listener:
        thread = threading.Thread(
            target=serve, args=(session, jobs, listener), kwargs={"ended": ended}
        )
        thread.start()
        try:
            yield Site(listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()
            runner.close()
