"""Records of other formats become examples: what each field means is known, or the record is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_finetune.datasets.foreign import (
    ALPACA,
    BATCH_REQUEST,
    BEDROCK,
    COHERE,
    GEMINI,
    PREFERENCE,
    PROMPT_COMPLETION,
    SHAREGPT,
    Foreign,
    foreign_format,
)
from airflow_provider_finetune.datasets.formats import EXAMPLES
from airflow_provider_finetune.datasets.problem import column
from airflow_provider_finetune.datasets.records import Unconvertible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_finetune.datasets.formats import Method

Message = dict[str, Any]

_SHAREGPT_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_COHERE_ROLES: Final = {"System": "system", "User": "user", "Chatbot": "assistant"}
_BEDROCK_ROLES: Final = {"user": "user", "assistant": "assistant"}
_GEMINI_ROLES: Final = {"user": "user", "model": "assistant"}
_KNOWN_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


class UnknownFields(Unconvertible):
    """The fields of a record are not those that were expected; those of the next would not be, either."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a CSV file, or fields of a JSON object, hold what; None for what there is none of.

    :ivar user: what the user says.
    :ivar assistant: the reply to learn; not with ``chosen`` and ``rejected``.
    :ivar chosen: the output to prefer.
    :ivar rejected: the output to avoid.
    :ivar system: the system message of the example.
    :ivar instructions: a system message for every example, instead of a column.
    :raises ValueError: they make neither a chat nor a preference.
    """

    user: str | None = None
    assistant: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    system: str | None = None
    instructions: str | None = None

    def __post_init__(self) -> None:
        if self.system is not None and self.instructions is not None:
            raise ValueError("a system message is given, and a column of them")
        if not self.are_named:
            if self.system is not None:
                raise ValueError("a column of system messages is named, and none of the user's")
            return
        is_chat = self.assistant is not None and self.chosen is self.rejected is None
        is_preference = self.assistant is None and None not in (self.chosen, self.rejected)
        if self.user is None or not (is_chat or is_preference):
            raise ValueError("expected the columns of user and assistant, or of user, chosen and rejected")

    @property
    def are_named(self) -> bool:
        """Whether columns are named at all."""
        return any((self.user, self.assistant, self.chosen, self.rejected))


class Converter:
    """Makes examples of records, all of them for one method.

    :param columns: which fields hold what, where that is not known from their names.
    :param method: what the examples are for; None leaves it to the first record.
    :ivar left_out: fields that an example has no place for, and in how many records they were.
    """

    def __init__(self, columns: Columns | None = None, method: Method | None = None) -> None:
        self.columns = columns or Columns()
        self.method = method
        self.left_out: Counter[str] = Counter()

    def example(self, record: Any) -> dict[str, Any]:
        """Return the example that a record is.

        :raises Unconvertible: what it means would have to be guessed.
        """
        if not isinstance(record, dict):
            raise Unconvertible("no JSON object")
        if self.columns.are_named:
            example, used = self._of_columns(record)
        else:
            foreign = foreign_format(record)
            example, used = _of_plain(record) if foreign is None else _of_foreign(record, foreign)
        if self.columns.instructions is not None:
            given = (example["input"] if "preferred_output" in example else example)["messages"]
            if any(message.get("role") in ("system", "developer") for message in given if isinstance(message, dict)):
                raise Unconvertible("it has a system message of its own")
            given.insert(0, {"role": "system", "content": self.columns.instructions})
        method = _method_of(example)
        if self.method is None:
            self.method = method
        elif self.method != method and {self.method, method} != {"supervised", "reinforcement"}:
            raise Unconvertible(f"an example for method {method} among those for {self.method}")
        if self.method == "supervised":
            known = EXAMPLES["supervised"].model_fields
            example = {key: value for key, value in example.items() if key in known}
        used |= example.keys()
        self.left_out.update(key for key in record if key not in used)
        return example

    def _of_columns(self, record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
        columns = self.columns

        def text(name: str) -> str:
            if name not in record:
                there = ", ".join(column(key) for key in record)
                raise UnknownFields(f"no column {column(name)}; there are {there}")
            if not isinstance(record[name], str):
                raise Unconvertible(f"{column(name)} holds no text")
            found: str = record[name]
            return found

        user = text(str(columns.user))
        given = [{"role": "user", "content": user}]
        if columns.system is not None and text(columns.system).strip():
            given.insert(0, {"role": "system", "content": text(columns.system)})
        used = {name for name in (columns.user, columns.system) if name is not None}
        if columns.assistant is not None:
            messages = [*given, {"role": "assistant", "content": text(columns.assistant)}]
            return {"messages": messages}, used | {columns.assistant}
        chosen, rejected = str(columns.chosen), str(columns.rejected)
        return _preference(given, _reply(text(chosen)), _reply(text(rejected))), used | {chosen, rejected}


def _method_of(example: dict[str, Any]) -> Method:
    if "preferred_output" in example:
        return "dpo"
    messages = example["messages"]
    last = messages[-1] if isinstance(messages, list) and messages else None
    is_asked = isinstance(last, dict) and last.get("role") == "user"
    has_reference = not example.keys() <= EXAMPLES["reinforcement"].model_fields.keys()
    return "reinforcement" if is_asked and has_reference else "supervised"


def _of_plain(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return a record of this protocol: a chat or a preference as it is, a prompt and its completion as a chat."""
    if isinstance(record.get("messages"), list):
        return {**record, "messages": list(record["messages"])}, set()
    if {"input", "preferred_output", "non_preferred_output"} <= record.keys() and isinstance(record["input"], dict):
        known = EXAMPLES["dpo"].model_fields
        example = {key: value for key, value in record.items() if key in known}
        messages = record["input"].get("messages")
        if not isinstance(messages, list):
            raise Unconvertible("input has no messages")
        return {**example, "input": {**record["input"], "messages": list(messages)}}, set(known)
    if isinstance(record.get("prompt"), str) and isinstance(record.get("completion"), str):
        if isinstance(record.get("label"), bool):
            raise Unconvertible("a prompt and completion with a label, good or bad, which no example has a place for")
        messages = [{"role": "user", "content": record["prompt"]}, *_reply(record["completion"])]
        return {"messages": messages}, {"prompt", "completion"}
    there = ", ".join(column(key) for key in list(record)[:20]) or "none"
    raise UnknownFields(f"fields of unknown meaning ({there}); name them with --user-column and --assistant-column")


