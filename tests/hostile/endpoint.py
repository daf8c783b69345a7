"""An endpoint that means harm: each of its ways to answer is an attack on whoever asks.

    http://127.0.0.1:PORT/bomb/v1     is attacked by "bomb"; "calm" is an honest endpoint with running jobs

As a process of its own, `python -m tests.hostile.endpoint`, it prints its port and ends with its standard input.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MB = 1024 * 1024
#: Texts that a careless pattern takes long to search.
SLOW_TEXTS = ["ft-" * 1700, "token " + "a " * 2500, "sk-a" * 1250, "Bearer " * 700, "<a " * 1700, "key: " * 1000]


class Asked(NamedTuple):
    """What the client wants: the path below ``/v1`` and its last part, ``jobs``, ``events`` … or the id of a job."""

    path: str
    what: str


def head(status: int = 200, **headers: Any) -> bytes:
    """The head of an answer whose end is that of the connection."""
    given = {"content-type": "application/json", "connection": "close"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(value: Any, status: int = 200, **headers: Any) -> Iterator[bytes]:
    """An answer in JSON."""
    yield head(status, **headers)
    yield value if isinstance(value, bytes) else json.dumps(value).encode()


def job(number: int = 0, **fields: Any) -> dict[str, Any]:
    """A running job."""
    return {"id": f"ftjob-{number}", "object": "fine_tuning.job", "status": "running", "model": "m", **fields}


def event(number: int, message: str = "Step", **fields: Any) -> dict[str, Any]:
    """An event."""
    return {"id": f"ftevent-{number}", "created_at": 1_700_000_000 + number, "message": message, **fields}


def honest(asked: Asked) -> Iterator[bytes]:
    """What an honest endpoint answers."""
    if asked.what == "jobs":
        return whole({"data": [job(number) for number in range(100)], "has_more": False})
    if asked.what in ("events", "checkpoints"):
        return whole({"data": [], "has_more": False})
    return whole(job() | {"id": asked.what})


def page(items: Callable[[], Iterable[Any]], of: str = "events") -> Callable[[Asked], Iterator[bytes]]:
    """An attack by what is in a list."""

    def answer(asked: Asked) -> Iterator[bytes]:
        if asked.what == of:
            return whole({"data": list(items()), "has_more": True})
        return honest(asked)

    return answer


def always(value: Any, status: int = 200, **headers: Any) -> Callable[[Asked], Iterator[bytes]]:
    """An attack that is the same whatever is asked."""
    return lambda asked: whole(value, status, **headers)


def drip(asked: Asked) -> Iterator[bytes]:
    yield head()
    while True:
        yield b" "
        time.sleep(0.2)


def endless(asked: Asked) -> Iterator[bytes]:
    yield head()
    yield b'{"data": ["'
    yield from repeat(b"x" * MB)


def bomb(asked: Asked) -> Iterator[bytes]:
    yield head(content_encoding="gzip")
    yield BOMB


def nothing_packed(asked: Asked) -> Iterator[bytes]:
    """A compressed answer that goes on for ever and never becomes a byte."""
    packed = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    yield head(content_encoding="gzip")
    yield packed.compress(b"")
    yield from repeat(b"\x00\x00\x00\xff\xff" * 20_000)


def crumbs(asked: Asked) -> Iterator[bytes]:
    yield head(transfer_encoding="chunked")
    yield from repeat(b"1\r\nx\r\n" * 10_000)


def headers(asked: Asked) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 X\r\n" + b"a:b\r\n" * 15_000 + b"\r\n"
    yield b"{}"


def informational(asked: Asked) -> Iterator[bytes]:
    yield from repeat(b"HTTP/1.1 100 X\r\n\r\n" * 1000)


def impostor(asked: Asked) -> Iterator[bytes]:
    return honest(Asked(asked.path, "ftjob-other" if asked.what.startswith("ftjob") else asked.what))


def other_each_time(asked: Asked) -> Iterator[bytes]:
    """Lists that never end: each page brings new items."""
    if asked.what not in ("jobs", "events", "checkpoints", "files", "models"):
        return honest(asked)
    begin = next(_numbers) * 100
    return whole({"data": [event(number) for number in range(begin, begin + 100)], "has_more": True})


_numbers = iter(range(10**9))


def _bomb(megabytes: int) -> bytes:
    packed = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    pieces = [packed.compress(b'{"data": ["'), *(packed.compress(b"x" * MB) for _ in range(megabytes))]
    return b"".join([*pieces, packed.flush()])


BOMB = _bomb(300)

#: Each attack by its name. What an answer needs to be large is made when it is asked for.
ATTACKS: dict[str, Callable[[Asked], Iterator[bytes]]] = {
    "calm": honest,
    "honest too": honest,
    "drip": drip,
    "endless": endless,
    "bomb": bomb,
    "packed nothing": nothing_packed,
    "crumbs": crumbs,
    "headers": headers,
    "informational": informational,
    "long error": lambda _: whole({"error": {"message": "x" * 28 * MB, "code": "y" * 6 * MB}}, 500),
    "long event": page(lambda: [event(1, "x" * 20 * MB)]),
    "long ids": page(lambda: [event(1) | {"id": "x" * 600_000}]),
    "many events": page(lambda: (event(number) for number in range(200_000))),
    "many jobs": page(lambda: (job(number) for number in range(30_000)), of="jobs"),
    "large jobs": page(lambda: [job(number, metadata={"a": "b" * 20_000}) for number in range(100)], of="jobs"),
    "as many as fit": page(lambda: (event(number) for number in range(9_000))),
    "values": lambda _: whole(b"[" + b"[]," * 5_000_000 + b"1]"),
    "values that fit": lambda _: whole(b'{"data":[{"id":"a","b":[' + b"{}," * 24_000 + b"1]}]}"),
    "keys that fit": lambda _: whole(json.dumps({str(n): n for n in range(49_000)}).encode()),
    "long digits": lambda _: whole(b'{"data":[' + (b"1" * 4000 + b",") * 250 + b"1]}"),
    "slow texts": page(lambda: [event(n, SLOW_TEXTS[n % len(SLOW_TEXTS)]) for n in range(150)]),
    "control characters": page(lambda: [event(n, "\x9f" * 4000) for n in range(40)]),
    "slow encoding": lambda _: whole(b'"' + b"ab-" * 300_000 + b'"', content_type="application/json; charset=punycode"),
    "escaped": lambda _: whole(b'{"id": "' + b"\\u0073" * 160_000 + b'"}'),
    "deep": always(b"[" * 500_000),
    "digits": always(b'{"id": ' + b"7" * 5000 + b"}"),
    "no text": always(b'{"id": "\xff\xfe"}'),
    "impostor": impostor,
    "never ending lists": other_each_time,
    "redirect": always(b"", 307, location="http://192.0.2.1/v1/fine_tuning/jobs"),
    "come back in 30 years": always({"error": {"message": "later"}}, 429, retry_after="999999999"),
    "come back never": always({"error": {"message": "later"}}, 429, retry_after="1e300"),
}


class HostileEndpoint:
    """The server. ``looks`` counts requests by attack, ``times`` has when they came, by the monotonic clock."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.looks: Counter[str] = Counter()

    def connection(self, attack: str, **extra: Any) -> str:
        """An Airflow connection that is attacked so."""
        host = f"http://127.0.0.1:{self.port}/{attack.replace(' ', '_')}/v1"
        return json.dumps({"conn_type": "openai", "host": host, "password": "a-key-nobody-checks", "extra": extra})

    def serve(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (piece := client.recv(65536)):
                        return
                    request += piece
                _, attack, path = request.split(b" ", 2)[1].decode().partition("?")[0].split("/", 2)
                if attack == "counts":
                    client.sendall(b"".join(whole(self.looks)))
                    return
                attack = attack.replace("_", " ")
                self.looks[attack] += 1
                path = path.removeprefix("v1")
                for piece in ATTACKS[attack](Asked(path, path.rsplit("/", 1)[-1])):
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)  # or what was sent may be lost with the connection
            except OSError:
                return  # the client has had enough


@contextmanager
def hostile() -> Iterator[HostileEndpoint]:
    """A running one, in this process."""
    server = HostileEndpoint()
    serving = threading.Thread(target=server.serve, daemon=True)
    serving.start()
    try:
        yield server
    finally:
        server.socket.shutdown(socket.SHUT_RDWR)
        server.socket.close()
        serving.join()


if __name__ == "__main__":
    with hostile() as running:
        print(running.port, flush=True)
        sys.stdin.read()
