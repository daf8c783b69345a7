"""Reading answers field by field: a value of another kind than the documented one counts as missing.

So do the zeros and empty texts that some servers write where others write null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: No number of the API comes near; NaN, infinities and digits without end count as missing.
_MOST = 1e15
#: Times beyond this, which is the year 5138 in seconds, are in milliseconds: it is 1973 in those.
_MILLISECONDS = 1e11
#: What a database may refuse or a terminal obey: control characters, line ends of any kind, direction marks that
#: reorder a line, and halves of a character that no encoding takes.
_ILLEGIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: No answer of the API is as deep as this.
_DEEPEST = 20


def storable(value: Any) -> Any:
    """Return a value as JSON that every database and every reader takes: the one place where that is seen to.

    A number that is not finite or beyond 64 bits becomes None; a text becomes :func:`legible`, keys of objects too;
    what is too deep, or no JSON at all, becomes None.
    """
    return _storable(value, _DEEPEST)


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return legible(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if depth and isinstance(value, Mapping):
        return {legible(str(name)): _storable(part, depth - 1) for name, part in value.items()}
    if depth and isinstance(value, (list, tuple)):
        return [_storable(part, depth - 1) for part in value]
    return None


def legible(text: str) -> str:
    """Return a text in one line, with characters that no reader should meet written out: ``\\n``, ``\\x1b``.

    Halves of a character become the replacement character.
    """
    return text if _ILLEGIBLE.search(text) is None else _ILLEGIBLE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    return _SHORT.get(found[0]) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def text(value: object) -> str | None:
    """Return the text, legible, or None when it is empty or none."""
    if isinstance(value, str):
        return legible(value) or None
    return (
        str(value) if value and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
    )


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
