"""An example apart from its texts: who speaks in which order, with which tools; the same for many lines of a file."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_finetune.datasets.formats import EXAMPLES
from airflow_provider_finetune.datasets.texts import MESSAGE_FIELDS, Text, with_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.formats import Method

TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3

_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Frame:
    """What is equal in examples that differ only in their texts.

    :ivar prompt: what the model is given, canonical, without texts and weights.
    :ivar reply: what it shall answer, canonical, without texts and weights.
    :ivar roles: who speaks, message by message.
    :ivar literals: what is paid for besides the texts: tools, names of functions, parts.
    :ivar trains: False when every assistant message has weight 0, so that nothing is learned.
    :ivar ignored: top-level fields that the format does not know.
    """

    prompt: bytes
    reply: bytes
    roles: tuple[str, ...]
    literals: tuple[str, ...]
    trains: bool
    ignored: tuple[str, ...]

    @property
    def framing_tokens(self) -> int:
        """Tokens that mark messages and the example, as in OpenAI's cookbook."""
        return TOKENS_PER_MESSAGE * len(self.roles) + TOKENS_PER_EXAMPLE


def frame_of(row: dict[str, Any], method: Method) -> tuple[Frame, list[Text]]:
    """Return the frame of a good example of the method, and its texts in the order of the line."""
    texts: list[Text] = []

    def blank(text: Text) -> str:
        texts.append(text)
        return ""

    bare = with_texts(row, method, blank)
    messages = list(_messages(bare))
    prompt, reply, shared = _sides(bare, method)
    weights = [message.get("weight") for message in messages if message["role"] == "assistant"]
    literals = [literal for message in messages for literal in _literals(message)]
    literals += [_canonical(shared[key]).decode() for key in ("tools", "functions") if shared.get(key)]
    frame = Frame(
        prompt=_canonical([_shape(prompt), shared]),
        reply=_canonical(_shape(reply)),
        roles=tuple(message["role"] for message in messages),
        literals=tuple(literals),
        trains=not weights or any(weight != 0 for weight in weights),
        ignored=_ignored(row, method),
    )
    return frame, texts


def token_of(text: str) -> bytes:
    """Return a text as the JSON token that identifies it, whichever characters its writer escapes."""
    return encode_basestring_ascii(text).encode()


def _sides(row: dict[str, Any], method: Method) -> tuple[Any, Any, dict[str, Any]]:
    """Return what the model is given, what it shall answer, and the fields that go with what it is given."""
    match method:
        case "supervised":
            *given, answer = row["messages"]
            return given, [answer], _fields(row)
        case "dpo":
            outputs = [*row["preferred_output"], None, *row["non_preferred_output"]]
            return row["input"]["messages"], outputs, _fields(row["input"])
        case "reinforcement":
            reference = [{key: value for key, value in row.items() if key not in ("messages", "tools")}]
            return row["messages"], reference, _fields(row)
    return [], [], {}


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("tools", "functions", "parallel_tool_calls") if row.get(name)}


def _messages(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if isinstance(row.get("input"), dict):
        yield from _messages(row["input"])
    for key in MESSAGE_FIELDS:
        if isinstance(row.get(key), list):
            yield from row[key]


def _shape(messages: list[Any]) -> list[Any]:
    return [
        message["role"]
        if message is not None and message.keys() == {"role", "content"} and message["content"] == ""
        else message and {key: value for key, value in message.items() if value is not None and key != "weight"}
        for message in messages
    ]


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


def _ignored(row: dict[str, Any], method: Method) -> tuple[str, ...]:
    if method == "reinforcement" or row.keys() <= EXAMPLES[method].model_fields.keys():
        return ()
    return tuple(key for key in row if key not in EXAMPLES[method].model_fields)
