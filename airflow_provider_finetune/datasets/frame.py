"""An example apart from its texts: who speaks in which order, with which tools; the same for many lines of a file."""

from __future__ import annotations

from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_finetune.datasets.formats import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.formats import Method

TOKENS_PER_MESSAGE = 4
TOKENS_PER_EXAMPLE = 3

_TEXT_FIELDS = ("prompt", "completion")
_MESSAGE_FIELDS = ("messages", "preferred_output", "non_preferred_output")
_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Frame:
    """What is equal in examples that differ only in what is said.

    :ivar prompt: what the model is given, canonical, without texts and weights.
    :ivar reply: what it shall answer, canonical, without texts and weights.
    :ivar split: the number of texts that belong to the prompt; the others are the reply's.
    :ivar roles: who speaks, message by message.
    :ivar literals: what is paid for besides the texts: tools, calls, names, parts.
    :ivar trains: False when every assistant message has weight 0, so that nothing is learned.
    :ivar ignored: top-level fields that the format does not know.
    """

    prompt: bytes
    reply: bytes
    split: int
    roles: tuple[str, ...]
    literals: tuple[str, ...]
    trains: bool
    ignored: tuple[str, ...]

    @property
    def framing_tokens(self) -> int:
        """Tokens that mark messages and the example, as in OpenAI's cookbook."""
        return TOKENS_PER_MESSAGE * len(self.roles) + TOKENS_PER_EXAMPLE


def frame_of(row: dict[str, Any], method: Method) -> tuple[Frame, list[str]]:
    """Return the frame of a row that is a good example of the method, and its texts in the order they are said.

    Texts are the contents that are plain strings.
    """
    given, answered, shared = _sides(row, method)
    texts: list[str] = []
    literals: list[str] = []
    prompt = [_shape(message, texts, literals) for message in given]
    split = len(texts)
    reply = [_shape(message, texts, literals) for message in answered]
    literals += [_canonical(shared[key]).decode() for key in ("tools", "functions") if shared.get(key)]
    messages = [message for message in (*given, *answered) if isinstance(message, dict)]
    weights = [message.get("weight") for message in messages if message["role"] == "assistant"]
    frame = Frame(
        prompt=_canonical([prompt, shared if method != "reinforcement" else shared.get("tools")]),
        reply=_canonical([reply, shared if method == "reinforcement" else None]),
        split=split,
        roles=tuple(message["role"] for message in messages),
        literals=tuple(literals),
        trains=not weights or any(weight != 0 for weight in weights),
        ignored=_ignored(row, method),
    )
    return frame, texts


def token_of(text: str) -> bytes:
    """Return a text as the JSON token that identifies it, whichever characters its writer escapes."""
    return encode_basestring_ascii(text).encode()


def with_texts(row: dict[str, Any], mark: str) -> dict[str, Any]:
    """Return a copy of a row whose texts are all the mark; the keys keep their order."""
    marked = dict(row)
    for key, value in row.items():
        if key in _TEXT_FIELDS and isinstance(value, str):
            marked[key] = mark
        elif key == "input" and isinstance(value, dict):
            marked[key] = with_texts(value, mark)
        elif key in _MESSAGE_FIELDS and isinstance(value, list):
            marked[key] = [
                {**message, "content": mark}
                if isinstance(message, dict) and isinstance(message.get("content"), str)
                else message
                for message in value
            ]
    return marked


def _sides(row: dict[str, Any], method: Method) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return what the model is given, what it shall answer, and the fields beside these."""
    match method:
        case "supervised":
            *given, answer = row["messages"]
            return given, [answer], _fields(row, ("tools", "functions", "parallel_tool_calls"))
        case "dpo":
            asked = row["input"]
            answers = [*row["preferred_output"], None, *row["non_preferred_output"]]
            return asked["messages"], answers, _fields(asked, ("tools", "functions", "parallel_tool_calls"))
        case "reinforcement":
            return row["messages"], [], {key: value for key, value in row.items() if key != "messages"}
    return [row["prompt"]], [row["completion"]], {}


def _fields(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: row[name] for name in names if row.get(name)}


def _shape(message: Any, texts: list[str], literals: list[str]) -> Any:
    """Return what a message is besides its text, and collect that text, and the literals it is paid for."""
    if not isinstance(message, dict):
        if isinstance(message, str):
            texts.append(message)
        return None
    content = message.get("content")
    if isinstance(content, str):
        texts.append(content)
        if len(message) == 2:
            return message["role"]
    shape = {key: value for key, value in message.items() if value is not None and key != "weight"}
    if isinstance(content, str):
        shape["content"] = ""
    literals += _literals(message)
    return shape


def _literals(message: dict[str, Any]) -> Iterator[str]:
    for key in ("name", "refusal"):
        if message.get(key):
            yield message[key]
    for call in message.get("tool_calls") or ():
        yield f"{call['function']['name']} {call['function']['arguments']}"
    if call := message.get("function_call"):
        yield f"{call['name']} {call['arguments']}"
    if isinstance(message.get("content"), list):
        yield from (part.get("text") or part.get("refusal") or "" for part in message["content"])


def _ignored(row: dict[str, Any], method: Method) -> tuple[str, ...]:
    if method == "reinforcement" or row.keys() <= EXAMPLES[method].model_fields.keys():
        return ()
    return tuple(key for key in row if key not in EXAMPLES[method].model_fields)
