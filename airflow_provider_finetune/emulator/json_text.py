"""JSON as it arrives: whatever is read can also be sent again."""

from __future__ import annotations

import json
from typing import Any


def read_json(raw: bytes) -> Any:
    """Return the value of a JSON text.

    :raises ValueError: it is not JSON, or holds half a surrogate pair, which JSON can write and UTF-8 cannot.
    """
    try:
        value = json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if b"\\ud" in raw.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
