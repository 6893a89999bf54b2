"""The web server of the page: files, and an API in JSON. `docs/demo.md` lists its addresses."""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from residuum.demo.errors import (
    BAD_REQUEST,
    DEVICE_FAILED,
    SERVER_FAILED,
    TOO_LARGE,
    WRONG_TYPE,
    RequestError,
)
from residuum.demo.guard import Guard
from residuum.demo.jobs import Jobs, in_thread
from residuum.demo.request import parse
from residuum.demo.session import Session
from residuum.sw.errors import ResiduumError
from residuum.sw.host.device import DeviceError
from residuum.sw.host.links import LinkError

ADDRESS = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
# Bytes of a picture file, and of the JSON of a run.
MOST_PICTURE, MOST_JSON = 20_000_000, 2_000_000
_LARGEST_PORT = 65535
# Seconds that the server may take to end.
_END_SECONDS = 5.0

Answer = Callable[[Session, HttpRequest, bytes], dict[str, Any]]


def application(session: Session) -> Guard:
    """The ASGI application."""

    def post(answer: Answer, *, most: int, kind: str) -> Any:
        async def endpoint(request: HttpRequest) -> Response:
            # A form of another site cannot send these types.
            if request.headers.get("content-type", "").partition(";")[0].strip() != kind:
                raise RequestError(f"the type of the content must be {kind}", WRONG_TYPE)
            body = await _body(request, most)
            return JSONResponse(await in_thread(answer, session, request, body))

        return endpoint

    async def page(request: HttpRequest) -> Response:
        return FileResponse(STATIC / "index.html")

    async def offers(request: HttpRequest) -> Response:
        return JSONResponse(await in_thread(session.offers))

    file, text = "application/octet-stream", "application/json"
    app = Starlette(
        routes=[
            Route("/", page),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/api/networks", offers),
            Route("/api/picture", post(_picture, most=MOST_PICTURE, kind=file), methods=["POST"]),
            Route("/api/run", post(_run, most=MOST_JSON, kind=text), methods=["POST"]),
            Route("/api/cycles", post(_cycles, most=MOST_JSON, kind=text), methods=["POST"]),
        ],
        exception_handlers={
            ResiduumError: _refused,
            HTTPException: _not_there,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    return Guard(app)


def bound(port: int) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    Raises ``ResiduumError`` if the port is taken or not allowed.
    """
    if port > _LARGEST_PORT:
        raise ResiduumError(f"there is no port {port}; ports go up to {_LARGEST_PORT}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A server that ended a moment ago does not keep its port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = {
            errno.EADDRINUSE: "another program uses it",
            errno.EACCES: "only the administrator may use it",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ResiduumError(
            f"port {port} cannot be opened: {reason}; choose another with --port"
        ) from None
    return listener


def serve(
    session: Session, jobs: Jobs, listener: socket.socket, *, ended: threading.Event | None = None
) -> None:
    """Serve until ``ended`` is set, or something interrupts this thread, which does the jobs."""
    server, last = _server(session), ended or threading.Event()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        jobs.work(lambda: thread.is_alive() and not last.is_set())
    finally:
        server.should_exit = True
        thread.join(_END_SECONDS)


def _server(session: Session) -> uvicorn.Server:
    config = uvicorn.Config(
        application(session),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=64,
        timeout_graceful_shutdown=1,
    )
    # Uvicorn tells of broken requests; they are no concern of the user.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Server(config)


async def _body(request: HttpRequest, most: int) -> bytes:
    """The body; ``RequestError`` as soon as it is longer than ``most`` bytes."""
    sentence = f"the file is too large; at most {most // 1_000_000} MB are read"
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise RequestError(sentence, TOO_LARGE)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise RequestError(sentence, TOO_LARGE)
    return bytes(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("the request is no JSON") from None


def _picture(session: Session, request: HttpRequest, body: bytes) -> dict[str, Any]:
    query = request.query_params
    bits = query.get("bits", "")
    if not bits.isdecimal() or len(bits) > 3:
        raise RequestError("the address must give the bits of the weights, as in bits=8")
    inverted = query.get("invert", "0") == "1"
    return session.prepared(body, query.get("network", ""), int(bits), inverted=inverted)


def _run(session: Session, request: HttpRequest, body: bytes) -> dict[str, Any]:
    return session.run(parse(_json(body)))


def _cycles(session: Session, request: HttpRequest, body: bytes) -> dict[str, Any]:
    value = _json(body)
    wanted = parse(value)
    board = value.get("board")
    if not isinstance(board, str):
        raise RequestError("the field board must be a text")
    return session.cycles(wanted, board)


async def _refused(request: HttpRequest, error: Exception) -> Response:
    status = BAD_REQUEST
    if isinstance(error, RequestError):
        status = error.status
    elif isinstance(error, DeviceError | LinkError):
        status = DEVICE_FAILED
    return JSONResponse({"error": str(error)}, status)


async def _not_there(request: HttpRequest, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _failed(request: HttpRequest, error: Exception) -> Response:
    return JSONResponse(
        {"error": f"the demo has a fault, {type(error).__name__}: {error}"}, SERVER_FAILED
    )


async def _gone(request: HttpRequest, error: Exception) -> Response:
    return Response(status_code=BAD_REQUEST)
