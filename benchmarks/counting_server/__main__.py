"""A counting server for `waiting.py`: jobs and batches that run until told otherwise, every answer after 20 ms.

It is a process of its own and small, so that its share of the machine does not show in what is measured. Beside the
API's routes it has `POST /control/start?jobs=N`, `POST /control/end?in=SECONDS` and `GET /control/counts`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from urllib.parse import parse_qs, urlsplit

from benchmarks.counting_server.jobs import Jobs

KEY = re.compile(rb"benchmark-(\d+)-of-(\d+)")
"""What a key may see: a part of the jobs."""


class Protocol(asyncio.Protocol):
    """Just enough HTTP/1.1: requests without a body, connections kept alive."""

    jobs = Jobs()
    delay = 0.02

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            _, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            if target.startswith("/control/"):
                self.answer(self.control(target))
            else:
                loop = asyncio.get_running_loop()
                Protocol.jobs.requests.append((time.time(), self.kind(target)))
                key = KEY.search(head)
                part = (int(key[1]), int(key[2])) if key else (0, 1)
                loop.call_later(self.delay, lambda target=target, part=part: self.answer(self.api(target, part)))

    @staticmethod
    def kind(target: str) -> str:
        url = urlsplit(target)
        if url.path == "/v1/fine_tuning/jobs":
            return "further page of the list" if "after=" in url.query else "first page of the list"
        return "events" if url.path.endswith("/events") else "retrieve"

    def api(self, target: str, part: tuple[int, int]) -> tuple[int, str]:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        after, limit = query.get("after"), int(query.get("limit", 20))
        jobs, parts = Protocol.jobs, url.path.split("/")
        if url.path.startswith("/v1/batches/"):
            return 200, jobs.batch(parts[3])
        if url.path == "/v1/fine_tuning/jobs":
            return 200, jobs.page(after, limit, *part)
        if len(parts) > 4 and parts[4] in jobs.position:
            if parts[-1] == "events":
                return 200, jobs.events(parts[4], after, limit)
            return 200, jobs.text(jobs.position[parts[4]])
        error = {
            "message": "no such job",
            "type": "invalid_request_error",
            "param": None,
            "code": "fine_tune_not_found",
        }
        return 404, json.dumps({"error": error})

    def control(self, target: str) -> tuple[int, str]:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/control/start":
            Protocol.jobs = Jobs(int(query["jobs"]))
            Protocol.jobs.text(0) if Protocol.jobs.count else None
        elif url.path == "/control/end":
            asyncio.get_running_loop().call_later(float(query["in"]), self.end)
        return 200, Protocol.jobs.counts() if url.path == "/control/counts" else "{}"

    @staticmethod
    def end() -> None:
        Protocol.jobs.ended_at = time.time()
        if Protocol.jobs.count:
            Protocol.jobs.text(0)

    def answer(self, status_and_body: tuple[int, str]) -> None:
        status, body = status_and_body
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        if not self.transport.is_closing():
            self.transport.write((head + body).encode())


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Protocol, "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(sys.stdin.fileno(), stop.set)  # whoever started it is gone
    await stop.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before an answer (default: %(default)s)")
    options = parser.parse_args()
    Protocol.delay = options.delay
    asyncio.run(serve(options.port))
