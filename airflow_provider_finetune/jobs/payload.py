"""Reading answers field by field: a value of another kind than the documented one counts as missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: No number of the API comes near; NaN, infinities and digits without end count as missing.
_MOST = 1e15


def text(value: object) -> str | None:
    """Return the text, or None when it is empty or none."""
    return str(value) if isinstance(value, (str, int)) and value != "" else None


def number(value: object) -> int | float | None:
    """Return the number, or None when it is not finite or none."""
    return value if isinstance(value, (int, float)) and abs(value) < _MOST else None


def epoch(value: object) -> int | None:
    """Return the time in epoch seconds, or None; Azure reports -1 for "not known"."""
    seconds = number(value)
    return int(seconds) if seconds is not None and seconds > 0 else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return the object, or an empty one."""
    return value if isinstance(value, Mapping) else {}
