"""An example of an evaluation: what a model is asked, and what its answer is compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Fields of a row that are part of the question; all others are the grader's.
_ASKED = ("tools", "functions", "parallel_tool_calls")
_NOT_SENT = ("weight",)


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the dataset.

    :ivar question: the part of a chat request that comes from the line: ``messages``, ``tools`` …
    :ivar item: what the grader's templates call ``item``: the line's fields, with ``reference`` and
        ``reference_tools`` from the reply that the line has.
    :ivar id: hash of the line's content; the same content has the same.
    """

    question: dict[str, Any]
    item: dict[str, Any]
    id: bytes

    @property
    def prompt_bytes(self) -> int:
        """Bytes of the question's text, and of the JSON around it."""
        return len(json.dumps(self.question, ensure_ascii=False).encode())

    @property
    def name(self) -> str:
        """The id, as it stands in the answers file."""
        return self.id.hex()


def read_example(row: Mapping[str, Any]) -> Example:
    """Return the example of a line, in any of the forms that the checker of datasets knows.

    In chat form, the last turn of the assistant is the reference, and the model is asked what stands before it. In the
    form of reinforcement, which ends with the user's turn, the other fields are what is compared with. Of a
    preference, the preferred output is the reference.

    :raises ValueError: there is nothing to ask. The message holds nothing of the line's text.
    """
    inner = row.get("input")
    is_preference = isinstance(inner, Mapping) and "preferred_output" in row
    source = inner if is_preference and isinstance(inner, Mapping) else row
    turns = source.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) and "role" in turn for turn in turns):
        hint = ": prompt and completion are of the older completion models" if "completion" in row else ""
        raise ValueError(f"messages is missing, or no list of messages with a role{hint}")
    reply: Mapping[str, Any] | None = None
    if is_preference:
        preferred = row["preferred_output"]
        reply = preferred[-1] if isinstance(preferred, list) and preferred else None
    else:
        last = _last_reply(turns)
        if last is not None:
            reply, turns = turns[last], turns[:last]
    if not turns:
        raise ValueError("messages has no turn before the assistant's: there is nothing to ask")
    messages = [{key: value for key, value in turn.items() if key not in _NOT_SENT} for turn in turns]
    question = {"messages": messages, **{key: source[key] for key in _ASKED if source.get(key) is not None}}
    item: dict[str, Any] = dict(row)
    if reply is not None:
        item.setdefault("reference", _text(reply.get("content")))
        item.setdefault("reference_tools", list(reply.get("tool_calls") or ()))
    return Example(question, item, digest(row))


def _last_reply(turns: list[Any]) -> int | None:
    """Return where the reply is that the example shall be compared with; None when it ends with a question."""
    if turns and turns[-1].get("role") in ("user", "tool", "function"):
        return None
    return next((i for i in reversed(range(len(turns))) if turns[i].get("role") == "assistant"), None)


def digest(value: object) -> bytes:
    """Return 16 bytes that are the same for the same content, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).digest()[:16]


def last_question(question: Mapping[str, Any]) -> str:
    """Return the text of the last turn of a question."""
    return _text(question["messages"][-1].get("content"))


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return content if isinstance(content, str) else ""
