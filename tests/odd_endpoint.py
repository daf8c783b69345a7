"""A real server that answers as no honest one does."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Answer(NamedTuple):
    """What the server answers: a body of pieces, which come when they come."""

    body: bytes | Iterable[bytes] = b"{}"
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = {}  # noqa: RUF012


def of(value: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(json.dumps(value).encode(), status)


def drip(seconds: float = 100, pause: float = 0.05) -> Iterator[bytes]:
    """Bytes that come one after the other; each of them is in time."""
    for _ in range(int(seconds / pause)):
        yield b" "
        time.sleep(pause)


@contextmanager
def answering(answer: Callable[[str, str], Answer]) -> Iterator[OddEndpoint]:
    """Run a server that answers each method and path, below ``/v1``, as the function says."""
    with OddEndpoint(answer) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield server
        finally:
            server.shutdown()
            serving.join()


class OddEndpoint(ThreadingHTTPServer):
    """The server. ``requests`` are the methods and paths that it was asked for.

    It takes ``seconds_a_megabyte`` to read what it is sent.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[str, str], Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.requests: list[tuple[str, str]] = []
        self.seconds_a_megabyte = 0.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def connection(self, **extra: Any) -> str:
        """An Airflow connection to it, as JSON."""
        fields = {"conn_type": "openai", "host": self.base_url, "password": "a-key-nobody-checks"}
        return json.dumps({**fields, "extra": extra})


class _Handler(BaseHTTPRequestHandler):
    server: OddEndpoint

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1").partition("?")[0]
        self.server.requests.append((self.command, path))
        left = int(self.headers.get("content-length") or 0)
        while left > 0 and (piece := self.rfile.read(min(left, 1 << 20))):
            left -= len(piece)
            time.sleep(self.server.seconds_a_megabyte)
        body, status, content_type, headers = self.server.answer(self.command, path)
        try:
            self.send_response(status)
            for name, value in {"content-type": content_type, "connection": "close", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in [body] if isinstance(body, bytes) else body:
                self.wfile.write(piece)
        except OSError:
            return  # the client has had enough

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""
