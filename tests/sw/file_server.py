"""A local web server for files that misbehaves on request."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` at ``address``, and collects the name and range of every request.

    Attributes
    ----------
    ranges
        Whether range requests are supported; else the server sends the whole file.
    shift
        Error of the start of a range in the reply, in bytes.
    cut
        Number of bytes of a reply after which the connection is closed; None: never.
    chunked
        Whether replies come in chunks, without a length.
    gate
        Replies stop half-way until this event is set. The first request sets the event ``asked``.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.ranges, self.shift, self.chunked = True, 0, False
        self.cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.asked, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server, name = self.server, self.path[1:]
        wanted = self.headers.get("Range")
        server.requests.append((name, wanted))
        server.asked.set()
        if name not in server.files:
            self.send_error(404)
            return
        body = server.files[name]
        first = 0
        if wanted and server.ranges:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(body):
                self.send_error(416)
                return
            first += server.shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_body(body[first:])

    def send_body(self, body: bytes) -> None:
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[: self.server.cut]
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        self.server.gate.wait(30)
        self.wfile.write(body[len(body) // 2 :])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """A server that runs during the block."""
    with FileServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.gate.set()
            server.shutdown()
            thread.join()
