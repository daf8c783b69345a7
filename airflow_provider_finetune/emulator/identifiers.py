"""Ids as the API makes them."""

from __future__ import annotations

import random
import string

_ALPHABET = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Return an id: the prefix, then random letters and digits."""
    return prefix + "".join(random.choices(_ALPHABET, k=length))  # noqa: S311 - told apart, not kept secret
