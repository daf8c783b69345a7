"""An example apart from its texts: who speaks in which order, with which tools; the same for many lines of a file."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_finetune.datasets.formats import EXAMPLES
from airflow_provider_finetune.datasets.remarks import image_count
from airflow_provider_finetune.datasets.seen import seen_fields, seen_message
from airflow_provider_finetune.datasets.texts import MESSAGE_FIELDS, Text, last_reply, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.problem import Fault

TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3

_canonical = msgspec.json.Encoder(order="sorted").encode


# Stands for a text in an example without its texts.
_TEXT = "\0"
_PLAIN = {"role", "content"}


@dataclass(frozen=True, slots=True)
class Frame:
    """What is equal in examples that differ only in their texts.

    :ivar prompt: what the model is given, canonical, without texts and what no model sees.
    :ivar reply: what it shall answer, canonical, without texts and what no model sees.
    :ivar roles: who speaks, message by message.
    :ivar literals: what is paid for besides the texts: tools, names of functions, parts.
    :ivar images: how many there are; what they cost is not known.
    :ivar remarks: what is worth a warning in each of the examples.
    """

    prompt: bytes
    reply: bytes
    roles: tuple[str, ...]
    literals: tuple[str, ...]
    images: int
    remarks: tuple[Fault, ...]

    @property
    def framing_tokens(self) -> int:
        """Tokens that mark messages and the example, as in OpenAI's cookbook."""
        return TOKENS_PER_MESSAGE * len(self.roles) + TOKENS_PER_EXAMPLE


def frame_of(row: dict[str, Any], method: Method, remarks: tuple[Fault, ...] = ()) -> tuple[Frame, list[Text]]:
    """Return the frame of a good example of the method, and its texts in the order of the line."""
    texts: list[Text] = []

    def blank(text: Text) -> str:
        texts.append(text)
        return _TEXT

    bare = with_texts(row, method, blank)
    messages = list(_messages(bare))
    prompt, reply, shared = _sides(bare, method)
    literals = [literal for message in messages for literal in _literals(message)]
    literals += [_canonical(shared[key]).decode() for key in ("tools", "functions") if shared.get(key)]
    frame = Frame(
        prompt=_canonical([_shape(prompt), seen_fields(shared)]),
        reply=_canonical(_shape(reply)),
        roles=tuple(message["role"] for message in messages),
        literals=tuple(literals),
        images=sum(map(image_count, messages)),
        remarks=remarks,
    )
    return frame, texts


def token_of(text: str) -> bytes:
    """Return a text as the JSON token that identifies it, whichever characters its writer escapes."""
    return encode_basestring_ascii(text).encode()


def _sides(row: dict[str, Any], method: Method) -> tuple[Any, Any, dict[str, Any]]:
    """Return what the model is given, what it shall answer, and where the fields are that go with what it is given."""
    match method:
        case "supervised":
            # What comes behind the last reply teaches nothing.
            last = last_reply(row["messages"])
            return row["messages"][:last], row["messages"][last : last + 1], row
        case "dpo":
            outputs = [*row["preferred_output"], None, *row["non_preferred_output"]]
            return row["input"]["messages"], outputs, row["input"]
        case "reinforcement":
            given = EXAMPLES["reinforcement"].model_fields
            reference = [{key: value for key, value in row.items() if key not in given}]
            return row["messages"], reference, row
    return [], [], {}


def _messages(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(row.get("input"), dict):
        yield from _messages(row["input"])
    for key in MESSAGE_FIELDS:
        if isinstance(row.get(key), list):
            yield from row[key]


def _shape(messages: list[Any]) -> list[Any]:
    return [_seen(message) if message is not None and "role" in message else message for message in messages]


def _seen(message: dict[str, Any]) -> Any:
    # Most messages have a role and a text.
    seen = message if message.keys() == _PLAIN else seen_message(message)
    return seen["role"] if seen.keys() == _PLAIN and seen["content"] == _TEXT else seen


def _literals(message: dict[str, Any]) -> Iterator[str]:
    for key in ("name", "refusal"):
        if message.get(key):
            yield message[key]
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"]
    if call := message.get("function_call"):
        yield f"{call['name']} {call['arguments']}"
    if isinstance(message.get("content"), list):
        yield from (part.get("text") or part.get("refusal") or "" for part in message["content"])
