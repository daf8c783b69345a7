"""A counting server for `waiting.py`: jobs and batches that run until told otherwise, every answer after 20 ms.

It is a process of its own and small, so that its share of the machine does not show in what is measured. Beside the
API's routes it has `POST /control/start?jobs=N`, `POST /control/end?in=SECONDS` and `GET /control/counts`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

EVENT_EVERY = 10.0
"""Seconds between two steps that a job reports in its events."""


class Jobs:
    """The jobs, all in the same state, and what has been asked about them."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self.created_at = int(time.time()) - 600
        self.ended_at: float | None = None
        self.requests: list[tuple[float, str]] = []
        self.position = {self.job_id(n): n for n in range(count)}
        self.texts: dict[bool, list[str]] = {}

    @staticmethod
    def job_id(number: int) -> str:
        """The id of a job; number 0 is the newest."""
        return f"ftjob-{number:06d}abcdefghijklmn"

    @property
    def over(self) -> bool:
        return self.ended_at is not None

    def text(self, number: int) -> str:
        """A job as JSON, as long as a real one."""
        if self.over not in self.texts:
            self.texts[self.over] = [json.dumps(self._job(n)) for n in range(self.count)]
        return self.texts[self.over][number]

    def _job(self, number: int) -> dict[str, object]:
        model = "gpt-4.1-mini-2025-04-14"
        hyperparameters = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 2.0}
        return {
            "object": "fine_tuning.job",
            "id": self.job_id(number),
            "model": model,
            "created_at": self.created_at - number,
            "finished_at": int(self.ended_at) if self.ended_at else None,
            "fine_tuned_model": f"ft:{model}:acme:bench:{number:08d}" if self.ended_at else None,
            "organization_id": "org-0123456789abcdef",
            "result_files": [f"file-result{number:06d}"] if self.ended_at else [],
            "status": "succeeded" if self.ended_at else "running",
            "validation_file": "file-validation0123456789",
            "training_file": "file-training0123456789",
            "hyperparameters": hyperparameters,
            "trained_tokens": 123456 if self.ended_at else None,
            "error": {},
            "user_provided_suffix": "bench",
            "seed": 42,
            "estimated_finish": None if self.ended_at else self.created_at + 86400,
            "integrations": [],
            "metadata": {"airflow_dag_id": "retrain_customers", "airflow_run_id": "scheduled__2026-11-22T00:00:00"},
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        }

    def page(self, after: str | None, limit: int) -> str:
        """A page of the list, newest first."""
        start = self.position[after] + 1 if after else 0
        end = min(start + limit, self.count)
        data = ",".join(self.text(n) for n in range(start, end))
        return f'{{"object":"list","data":[{data}],"has_more":{json.dumps(end < self.count)}}}'

    def events(self, job_id: str, after: str | None, limit: int) -> str:
        """A page of a job's events, newest first: one step every ten seconds."""
        newest = int((time.time() - self.created_at) / EVENT_EVERY)
        start = int(after.rpartition("-")[2]) - 1 if after else newest
        data = [
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job_id}-{n}",
                "created_at": int(self.created_at + n * EVENT_EVERY),
                "level": "info",
                "message": f"Step {n}/9000: training loss=0.42",
                "type": "metrics",
                "data": {"step": n, "train_loss": 0.42, "total_steps": 9000, "train_mean_token_accuracy": 0.9},
            }
            for n in range(start, max(start - limit, 0), -1)
        ]
        return json.dumps({"object": "list", "data": data, "has_more": start - limit > 0})

    def batch(self, batch_id: str) -> str:
        """A batch as JSON."""
        return json.dumps(
            {
                "id": batch_id,
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "errors": None,
                "input_file_id": "file-0123456789",
                "completion_window": "24h",
                "status": "completed" if self.over else "in_progress",
                "output_file_id": "file-9876543210" if self.over else None,
                "created_at": self.created_at,
                "request_counts": {"total": 100, "completed": 50, "failed": 0},
                "metadata": {"dag": "retrain_customers"},
            }
        )

    def counts(self) -> str:
        """What has been asked so far: each request's time (epoch seconds) and kind."""
        kinds = dict(Counter(kind for _, kind in self.requests))
        return json.dumps({"kinds": kinds, "requests": self.requests, "ended_at": self.ended_at})


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
                loop.call_later(self.delay, lambda target=target: self.answer(self.api(target)))

    @staticmethod
    def kind(target: str) -> str:
        url = urlsplit(target)
        if url.path == "/v1/fine_tuning/jobs":
            return "further page of the list" if "after=" in url.query else "first page of the list"
        return "events" if url.path.endswith("/events") else "retrieve"

    def api(self, target: str) -> tuple[int, str]:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        after, limit = query.get("after"), int(query.get("limit", 20))
        jobs, parts = Protocol.jobs, url.path.split("/")
        if url.path.startswith("/v1/batches/"):
            return 200, jobs.batch(parts[3])
        if url.path == "/v1/fine_tuning/jobs":
            return 200, jobs.page(after, limit)
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
