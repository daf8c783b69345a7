"""Keeping keys out of what servers say, before it gets into logs and exceptions."""

from __future__ import annotations

import re
from functools import cache

#: Bearer tokens, "key: …", vendors' prefixes, JWTs, and the bare hex or base62 of Azure and others.
_KEY_LIKE = r"""Bearer\s+[^\s'",;]+
    | key(?:\ provided)?\s*[:=]\s*[^\s'",;]+
    | \b(?:g?sk|sess|pk|key)[-_][^\s'",;]{6,}
    | \beyJ[\w-]{8,}(?:\.[\w-]+)*
    | \b(?:[0-9a-f]{32,}|(?=\w*\d)[0-9a-z]{40,})\b"""
#: Characters of what a job says of itself: a failed one may list what is wrong with many examples.
MOST_TEXT = 4000


def without_keys(text: str, most: int = 400) -> str:
    """Return a text with everything that looks like a key replaced, and cut to so many characters."""
    return _compiled().sub("***", text)[:most]


@cache
def _compiled() -> re.Pattern[str]:
    # When it is first used: it takes as long as all else that parsing a DAG file loads of the rules.
    return re.compile(_KEY_LIKE, re.IGNORECASE | re.VERBOSE)
