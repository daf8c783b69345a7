"""The requests that reached the server, for tests that count them, and the patterns that name some of them."""

from __future__ import annotations

import re
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


def matches(method_pattern: str, path_pattern: str, method: str, path: str) -> bool:
    """Return whether a request has this method (`*`: any) and a path like this pattern."""
    pattern = re.escape(path_pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return method_pattern in ("*", method) and re.fullmatch(pattern, path) is not None


class Requests:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self.kept: deque[RequestRecord] = deque(maxlen=MOST_KEPT)

    def add(self, method: str, path: str) -> RequestRecord:
        record = RequestRecord(method, path, time())
        self.kept.append(record)
        return record
