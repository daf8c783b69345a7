"""JSON as it arrives: whatever is read can also be sent again."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    :raises ValueError: it is not JSON, or holds half a surrogate pair, which JSON can write and UTF-8 cannot; or a
        number that is none, or infinite, which Python reads and JSON has no way to write.
    """
    try:
        value = json.loads(raw, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if b"\\ud" in raw.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError("a number that is not finite")
    return number
