"""How many there are, in English."""

from __future__ import annotations


def counted(count: int, noun: str, nouns: str = "") -> str:
    """Return how many there are, in the singular or the plural: ``1 error``, ``1,200 errors``.

    :param noun: in the singular.
    :param nouns: in the plural; by default with an ``s``.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
