"""The texts of an example: what is said, and what differs in every line besides: ids, arguments, references."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_finetune.datasets.formats import Method

#: Where messages are, and whether they are an output, all of which is the reply.
MESSAGE_FIELDS = {"messages": False, "preferred_output": True, "non_preferred_output": True}


class Side(StrEnum):
    """What a text is to the model that is trained."""

    PROMPT = "prompt"
    REPLY = "reply"
    AFTER = "after"  #: behind the last reply: nothing is learned from it


class Kind(StrEnum):
    """What a text is to its example."""

    SAID = "said"  #: by the assistant, and not to be empty
    TEXT = "text"  #: by anybody else, or beside calls
    ARGUMENTS = "arguments"  #: of a call, JSON
    CALL_ID = "call_id"
    RESULT_ID = "result_id"  #: the id of a call before
    REFERENCE = "reference"  #: for the grader


#: Texts that make an example another one. Ids only link.
TELLING = frozenset({Kind.SAID, Kind.TEXT, Kind.ARGUMENTS, Kind.REFERENCE})
#: Texts that a model reads or writes, and that are paid for.
PAID = frozenset({Kind.SAID, Kind.TEXT, Kind.ARGUMENTS})


@dataclass(frozen=True, slots=True)
class Text:
    """A text and its place.

    :ivar order: sorts texts as they are said, whatever the order of the keys.
    """

    kind: Kind
    side: Side
    order: tuple[int | str, ...]
    text: str


def with_texts(row: dict[str, Any], method: Method, put: Callable[[Text], str]) -> dict[str, Any]:
    """Return a copy of an example with other texts, in which all keys keep their order.

    :param row: a good example of the method.
    :param put: is given the texts in the order of the line, and returns what shall stand in their place.
    """
    copy = dict(row)
    for key, value in row.items():
        if key in MESSAGE_FIELDS and isinstance(value, list):
            sides = _sides_of(value, method, is_output=MESSAGE_FIELDS[key])
            copy[key] = [
                _message(message, (key, i), side, put)
                for i, (message, side) in enumerate(zip(value, sides, strict=True))
            ]
        elif method == "dpo":
            copy[key] = with_texts(value, method, put) if key == "input" else value
        elif method == "completion" and key in ("prompt", "completion"):
            kind, side = (Kind.SAID, Side.REPLY) if key == "completion" else (Kind.TEXT, Side.PROMPT)
            copy[key] = put(Text(kind, side, (key,), value))
        elif method == "reinforcement" and isinstance(value, str):
            copy[key] = put(Text(Kind.REFERENCE, Side.REPLY, (key,), value))
    return copy


def last_reply(messages: Sequence[dict[str, Any]]) -> int:
    """Return which message is the last of the assistant, whatever its weight; how many there are if none is."""
    return next((i for i in reversed(range(len(messages))) if messages[i]["role"] == "assistant"), len(messages))


def is_said(content: str, message: dict[str, Any]) -> bool:
    """Return whether a content counts as a text: an empty one beside calls does not."""
    return bool(content) or not message.get("tool_calls")


def _sides_of(messages: list[dict[str, Any]], method: Method, *, is_output: bool) -> list[Side]:
    if is_output:
        return [Side.REPLY] * len(messages)
    if method != "supervised":
        return [Side.PROMPT] * len(messages)
    last = last_reply(messages)
    return [Side.PROMPT] * last + [Side.REPLY, *[Side.AFTER] * (len(messages) - last - 1)][: len(messages) - last]


def _message(
    message: dict[str, Any], order: tuple[int | str, ...], side: Side, put: Callable[[Text], str]
) -> dict[str, Any]:
    copy = dict(message)
    for key, value in message.items():
        if key == "content" and isinstance(value, str) and is_said(value, message):
            is_all = message["role"] == "assistant" and not (message.get("tool_calls") or message.get("function_call"))
            copy[key] = put(Text(Kind.SAID if is_all else Kind.TEXT, side, (*order, 0), value))
        elif key == "tool_call_id":
            copy[key] = put(Text(Kind.RESULT_ID, side, (*order, 1), value))
        elif key == "tool_calls" and value:
            copy[key] = [_call(call, (*order, 2, i), side, put) for i, call in enumerate(value)]
    return copy


def _call(call: dict[str, Any], order: tuple[int | str, ...], side: Side, put: Callable[[Text], str]) -> dict[str, Any]:
    copy = dict(call)
    for key, value in call.items():
        if key == "id" and value is not None:
            copy[key] = put(Text(Kind.CALL_ID, side, (*order, 0), value))
        elif key == "function":
            arguments = Text(Kind.ARGUMENTS, side, (*order, 1), value["arguments"])
            copy[key] = {**value, "arguments": put(arguments)}
    return copy