def _of_foreign(record: dict[str, Any], foreign: Foreign) -> tuple[dict[str, Any], set[str]]:
    reader = _READERS.get(foreign)
    if reader is None:
        raise Unconvertible(f"{foreign.name} ({foreign.shape}): {foreign.remedy}")
    return reader(record)


def _sharegpt(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    if record.get("tools"):
        raise Unconvertible("a ShareGPT row with tools, whose calls have no ids")
    used = {"conversations", "system", "tools"}
    messages = [_sharegpt_turn(turn) for turn in record["conversations"]]
    messages = [*_instructions(record.get("system")), *messages]
    if "chosen" in record and "rejected" in record:
        outputs = ([_sharegpt_turn(record[name])] for name in ("chosen", "rejected"))
        return _preference(messages, *outputs), used | {"chosen", "rejected"}
    return {"messages": messages}, used


def _sharegpt_turn(turn: Any) -> Message:
    said = _said(turn, "from", "value", _SHAREGPT_ROLES) or _said(turn, "role", "content", _SHAREGPT_ROLES)
    if said is None or not isinstance(said[1], str):
        raise Unconvertible("a turn without text, or from another than human, gpt and system")
    message: Message = {"role": said[0], "content": said[1]}
    if message["role"] == "assistant" and turn.get("weight") is not None:
        message["weight"] = turn["weight"]
    return message


def _alpaca(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    output = "output" if "output" in record else "response"
    messages, used = _alpaca_prompt(record)
    return {"messages": [*messages, *_reply(record[output])]}, used | {output}


def _alpaca_prompt(record: dict[str, Any]) -> tuple[list[Message], set[str]]:
    messages = _instructions(record.get("system"))
    for turn in record.get("history") or ():
        if not isinstance(turn, list) or len(turn) != 2:
            raise Unconvertible("a history that is not of pairs")
        messages += [{"role": "user", "content": turn[0]}, *_reply(turn[1])]
    given = record.get("input", record.get("context"))
    # A blank line between the two, as the prompt of Alpaca has it.
    user = f"{record['instruction']}\n\n{given}" if given else record["instruction"]
    return [*messages, {"role": "user", "content": user}], {"instruction", "input", "context", "system", "history"}


def _prompt_completion(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    messages = [*_checked(record["prompt"]), *_checked(record["completion"])]
    tools = {"tools": record["tools"]} if record.get("tools") else {}
    return {"messages": messages, **tools}, {"prompt", "completion", "tools"}


def _of_preference(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    used = {"prompt", "question", "system", "chosen", "rejected"}
    prompt = record.get("prompt", record.get("question"))
    if prompt is None and isinstance(record.get("instruction"), str):
        given, more = _alpaca_prompt(record)
        used |= more
    elif isinstance(prompt, str):
        given = [*_instructions(record.get("system")), {"role": "user", "content": prompt}]
    else:
        given = _checked(prompt) if prompt is not None else []
    chosen, rejected = (_output(record[name]) for name in ("chosen", "rejected"))
    shared = _shared(chosen, rejected)
    if shared:
        # The outputs begin with the prompt.
        if given[-len(shared) :] != shared:
            if given and shared[-len(given) :] != given:
                raise Unconvertible("outputs that begin with another conversation than the prompt")
            given = shared
        chosen, rejected = chosen[len(shared) :], rejected[len(shared) :]
    if not given:
        raise Unconvertible("no prompt: neither a field of its own, nor messages that both outputs begin with")
    roles = {message["role"] for message in (*chosen, *rejected)}
    if not chosen or not rejected or not roles <= {"assistant", "tool"}:
        raise Unconvertible("outputs that are not the assistant's")
    return _preference(given, chosen, rejected), used


def _output(value: Any) -> list[Message]:
    if isinstance(value, str):
        return _reply(value)
    return _checked([value] if isinstance(value, dict) else value)


def _shared(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """Return the messages that both outputs begin with, up to the last that is not the assistant's."""
    count = 0
    for i, (one, other) in enumerate(zip(chosen, rejected, strict=False)):
        if one != other:
            break
        if one["role"] not in ("assistant", "tool"):
            count = i + 1
    return chosen[:count]


def _bedrock(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    system = record.get("system")
    messages = [{"role": "system", "content": _texts(system)}] if system else []
    for message in record["messages"]:
        said = _said(message, "role", "content", _BEDROCK_ROLES)
        if said is None:
            raise Unconvertible("a message of a Bedrock conversation without a known role")
        messages.append({"role": said[0], "content": said[1] if isinstance(said[1], str) else _texts(said[1])})
    return {"messages": messages}, {"messages", "system", "schemaVersion"}


def _gemini(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    names = {"contents", "systemInstruction", "system_instruction"}
    system = record.get("systemInstruction", record.get("system_instruction"))
    messages = [{"role": "system", "content": _texts(system.get("parts"))}] if isinstance(system, dict) else []
    for content in record["contents"]:
        said = _said(content, "role", "parts", _GEMINI_ROLES)
        if said is None:
            raise Unconvertible("a content of a Gemini conversation without a known role")
        messages.append({"role": said[0], "content": _texts(said[1])})
    return {"messages": messages}, names


def _cohere(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    messages = []
    for message in record["messages"]:
        said = _said(message, "role", "content", _COHERE_ROLES)
        if said is None or not isinstance(said[1], str):
            raise Unconvertible("a message of a Cohere conversation without a known role, or without text")
        messages.append({"role": said[0], "content": said[1]})
    return {"messages": messages}, {"messages"}


def _batch_request(record: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    body = record["body"]
    messages = _checked(body.get("messages") if isinstance(body, dict) else None)
    if not messages or messages[-1]["role"] != "assistant":
        raise Unconvertible(f"{BATCH_REQUEST.name}, which holds no answer")
    example = {key: body[key] for key in ("messages", "tools", "parallel_tool_calls") if key in body}
    return {**example, "messages": messages}, {"body", "custom_id", "method", "url"}


_READERS: Final[Mapping[Foreign, Callable[[dict[str, Any]], tuple[dict[str, Any], set[str]]]]] = {
    SHAREGPT: _sharegpt,
    ALPACA: _alpaca,
    PREFERENCE: _of_preference,
    PROMPT_COMPLETION: _prompt_completion,
    BEDROCK: _bedrock,
    GEMINI: _gemini,
    COHERE: _cohere,
    BATCH_REQUEST: _batch_request,
}


def _said(turn: Any, role: str, content: str, roles: Mapping[str, str]) -> tuple[str, Any] | None:
    """Return the role and the content of a turn, if its role is a known one."""
    if not isinstance(turn, dict) or not isinstance(turn.get(role), str) or content not in turn:
        return None
    known = roles.get(turn[role])
    return None if known is None else (known, turn[content])


def _texts(parts: Any) -> Any:
    """Return a list of parts that are all text as the content of a message."""
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and part.keys() == {"text"} and isinstance(part["text"], str) for part in parts
    ):
        raise Unconvertible("parts that are not plain text")
    if len(parts) == 1:
        return parts[0]["text"]
    return [{"type": "text", "text": part["text"]} for part in parts]


def _checked(messages: Any) -> list[Message]:
    if not isinstance(messages, list) or not all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and message["role"] in _KNOWN_ROLES
        for message in messages
    ):
        raise Unconvertible("a conversation that is no list of messages with known roles")
    return list(messages)


def _instructions(system: Any) -> list[Message]:
    if system is None or (isinstance(system, str) and not system.strip()):
        return []
    return [{"role": "system", "content": system}]


def _reply(text: Any) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def _preference(given: Iterable[Message], chosen: list[Message], rejected: list[Message]) -> dict[str, Any]:
    return {"input": {"messages": list(given)}, "preferred_output": chosen, "non_preferred_output": rejected}
