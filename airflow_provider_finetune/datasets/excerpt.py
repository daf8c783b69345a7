"""A part of a row that is too large to be described: the first items of its lists, and of its objects."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from airflow_provider_finetune.datasets.vocabulary import OWN

#: Items of a list, and fields of an object, that an excerpt holds.
MOST: Final = 1000
#: Bytes of the shortest line that has a longer list.
SHORTEST_CUT: Final = 2 * MOST


def excerpt_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with shorter lists and objects; the same object if all of them are short.

    Fields of this protocol stay, so that none is missing that was there.

    :param row: its values are nested at most as deep as JSON of a line may be.
    """
    short: dict[str, Any] = _excerpt(row)
    return short


def _excerpt(value: Any) -> Any:
    if isinstance(value, list):
        short = [_excerpt(inner) for inner in value[:MOST]]
        changed = len(value) > MOST or any(one is not other for one, other in zip(short, value, strict=False))
        return short if changed else value
    if isinstance(value, dict):
        kept = value.items() if len(value) <= MOST else _fields(value)
        fields = {key: _excerpt(inner) for key, inner in kept}
        changed = len(value) > MOST or any(fields[key] is not value[key] for key in fields)
        return fields if changed else value
    return value


def _fields(value: dict[str, Any]) -> list[tuple[str, Any]]:
    first = dict(islice(value.items(), MOST))
    return [(key, inner) for key, inner in value.items() if key in first or key in OWN]
