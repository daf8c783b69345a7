"""The requests that reached the server, for tests that count them."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from time import time
from typing import Any

MOST_KEPT = 100_000


@dataclass
class RequestRecord:
    """One request: where it went, what was answered (`None`: nothing), and which fault it met."""

    method: str
    path: str
    at: float
    status: int | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Requests:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self.kept: deque[RequestRecord] = deque(maxlen=MOST_KEPT)

    def add(self, method: str, path: str) -> RequestRecord:
        record = RequestRecord(method, path, time())
        self.kept.append(record)
        return record
