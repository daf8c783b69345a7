"""The requests that reached the server, for tests that count them, and the patterns that name some of them."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import asdict, dataclass
from time import time
from typing import Any

MOST_KEPT = 100_000
LONGEST_PATTERN = 200


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
    return method_pattern in ("*", method) and _fits(path_pattern, path)


def _fits(pattern: str, path: str) -> bool:
    """Return whether a path is like a pattern, in time that grows with their lengths, however many stars there are."""
    reached = {0}  # how much of the path the pattern so far may have taken
    for part in re.findall(r"\*\*|\*|[^*]+", pattern):
        if part == "**":
            reached = set(range(min(reached), len(path) + 1))
        elif part == "*":
            for at, letter in enumerate(path):
                if at in reached and letter != "/":
                    reached.add(at + 1)
        else:
            reached = {at + len(part) for at in reached if path.startswith(part, at)}
        if not reached:
            return False
    return len(path) in reached


class Requests:
    """The latest requests, oldest first."""

    def __init__(self) -> None:
        self.kept: deque[RequestRecord] = deque(maxlen=MOST_KEPT)

    def add(self, method: str, path: str) -> RequestRecord:
        record = RequestRecord(method, path, time())
        self.kept.append(record)
        return record
