"""Reading answers field by field: a value of another kind than the documented one counts as missing.

So do the zeros and empty texts that some servers write where others write null.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from typing import Any

#: No number of the API comes near; NaN, infinities and digits without end count as missing.
_MOST = 1e15
#: Times beyond this, which is the year 5138 in seconds, are in milliseconds: it is 1973 in those.
_MILLISECONDS = 1e11
#: Characters of a text at most; the API's longest are the instructions of a grader. What is longer is cut.
LONGEST_TEXT = 20_000
#: Characters of an id or of a model's name at most. What is longer is none: half a name is another one.
LONGEST_NAME = 512
#: Values of one object of an answer at most, whatever they are; what is over is left out.
MOST_VALUES = 10_000
#: Items of a page at most, where 100 are asked for; servers without pages list all that they have.
MOST_ITEMS = 1000
#: What a database may refuse or a terminal obey: control characters, line ends of any kind, direction marks that
#: reorder a line, and halves of a character that no encoding takes.
_RANGES = ((0x0, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069),
           (0xD800, 0xDFFF), (0xFEFF, 0xFEFF))  # fmt: skip
_ILLEGIBLE = re.compile("".join(["[", *(f"\\u{first:04x}-\\u{last:04x}" for first, last in _RANGES), "]"]))
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
#: No answer of the API is as deep as this.
_DEEPEST = 20


def storable(value: Any, *, most_values: float = math.inf, longest: int | None = None) -> Any:
    """Return a value as JSON that every database and every reader takes: the one place where that is seen to.

    A number that is not finite or beyond 64 bits becomes None; a text becomes :func:`legible`, keys of objects too;
    what is too deep, or no JSON at all, becomes None.

    :param most_values: how many values are kept, in the order in which they stand; the rest is left out.
    :param longest: characters at which texts are cut; None leaves them as long as they are.
    """
    return _Storable(most_values, longest).made_of(value, _DEEPEST)


def answered(value: Any) -> Any:
    """Return an object of an answer as :func:`storable`, with no more of it than an honest one has."""
    return storable(value, most_values=MOST_VALUES, longest=LONGEST_TEXT)


class _Storable:
    def __init__(self, most_values: float, longest: int | None) -> None:
        self.left = most_values
        self.longest = longest

    def made_of(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if isinstance(value, str):
            return legible(value[: self.longest])
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**63 else None
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None
        if depth and isinstance(value, Mapping):
            named = takewhile(self._has_room, value.items())
            return {legible(str(name)[: self.longest]): self.made_of(part, depth - 1) for name, part in named}
        if depth and isinstance(value, (list, tuple)):
            return [self.made_of(part, depth - 1) for part in takewhile(self._has_room, value)]
        return None

    def _has_room(self, _: object) -> bool:
        return self.left > 0


def legible(text: str) -> str:
    """Return a text in one line, with characters that no reader should meet written out: ``\\n``, ``\\x1b``.

    Halves of a character become the replacement character.
    """
    return text if _ILLEGIBLE.search(text) is None else text.translate(_written_out())


@cache
def _written_out() -> dict[int, str]:
    """Return what is written for each character: a table, for a text may be nothing but such characters."""
    return {code: _written(code) for first, last in _RANGES for code in range(first, last + 1)}


def _written(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    return _SHORT.get(chr(code)) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def text(value: object) -> str | None:
    """Return the text, legible, or None when it is empty or none."""
    if isinstance(value, str):
        return legible(value[:LONGEST_TEXT]) or None
    return (
        str(value) if value and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None
    )


def name(value: object) -> str | None:
    """Return the id or the name, as :func:`text`, or None when it is longer than any is."""
    found = text(value)
    return found if found is not None and len(found) <= LONGEST_NAME else None


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
    """Return the items of a list, the first :data:`MOST_ITEMS` of them.

    Some servers call them ``jobs`` where others call them ``data``.
    """
    found: list[Any] = next((page[name] for name in ("data", "jobs") if isinstance(page.get(name), list)), [])
    return [item for item in found[:MOST_ITEMS] if isinstance(item, Mapping)]
