"""An example apart from its texts: who speaks in which order, with which tools; the same for many lines of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.formats import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.formats import Method

TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """What is equal in examples that differ only in what is said.

    :ivar prompt: what the model is given, canonical, without texts and weights.
    :ivar reply: what it shall answer, canonical, without texts and weights.
    :ivar split: the number of texts that belong to the prompt; the others are the reply's.
    :ivar roles: who speaks, message by message.
    :ivar literal: text besides the texts that is paid for: tools, calls, names, parts.
    :ivar trains: False when every assistant message has weight 0, so that nothing is learned.
    :ivar ignored: top-level fields that the format does not know.
    """

    prompt: str
    reply: str
    split: int
    roles: tuple[str, ...]
    literal: str
    trains: bool
    ignored: tuple[str, ...]

    @property
    def framing_tokens(self) -> int:
        """Tokens that mark messages and the example, as in OpenAI's cookbook."""
        return TOKENS_PER_MESSAGE * len(self.roles) + TOKENS_PER_EXAMPLE


def frame_of(row: dict[str, Any], method: Method) -> tuple[Frame, list[str]]:
    """Return the frame and the texts of a row that is a good example of the method, in the order they are said.

    Texts are the contents that are plain strings.
    """
    prompt, reply = _sides(row, method)
    given, answered = list(texts_of(prompt)), list(texts_of(reply))
    messages = [*_messages(prompt), *_messages(reply)]
    frame = Frame(
        prompt=_canonical(_blank(prompt)),
        reply=_canonical(_blank(reply)),
        split=len(given),
        roles=tuple(message["role"] for message in messages),
        literal=" ".join(_literals(prompt, reply)),
        trains=not _only_weight_zero(messages),
        ignored=() if method == "reinforcement" else tuple(key for key in row if key not in EXAMPLES[method].model_fields),
    )
    return frame, given + answered


def token_of(text: str) -> bytes:
    """Return a text as the JSON token that identifies it, whichever characters its writer escapes."""
    return encode_basestring_ascii(text).encode()


def texts_of(side: Any) -> Iterator[str]:
    """Yield the plain contents of messages, and the values of a prompt or completion, in their order."""
    if isinstance(side, str):
        yield side
    elif isinstance(side, list):
        for message in side:
            if isinstance(message, dict) and isinstance(message.get("content"), str):
                yield message["content"]
    elif isinstance(side, dict):
        for key in ("messages", "prompt", "preferred_output", "non_preferred_output", "completion"):
            yield from texts_of(side.get(key))


def with_texts(row: Any, mark: str) -> Any:
    """Return a copy of a row in which every text that :func:`texts_of` yields is the mark, keys in their order."""
    if isinstance(row, list):
        return [
            {**message, "content": mark}
            if isinstance(message, dict) and isinstance(message.get("content"), str)
            else message
            for message in row
        ]
    held = {"messages", "preferred_output", "non_preferred_output", "input"}
    return {
        key: mark
        if key in ("prompt", "completion") and isinstance(value, str)
        else with_texts(value, mark)
        if key in held and isinstance(value, list | dict)
        else value
        for key, value in row.items()
    }


def _sides(row: dict[str, Any], method: Method) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the model is given and what it shall answer."""
    match method:
        case "supervised":
            rest = {key: row[key] for key in ("tools", "functions", "parallel_tool_calls") if row.get(key)}
            return {"messages": row["messages"][:-1], **rest}, {"messages": row["messages"][-1:]}
        case "dpo":
            return row["input"], {key: row[key] for key in ("preferred_output", "non_preferred_output")}
        case "reinforcement":
            given = {key: row[key] for key in ("messages", "tools") if row.get(key)}
            return given, {"reference": {key: value for key, value in row.items() if key not in given}}
    return {"prompt": row["prompt"]}, {"completion": row["completion"]}


def _messages(side: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("messages", "preferred_output", "non_preferred_output"):
        messages = side.get(key)
        if isinstance(messages, list):
            yield from (message for message in messages if isinstance(message, dict))


def _blank(side: dict[str, Any]) -> dict[str, Any]:
    blank = with_texts(side, "")
    for key in ("messages", "preferred_output", "non_preferred_output"):
        if isinstance(blank.get(key), list):
            blank[key] = [
                {name: value for name, value in message.items() if name != "weight" and value is not None}
                if isinstance(message, dict)
                else message
                for message in blank[key]
            ]
    return blank


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _literals(prompt: dict[str, Any], reply: dict[str, Any]) -> Iterator[str]:
    for side in (prompt, reply):
        for key in ("tools", "functions"):
            if side.get(key):
                yield _canonical(side[key])
        for message in _messages(side):
            for key in ("name", "refusal"):
                if isinstance(message.get(key), str):
                    yield message[key]
            calls = [call["function"] for call in message.get("tool_calls") or ()]
            for call in [*calls, message.get("function_call")]:
                if call:
                    yield f"{call['name']} {call['arguments']}"
            if isinstance(message.get("content"), list):
                yield from (part.get("text") or part.get("refusal") or "" for part in message["content"])


def _only_weight_zero(messages: list[dict[str, Any]]) -> bool:
    weights = [message.get("weight") for message in messages if message["role"] == "assistant"]
    return bool(weights) and all(weight == 0 for weight in weights)
