"""The texts of an example: what is said, and what differs in every line besides: ids, arguments, references."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.datasets.formats import Method

#: Where messages are, and whether they are the reply, by method; None leaves it to the last message.
MESSAGE_FIELDS = {"messages": False, "preferred_output": True, "non_preferred_output": True}


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
    is_reply: bool
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
            last = len(value) - 1
            copy[key] = [
                _message(message, (key, i), MESSAGE_FIELDS[key] or (method == "supervised" and i == last), put)
                for i, message in enumerate(value)
            ]
        elif method == "dpo":
            copy[key] = with_texts(value, method, put) if key == "input" else value
        elif method == "completion" and key in ("prompt", "completion"):
            kind = Kind.SAID if key == "completion" else Kind.TEXT
            copy[key] = put(Text(kind, key == "completion", (key,), value))
        elif method == "reinforcement" and isinstance(value, str):
            copy[key] = put(Text(Kind.REFERENCE, True, (key,), value))
    return copy


def _message(
    message: dict[str, Any], order: tuple[int | str, ...], is_reply: bool, put: Callable[[Text], str]
) -> dict[str, Any]:
    copy = dict(message)
    for key, value in message.items():
        if key == "content" and isinstance(value, str):
            is_all = message["role"] == "assistant" and not (message.get("tool_calls") or message.get("function_call"))
            copy[key] = put(Text(Kind.SAID if is_all else Kind.TEXT, is_reply, (*order, 0), value))
        elif key == "tool_call_id":
            copy[key] = put(Text(Kind.RESULT_ID, is_reply, (*order, 1), value))
        elif key == "tool_calls" and value:
            copy[key] = [_call(call, (*order, 2, i), is_reply, put) for i, call in enumerate(value)]
    return copy


def _call(
    call: dict[str, Any], order: tuple[int | str, ...], is_reply: bool, put: Callable[[Text], str]
) -> dict[str, Any]:
    copy = dict(call)
    for key, value in call.items():
        if key == "id":
            copy[key] = put(Text(Kind.CALL_ID, is_reply, (*order, 0), value))
        elif key == "function":
            arguments = Text(Kind.ARGUMENTS, is_reply, (*order, 1), value["arguments"])
            copy[key] = {**value, "arguments": put(arguments)}
    return copy
