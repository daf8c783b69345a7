"""What a file of examples teaches: from the last user turn to the reply, for each of the three formats.

Refuses what the API refuses and nothing else, so that a file which trains here is not refused for its form elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.json_text import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FEWEST_EXAMPLES = 10
MOST_IMAGES = 10
MOST_LEARNED = 50_000
"""Examples of a file that are learned; the others are checked and counted: a huge file stays cheap."""


class BadFile(Exception):
    """A file that no job can use; becomes the `error` of a failed job."""

    def __init__(self, code: str, message: str, param: str) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class _BadLine(Exception):
    """What is wrong with one line; the message never holds its text."""


@dataclass(frozen=True, slots=True)
class Example:
    """What one line teaches: a reply, for DPO also the rejected one; for reinforcement the whole row instead."""

    prompt: str
    reply: str = ""
    rejected: str = ""
    item: dict[str, Any] = field(default_factory=dict)


@dataclass
class Examples:
    """What a file teaches. `count` is of the whole file, of which a huge one is learned in part."""

    learned: list[Example] = field(default_factory=list)
    count: int = 0


def text_of(content: Any) -> str:
    """Return the text of a message's content, which is a string, a list of parts, or nothing."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_user_turn(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user turn; all text when there is no user turn."""
    turns = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
    return turns[-1] if turns else " ".join(text_of(m.get("content")) for m in messages)


def tokens_of(text: str) -> int:
    """Return about how many tokens a text has: one for four characters."""
    return -(-len(text) // 4)


def reply_of(message: dict[str, Any]) -> str:
    """Return an assistant message as one string, tool calls included; `message_of` does the opposite."""
    if calls := message.get("tool_calls"):
        return json.dumps({"content": message.get("content"), "tool_calls": calls}, sort_keys=True)
    return json.dumps({"content": text_of(message.get("content"))})


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _BadLine(f"{place} must be an object")
    return value


def _content(message: dict[str, Any], place: str) -> int:
    content, role = message.get("content"), message["role"]
    if content is None or isinstance(content, str):
        return 0
    if not isinstance(content, list):
        raise _BadLine(f"{place}.content must be a string or a list of parts")
    images = 0
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _BadLine(f"{place}.content must be a list of parts with a type")
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise _BadLine(f"{place}.content has a text part without text")
        images += part["type"] == "image_url"
    if images and role != "user":
        raise _BadLine(f"{place}: images are allowed in user messages only")
    return images


def _messages(value: Any, place: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise _BadLine(f"{place} must be a non-empty list")
    images = 0
    for i, message in enumerate(value):
        here = f"{place}[{i}]"
        role = _object(message, here).get("role")
        if role not in ROLES:
            raise _BadLine(f"{here}.role must be one of {', '.join(ROLES)}")
        images += _content(message, here)
        if role == "assistant":
            if not _says_something(message):
                raise _BadLine(f"{here} must have content or tool_calls")
            if message.get("weight") not in (None, 0, 1):
                raise _BadLine(f"{here}.weight must be 0 or 1")
        elif role in ("system", "developer", "user") and message.get("content") is None:
            raise _BadLine(f"{here} must have content")
    if images > MOST_IMAGES:
        raise _BadLine(f"{place} has {images} images, but at most {MOST_IMAGES} are allowed")
    return value


def _says_something(message: dict[str, Any]) -> bool:
    return message.get("content") is not None or bool(message.get("tool_calls") or message.get("function_call"))


def _supervised(row: dict[str, Any]) -> Example:
    messages = _messages(row.get("messages"), "messages")
    said = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if not said:
        raise _BadLine("messages must have at least one assistant message")
    # A turn of weight 0 is context, not a lesson, unless there is nothing else.
    last = next((i for i in reversed(said) if messages[i].get("weight") != 0), said[-1])
    return Example(last_user_turn(messages[:last]), reply_of(messages[last]))


def _preference(row: dict[str, Any]) -> Example:
    messages = _messages(_object(row.get("input"), "input").get("messages"), "input.messages")
    outputs = []
    for name in ("preferred_output", "non_preferred_output"):
        output = _messages(row.get(name), name)
        if any(m["role"] != "assistant" for m in output):
            raise _BadLine(f"{name} must hold assistant messages only")
        outputs.append(reply_of(output[-1]))
    return Example(last_user_turn(messages), outputs[0], outputs[1])


def _reinforcement(row: dict[str, Any]) -> Example:
    messages = _messages(row.get("messages"), "messages")
    if messages[-1]["role"] != "user":
        raise _BadLine("messages must end with a user message")
    return Example(last_user_turn(messages), item=row)


_READERS: dict[str, Callable[[dict[str, Any]], Example]] = {
    "supervised": _supervised,
    "dpo": _preference,
    "reinforcement": _reinforcement,
}


def read_examples(path: Path, method: str, *, param: str, stopped: Callable[[], bool]) -> Examples:
    """Return the examples of a file, read line by line.

    :param method: `supervised`, `dpo` or `reinforcement`, which decides the format.
    :param param: `training_file` or `validation_file`, for the wording of an error.
    :param stopped: asked now and then; reading ends early once it is true.
    :raises BadFile: `invalid_training_file` at the first bad line, `invalid_n_examples` for too few.
    """
    examples, read = Examples(), _READERS[method]
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if number % 1000 == 0 and stopped():
                break
            try:
                example = read(_object(read_json(line), "the line"))
            except ValueError:
                raise _bad_line(param, number, "the line is not valid JSON") from None
            except _BadLine as e:
                raise _bad_line(param, number, f"{e} (method {method})") from None
            if examples.count < MOST_LEARNED:
                examples.learned.append(example)
            examples.count += 1
    fewest = FEWEST_EXAMPLES if param == "training_file" else 1
    if examples.count < fewest:
        name, found = param.replace("_", " "), examples.count
        raise BadFile(
            "invalid_n_examples",
            f"{name.capitalize()} has {found} example(s), but must have at least {fewest} examples",
            param,
        )
    return examples


def _bad_line(param: str, number: int, reason: str) -> BadFile:
    name = param.replace("_", " ")
    message = f"The job failed due to an invalid {name}. Invalid file format. Line {number}: {reason}."
    return BadFile("invalid_training_file", message, param)
