"""Keeping keys out of what servers say, before it gets into logs and exceptions."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

#: What vendors begin their keys with, and no id nor model: OpenAI, Groq, Stripe, Cerebras, Hugging Face, xAI, Google,
#: NVIDIA, Fireworks, Perplexity, Replicate, Together, GitHub, GitLab, Slack, AWS; and JSON Web Tokens.
_PREFIXED = r"""\b(?:
      (?:g?sk|rk|sess|csk)[-_](?=[^\s'",;]*\d)[\w-]{16,}
    | hf_\w{16,} | xai-[\w-]{16,} | AIza[\w-]{24,} | ya29\.[\w-]{16,} | nvapi-[\w-]{16,}
    | fw_(?=[0-9a-z]*\d)[0-9a-z]{16,} | pplx-\w{16,} | r8_\w{16,} | tgp_v1_[\w-]{16,}
    | gh[pousr]_\w{16,} | github_pat_\w{16,} | glpat-[\w-]{16,} | xox[abprs]-[\w-]{10,} | (?:AKIA|ASIA)[0-9A-Z]{16}
    | eyJ[\w-]{8,}(?:\.[\w-]+)+ )"""
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
#: Bearer tokens, "key: …", passwords in URLs and beside their names, vendors' prefixes, a UUID that is called a key,
#: and the bare hex or base62 of Azure and others; but behind one of these prefixes Azure's ids are as long and random.
_KEY_LIKE = rf"""(?<=://)[^\s/@'"]+(?=@) | (?<![a-z])(?:
    Bearer\s+[^\s'",;]+
    | (?:api[-_]?key|password|passwd|secret|(?:access|auth)[-_]token|sig(?:nature)?)["']?\s*[:=]\s*["']?[^\s'",;&]+
    | key(?:\ provided)?\s*[:=]\s*[^\s'",;]+
    | \b(?: (?:key|token|credential|secret)s?\b\W{{1,4}}(?:\w+\W{{1,3}}){{0,3}}?{_UUID}
        | (?:g?sk|sess|pk)[-_][^\s'",;]{{6,}} | key[-_](?=[^\s'",;:]*\d)[^\s'",;:]{{6,}}
        | {_PREFIXED}
        | eyJ[\w-]{{8,}}(?:\.[\w-]+)*
        | (?<!\bft-)(?<!\bftjob-)(?<!\bftevent-)(?<!\bftchkpt-)(?<!\bfile-)(?<!\bupload-)
          (?:[0-9a-f]{{32,}}|(?=\w*\d)[0-9a-z]{{40,}})\b))"""
#: Characters of what a job says of itself: a failed one may list what is wrong with many examples.
MOST_TEXT = 4000
#: Characters of an error's code, or of the parameter that it is about.
LONGEST_CODE = 200


def without_keys(text: str, most: int = 400, about: Collection[str] = ()) -> str:
    """Return a text with everything that looks like a key replaced, and cut to so many characters.

    :param about: ids and names that the text may be about, which stay, however much they look like keys.
    """

    def masked(found: re.Match[str]) -> str:
        return found[0] if any(found[0] in name for name in about) else "***"

    # Cut before it is looked through, but not so short that half a key is left at the end.
    return _compiled(_KEY_LIKE).sub(masked, text[: most + 1000])[:most]


def without_prefixed_keys(name: str) -> str:
    """Return a name that tasks go on with, a model's or a file's, with what can only be a key replaced.

    Names may be as long and as random as keys, so only what vendors begin their keys with counts.
    """
    return _compiled(_PREFIXED).sub("***", name)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # When it is first used: it takes as long as all else that parsing a DAG file loads of the rules.
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)
