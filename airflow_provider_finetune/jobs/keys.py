"""Keeping keys out of what servers say, before it gets into logs and exceptions."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

#: Bearer tokens, "key: …", vendors' prefixes, JWTs, and the bare hex or base62 of Azure and others; but behind one of
#: these prefixes Azure's ids are as long and as random.
_KEY_LIKE = r"""Bearer\s+[^\s'",;]+
    | key(?:\ provided)?\s*[:=]\s*[^\s'",;]+
    | \b(?:g?sk|sess|pk|key)[-_][^\s'",;]{6,}
    | \beyJ[\w-]{8,}(?:\.[\w-]+)*
    | (?<!\bft-)(?<!\bftjob-)(?<!\bftevent-)(?<!\bftchkpt-)(?<!\bfile-)(?<!\bupload-)
      \b(?:[0-9a-f]{32,}|(?=\w*\d)[0-9a-z]{40,})\b"""
#: Characters of what a job says of itself: a failed one may list what is wrong with many examples.
MOST_TEXT = 4000


def without_keys(text: str, most: int = 400, about: Collection[str] = ()) -> str:
    """Return a text with everything that looks like a key replaced, and cut to so many characters.

    :param about: ids and names that the text may be about, which stay, however much they look like keys.
    """

    def masked(found: re.Match[str]) -> str:
        return found[0] if any(found[0] in name for name in about) else "***"

    return _compiled().sub(masked, text)[:most]


@cache
def _compiled() -> re.Pattern[str]:
    # When it is first used: it takes as long as all else that parsing a DAG file loads of the rules.
    return re.compile(_KEY_LIKE, re.IGNORECASE | re.VERBOSE)
