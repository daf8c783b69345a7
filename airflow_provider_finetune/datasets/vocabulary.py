"""The words that a report may repeat: those of the formats, and near misses of them.

Whatever else stands where a role, a field or a name is due may be training text, an address or a key in the wrong
place. Of that, a report tells where it is and how long.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_OWN: Final = """
messages role content name weight refusal tool_calls tool_call_id function_call function functions type arguments
tools parallel_tool_calls description parameters strict text image_url detail input preferred_output
non_preferred_output prompt completion system developer user assistant tool
"""
# Of JSON schemas, of other endpoints and tools, and what datasets often carry beside their examples.
_OTHER: Final = """
id url auto low high audio input_audio file input_text output_text image video metadata reference store model
object array string number integer boolean null properties required items enum additionalProperties prefixItems
anyOf oneOf allOf not title default format pattern minimum maximum minItems maxItems minLength maxLength const
examples definitions $defs $ref $schema $id json_schema response_format
conversations conversation from value to chosen rejected instruction output response question answer context history
human gpt bot ai chatbot model_name contents parts system_prompt completions schemaVersion custom_id body
label labels target source split category topic tags language lang date timestamp created_at score rating index
dataset license comment note notes version author difficulty references ground_truth
reasoning reasoning_content thinking annotations cache_control logprobs
"""
#: Of this protocol; one of them with a slip of the pen is still repeated, since that is what the person has to mend.
OWN: Final = frozenset(_OWN.split())
_NEAR: Final = tuple((word, frozenset(word)) for word in OWN)
_KNOWN: Final = OWN | frozenset(word.casefold() for word in _OTHER.split())
_LONGEST: Final = max(map(len, _KNOWN)) + 2


def is_known(token: str) -> bool:
    """Return whether a token is a word of the formats, in whatever case, or nearly one.

    Nearly is up to two letters wrong, missing, too many or swapped; in a word of four letters one, and none wrong: a
    role "Rose" is somebody.
    """
    return len(token) <= _LONGEST and _is_known(token)


@lru_cache(maxsize=4096)
def _is_known(token: str) -> bool:
    folded = token.casefold()
    return folded in _KNOWN or any(_is_near(folded, word, letters) for word, letters in _NEAR)


def _is_near(token: str, word: str, letters: frozenset[str]) -> bool:
    most = 2 if len(word) > 4 else 1
    if most == 1 and len(token) == len(word) and letters != set(token):
        return False
    # Most words are told apart by their letters alone: a letter that only one of them has is half an edit.
    if abs(len(token) - len(word)) > most or len(letters.symmetric_difference(token)) > 2 * most:
        return False
    return _edits(token, word) <= most


def _edits(one: str, other: str) -> int:
    """Return how many letters to put in, take out, replace, or swap with the next, to make one word of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            edits = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                edits = min(edits, last[j - 2] + 1)
            row.append(edits)
    return row[-1]
