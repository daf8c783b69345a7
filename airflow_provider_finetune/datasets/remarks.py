"""What is worth saying of a well-formed example: what some endpoints refuse, and what a person should look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.formats import EXAMPLES, is_json
from airflow_provider_finetune.datasets.images import image_remarks
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind, joined, named
from airflow_provider_finetune.datasets.schemas import pydantic_habits
from airflow_provider_finetune.datasets.seen import seen_message
from airflow_provider_finetune.datasets.texts import MESSAGE_FIELDS
from airflow_provider_finetune.datasets.vendors import MOST_IMAGES
from airflow_provider_finetune.datasets.vocabulary import is_known
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from airflow_provider_finetune.datasets.formats import Method

#: Kinds that are told once for a file: the lines of a file mostly have them in common.
ONCE = frozenset({str(WarningKind.IGNORED_FIELD), str(WarningKind.TOOL_SCHEMA)})
_AND_MORE = "in this and maybe more lines"


def frame_remarks(row: dict[str, Any], method: Method) -> Iterator[Fault]:
    """Yield what holds for every example that differs from this one only in its texts.

    :param row: a good example of the method.
    """
    for path, messages in _conversations(row):
        for i, message in enumerate(messages):
            yield from _of_message(message, f"{path}[{i}]", is_output=path in _OUTPUTS)
        images = sum(image_count(message) for message in messages)
        refused_by = tuple(vendor for vendor, most in MOST_IMAGES.items() if images > most)
        if refused_by:
            fewest = min(MOST_IMAGES[vendor] for vendor in refused_by)
            found, expected = f"a list with {images} images", f"at most {fewest} in an example"
            yield Fault(ErrorKind.TOO_MANY_IMAGES, path, found, expected, refused_by)
        instructions = sum(message["role"] in ("system", "developer") for message in messages)
        if instructions > 1:
            found = f"a list with {instructions} messages of role system or developer"
            yield Fault(ErrorKind.SEVERAL_SYSTEM_MESSAGES, path, found, "at most one")
    if method == "supervised":
        yield from _of_turns(row["messages"])
    yield from _of_tools(row, "")
    if isinstance(row.get("input"), dict):
        yield from _of_tools(row["input"], "input.")
    for field in _ignored(row, method):
        found = f"a field {field} {_AND_MORE}"
        yield Fault(WarningKind.IGNORED_FIELD, None, found, "fields of the format")


def text_remarks(row: dict[str, Any], method: Method) -> Iterator[Fault]:
    """Yield what the texts of an example show.

    :param row: a good example of the method.
    """
    for path, messages in _conversations(row):
        for i, message in enumerate(messages):
            for place, call in _functions(message, f"{path}[{i}]"):
                if not is_object(call["arguments"]):
                    found = "a JSON string, and no object: encoded twice"
                    yield Fault(WarningKind.ARGUMENTS_ENCODED_TWICE, place, found, "the arguments as JSON text")
    if method == "dpo":
        preferred, other = ([seen_message(message) for message in row[name]] for name in _OUTPUTS)
        if preferred == other:
            expected = "another output than the preferred one"
            yield Fault(ErrorKind.SAME_OUTPUTS, "non_preferred_output", "equal to preferred_output", expected)


def is_object(arguments: str) -> bool:
    """Return whether the arguments of a call are JSON, and not a JSON string with JSON in it."""
    return is_json(arguments) and not arguments.lstrip().startswith('"')


def image_count(message: dict[str, Any]) -> int:
    """Return how many images a message has."""
    content = message.get("content")
    return sum(part["type"] == "image_url" for part in content) if isinstance(content, list) else 0


_OUTPUTS = ("preferred_output", "non_preferred_output")


def _conversations(row: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if isinstance(row.get("input"), dict):
        yield "input.messages", row["input"]["messages"]
    for name in MESSAGE_FIELDS:
        if isinstance(row.get(name), list):
            yield name, row[name]


def _of_message(message: dict[str, Any], path: str, *, is_output: bool) -> Iterator[Fault]:
    if is_output and message["role"] == "tool":
        yield Fault(ErrorKind.TOOL_IN_OUTPUT, f"{path}.role", '"tool"', "assistant messages only")
    for k, call in enumerate(message.get("tool_calls") or ()):
        if call.get("id") is None:
            expected = 'an id, such as "call_1", that the result names in tool_call_id'
            yield Fault(ErrorKind.CALL_WITHOUT_ID, f"{path}.tool_calls[{k}].id", "missing", expected)
    content = message.get("content")
    for j, part in enumerate(content if isinstance(content, list) else ()):
        if part["type"] == "image_url":
            yield from image_remarks(part["image_url"]["url"], f"{path}.content[{j}].image_url.url")


def _of_turns(messages: list[dict[str, Any]]) -> Iterator[Fault]:
    if (last := messages[-1]["role"]) != "assistant":
        place = f"messages[{len(messages) - 1}].role"
        yield Fault(ErrorKind.LAST_TURN, place, named(last), "assistant in the last message")
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        found, expected = "every assistant message has weight 0", "at least one of weight 1 to learn from"
        yield Fault(WarningKind.ALL_WEIGHTS_ZERO, None, found, expected)


def _of_tools(row: dict[str, Any], path: str) -> Iterator[Fault]:
    functions = [(f"tools[{k}].function", tool["function"]) for k, tool in enumerate(row.get("tools") or ())]
    functions += [(f"functions[{k}]", function) for k, function in enumerate(row.get("functions") or ())]
    for place, function in functions:
        if habits := pydantic_habits(function.get("parameters") or {}):
            found = f"a schema with {', '.join(habits)} {_AND_MORE}"
            yield Fault(WarningKind.TOOL_SCHEMA, f"{path}{place}.parameters", found, "a plain schema")


def _functions(message: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for k, call in enumerate(message.get("tool_calls") or ()):
        yield f"{path}.tool_calls[{k}].function.arguments", call["function"]
    if call := message.get("function_call"):
        yield f"{path}.function_call.arguments", call


def _ignored(row: dict[str, Any], method: Method) -> Iterator[str]:
    if method == "reinforcement":
        return
    yield from _beside(EXAMPLES[method].model_fields, row, "")
    if method == "dpo":
        yield from _beside(EXAMPLES["supervised"].model_fields, row["input"], "input")


def _beside(known: Container[str], fields: dict[str, Any], path: str) -> Iterator[str]:
    for place, key in enumerate(fields, 1):
        if key not in known:
            where = joined(path, key, place)
            yield f'"{where}"' if is_known(key) else f"{where}, of {counted(len(key), 'character')},"
