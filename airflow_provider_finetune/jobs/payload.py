"""Reading answers field by field: a value of another kind than the documented one counts as missing.

So do the zeros and empty texts that some servers write where others write null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: No number of the API comes near; NaN, infinities and digits without end count as missing.
_MOST = 1e15
#: Times beyond this, which is the year 5138 in seconds, are in milliseconds: it is 1973 in those.
_MILLISECONDS = 1e11


def text(value: object) -> str | None:
    """Return the text, or None when it is empty or none."""
    return str(value) if value and isinstance(value, (str, int)) and not isinstance(value, bool) else None


def number(value: object) -> int | float | None:
    """Return the number, or None when it is not finite or none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if abs(value) < _MOST else None


def count(value: object) -> int | None:
    """Return the number of something, or None; Azure reports -1 for "not known", and others 0."""
    found = number(value)
    return int(found) if found is not None and found >= 1 else None


def epoch(value: object) -> int | None:
    """Return the time in epoch seconds, whether it is told in seconds or in milliseconds, or None."""
    found = number(value)
    if found is None or found <= 0:
        return None
    return int(found / 1000 if found > _MILLISECONDS else found)


def mapping(value: object) -> Mapping[str, Any]:
    """Return the object, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the items of a list; some servers call them ``jobs`` where others call them ``data``."""
    found: list[Any] = next((page[name] for name in ("data", "jobs") if isinstance(page.get(name), list)), [])
    return [item for item in found if isinstance(item, Mapping)]
