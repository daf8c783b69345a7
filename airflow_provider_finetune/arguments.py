"""Checking what operators are given: when the DAG is parsed what is literal, before anything is sent what is not."""

from __future__ import annotations

import ast
import json
import math
import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import InvalidRequest
from airflow_provider_finetune.jobs.hyperparameters import slip_of
from airflow_provider_finetune.jobs.request import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

#: Seconds between two looks at the endpoint, at least. Without a pause a worker makes a thousand requests a second.
SHORTEST_INTERVAL = 0.1


def required(name: str, value: object) -> str:
    """Return an id, or a path, that a template or an XCom reference gave.

    :raises InvalidRequest: it gave none.
    """
    if isinstance(value, os.PathLike):
        value = str(value)
    if not isinstance(value, str) or value.strip() in ("", "None"):
        raise InvalidRequest(
            f"{name} is {value!r}: the template or XCom reference gave nothing. Check that the task it refers to ran, "
            "succeeded, and pushes one."
        )
    return value.strip()


def optional(value: object) -> str | None:
    """Return an id that a template or an XCom reference gave; None when it gave nothing."""
    given = str(value).strip() if isinstance(value, str) else ""
    return given if given not in ("", "None") else None


def ids(value: object) -> list[str]:
    """Return the ids in a list, or in a text, as a template gives them: ``['a', 'b']`` or ``a, b``."""
    given = value if isinstance(value, (list, tuple, set, frozenset)) else str(value or "").strip("[]()").split(",")
    return [found for one in given if (found := optional(str(one).strip(" '\"")))]


def seconds(name: str, value: float | timedelta, *, least: float = 0) -> float:
    """Return a duration in seconds.

    :raises InvalidRequest: it is none, or shorter than ``least``.
    """
    given = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given < math.inf:
        raise InvalidRequest(f"{name} is {value!r}; expected seconds, or a timedelta, of at least {least}")
    return float(given)


def interval(name: str, value: float | timedelta) -> float:
    """Return the time between two looks at the endpoint, in seconds.

    :raises InvalidRequest: it is none, or so short that a wait would be a flood of requests.
    """
    return seconds(name, value, least=SHORTEST_INTERVAL)


def number(name: str, value: Any, *, least: float = 0, most: float = math.inf, whole: bool = False) -> float | None:
    """Return a number, whatever kind of number or text it came as; None when a template gave nothing.

    :raises InvalidRequest: it is no number, or out of bounds.
    """
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not least <= found <= most or (whole and found != int(found)):
        kind = "a whole number" if whole else "a number"
        limit = f", at most {most}" if most < math.inf else ""
        raise InvalidRequest(f"{name} is {value!r}; expected {kind} of at least {least}{limit}")
    return int(found) if whole else found


def literal(value: Any) -> Any:
    """Return the list or mapping in a text that a template made of it; anything else as it is."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "{"):
        for read in (json.loads, ast.literal_eval):
            try:
                return read(value)
            except (ValueError, SyntaxError):
                continue
    return plain(value)


def choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that a word is one of those that mean something.

    :raises InvalidRequest: it is not.
    """
    if value not in choices:
        meant = slip_of(str(value), choices)
        hint = f". Did you mean {meant!r}?" if meant else ""
        raise InvalidRequest(f"{name} is {value!r}; expected one of {', '.join(choices)}{hint}")


@contextmanager
def as_invalid_request(what: str = "") -> Iterator[None]:
    """Turn what the rules say of a bad argument into a failure without retries.

    :param what: stands before it.
    """
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(f"{what}{error}") from None
