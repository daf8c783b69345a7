"""A line of a dataset becomes an example, or the list of what is wrong with it in words for a person."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import ValidationError

from airflow_provider_finetune.datasets.excerpt import SHORTEST_CUT, excerpt_of
from airflow_provider_finetune.datasets.foreign import foreign_format
from airflow_provider_finetune.datasets.formats import EXAMPLES
from airflow_provider_finetune.datasets.problem import (
    MOST_FAULTS,
    MOST_LOOKED_AT,
    ErrorKind,
    Fault,
    joined,
    named,
    type_of,
)
from airflow_provider_finetune.datasets.reading import read_object
from airflow_provider_finetune.datasets.remarks import frame_remarks, text_remarks
from airflow_provider_finetune.datasets.rules import ANY, Rules, Severity
from airflow_provider_finetune.datasets.vocabulary import is_known
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from airflow_provider_finetune.datasets.formats import Example, Method

#: What code for good examples raises on a row that is none.
ODD = (AttributeError, IndexError, KeyError, TypeError, ValueError)
# Told of messages that are each right.
_OF_TURNS = frozenset(
    {ErrorKind.RESULT_WITHOUT_CALL, ErrorKind.CALL_WITHOUT_RESULT, ErrorKind.NO_ASSISTANT, ErrorKind.LAST_TURN}
)
ROLES = ("system", "developer", "user", "assistant", "tool")

# What makes a row one of another format, and how that format is described.
_SHAPES: dict[str, tuple[str, ...]] = {
    "dpo": ("input", "preferred_output", "non_preferred_output"),
    "completion": ("prompt", "completion"),
    "messages": ("messages",),
}
_SHAPE_OF: dict[Method, str] = {
    "supervised": "messages",
    "reinforcement": "messages",
    "dpo": "dpo",
    "completion": "completion",
}


class Explained(NamedTuple):
    """What a line holds: the row as JSON, the example if it is one, and what is wrong with it.

    ``row`` is None when the line is not a JSON object. ``example`` is None when the row is none of the method; if there
    are no errors nevertheless, what is wrong is allowed. ``common`` are the warnings that hold for every example which
    differs from this one only in its texts.
    """

    row: dict[str, Any] | None
    example: Example | None
    errors: list[Fault]
    warnings: list[Fault]
    common: tuple[Fault, ...]


def explain(
    line: bytes, method: Method, rules: Rules = ANY, *, is_whole: bool = True, is_first: bool = False
) -> Explained:
    """Return what a line holds and what is wrong with it, up to :data:`MOST_FAULTS` errors. Never raises.

    :param line: the line without or with its line break.
    :param rules: decide what is an error, and what a warning.
    :param is_whole: whether a line break ended it; one that ends with the file may be cut off.
    :param is_first: whether it is the first line of a file, where a byte order mark may stand.
    """
    row, faults = read_object(line, is_whole=is_whole, is_first=is_first)
    judged = _Verdicts(rules, faults)
    if row is None or judged.errors:
        return Explained(row, None, judged.errors, judged.warnings, ())
    if len(line) > SHORTEST_CUT and (large := _Verdicts(rules, _faults_of_large(row, method)).errors):
        return Explained(row, None, large, judged.warnings, ())
    example, faults = examine(row, method)
    judged.add(faults)
    if judged.errors:
        return Explained(row, None, judged.errors, judged.warnings, ())
    try:
        judged.add(text_remarks(row, method))
        before = len(judged.warnings)
        judged.add(frame_remarks(row, method))
    except ODD:
        if example is not None:
            raise
        # What is wrong is allowed, and leaves no example to look at further.
        return Explained(row, None, judged.errors, judged.warnings, ())
    return Explained(row, example, judged.errors, judged.warnings, tuple(judged.warnings[before:]))


class _Verdicts:
    """Sorts faults into errors and warnings, up to :data:`MOST_FAULTS` of each."""

    def __init__(self, rules: Rules, faults: Iterable[Fault]) -> None:
        self._rules = rules
        self.errors: list[Fault] = []
        self.warnings: list[Fault] = []
        self.add(faults)

    def add(self, faults: Iterable[Fault]) -> None:
        for severity, fault in filter(None, map(self._rules.judge, faults)):
            kept = self.errors if severity is Severity.ERROR else self.warnings
            if len(kept) < MOST_FAULTS:
                kept.append(fault)
            elif kept is self.errors:
                break


def examine(row: dict[str, Any], method: Method) -> tuple[Example | None, list[Fault]]:
    """Return the example that a row is, or why it is none at any endpoint."""
    wanted = _SHAPES[_SHAPE_OF[method]]
    if (foreign := foreign_format(row)) is not None:
        found = f"{foreign.name} ({foreign.shape})"
        expected = f"an example for method {method} ({', '.join(wanted)}); {foreign.remedy}"
        return None, [Fault(ErrorKind.WRONG_FORMAT, None, found, expected)]
    if not any(key in row for key in wanted):
        for shape, keys in _SHAPES.items():
            if all(key in row for key in keys):
                fits = _methods_of(row) if shape == "messages" else shape
                found = f"an example for method {fits} ({', '.join(keys)})"
                expected = f"one for method {method} ({', '.join(wanted)})"
                if shape == "completion" and method == "supervised":
                    expected += "; `finetune-dataset convert FILE OUTPUT` makes one of it"
                return None, [Fault(ErrorKind.WRONG_FORMAT, None, found, expected)]
    try:
        return EXAMPLES[method].model_validate(row), []
    except ValidationError as error:
        if (count := error.error_count()) > MOST_LOOKED_AT:
            found = f"an example with {count:,} mistakes in lists or objects of thousands"
            return None, [Fault(ErrorKind.WRONG_TYPE, None, found, f"one for method {method}")]
        return None, list(chain.from_iterable(_explained(detail, row) for detail in error.errors()))


def _faults_of_large(row: dict[str, Any], method: Method) -> list[Fault]:
    """Return what is wrong at the beginning of the lists and objects of a large row; nothing of others.

    A line can hold hundreds of thousands of mistakes, and pydantic describes each in a kilobyte.
    """
    excerpt = excerpt_of(row)
    # Which calls have results, and which turn is the last, a part of the messages does not tell.
    return [] if excerpt is row else [fault for fault in examine(excerpt, method)[1] if fault.kind not in _OF_TURNS]


def fitting(row: dict[str, Any], rules: Rules = ANY) -> set[Method]:
    """Return the methods that the row is a good example for."""
    return {
        method
        for method in EXAMPLES
        if (method != "reinforcement" or _has_references(row))
        and not _faults_of_large(row, method)
        and not examine(row, method)[1]
        and not _Verdicts(rules, frame_remarks(row, method)).errors
    }


def _methods_of(row: dict[str, Any]) -> str:
    return "supervised or reinforcement" if _has_references(row) else "supervised"


def _has_references(row: dict[str, Any]) -> bool:
    """Return whether there is more in a row than the format has: what a grader compares with."""
    return not row.keys() <= EXAMPLES["reinforcement"].model_fields.keys()


# -- from pydantic's words to ours

_EXPECTED_TYPE = {
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "bool_type": "true or false",
    "none_required": "null",
}
# Fields of messages that only one role has.
_ONLY_IN = {
    "weight": "assistant",
    "tool_calls": "assistant",
    "function_call": "assistant",
    "refusal": "assistant",
    "tool_call_id": "tool",
}
_EXPECTED_FIELD = {
    "messages": "a list of messages",
    "content": "a string or a list of parts",
    "role": f"one of {', '.join(ROLES)}",
    "type": "a string",
    "tools": "a list of tools",
    "tool_calls": "a list of calls",
    "preferred_output": "a list of assistant messages",
    "non_preferred_output": "a list of assistant messages",
    "input": "an object with messages",
}


def _explained(detail: ErrorDetails, row: dict[str, Any]) -> list[Fault]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    path = _path(detail["loc"], row)
    field = path.rpartition(".")[2].partition("[")[0]
    match kind:
        case "faults":
            return [replace(fault, path=_under(path, fault.path)) for fault in context["faults"]]
        case "union_tag_invalid" | "union_tag_not_found":
            return [_untagged(path, value)]
        case ErrorKind.MISSING_CONTENT:
            content = value.get("content", ...) if isinstance(value, dict) else value
            found = "missing" if content is ... else "empty" if content in ("", []) else type_of(content)
            if content and isinstance(content, str | list):
                found = "blank"
            expected = "text, or calls instead of it" if isinstance(value, dict) else "text"
            place = f"{path}.content" if isinstance(value, dict) else path
            return [Fault(ErrorKind.MISSING_CONTENT, place, found, expected)]
        case ErrorKind.BAD_WEIGHT:
            return [Fault(ErrorKind.BAD_WEIGHT, path, type_of(value), "the whole number 0 or 1")]
        case ErrorKind.ARGUMENTS_NOT_JSON:
            found = "an empty string" if not value else f"a string of {len(value)} characters that is not JSON"
            return [Fault(ErrorKind.ARGUMENTS_NOT_JSON, path, found, "the arguments as JSON text")]
        case "missing":
            error = ErrorKind.MISSING_CONTENT if field == "content" else ErrorKind.MISSING_FIELD
            return [Fault(error, path, "missing", _EXPECTED_FIELD.get(field, "a value"))]
        case "extra_forbidden":
            return [_unknown_field(path, str(detail["loc"][-1]))]
        case "string_pattern_mismatch":
            return [_bad_name(path, str(value))]
        case "literal_error":
            found = named(value) if isinstance(value, str) and value else type_of(value)
            expected = str(context.get("expected", "another value")).replace("'", '"')
            return [Fault(ErrorKind.BAD_VALUE, path, found, expected)]
        case "too_short" | "string_too_short":
            error = ErrorKind.EMPTY_MESSAGES if field == "messages" else ErrorKind.BAD_VALUE
            return [Fault(error, path, "empty", "at least one" if kind == "too_short" else "text")]
    if field == "content" and value is None:
        return [Fault(ErrorKind.MISSING_CONTENT, path, "null", _EXPECTED_FIELD["content"])]
    expected = _EXPECTED_FIELD.get(field) or _EXPECTED_TYPE.get(kind, "another value")
    return [Fault(ErrorKind.WRONG_TYPE, path, type_of(value), expected)]


def _unknown_field(path: str, name: str) -> Fault:
    """Return what is wrong with a field that an object of the format does not have."""
    if re.search(r"(messages|output)\[\d+\]\.\w+$", path) and name in _ONLY_IN:
        expected = f"{name} in {_ONLY_IN[name]} messages only"
        return Fault(ErrorKind.UNKNOWN_FIELD, path, "out of place", expected)
    found = "an unknown field" if is_known(name) else f"an unknown field of {counted(len(name), 'character')}"
    return Fault(ErrorKind.UNKNOWN_FIELD, path, found, "only fields of the format")


def _untagged(path: str, value: Any) -> Fault:
    """Return what is wrong with a message whose role, or a part whose type, is none of those allowed."""
    is_part = ".content[" in path
    if not isinstance(value, dict):
        return Fault(ErrorKind.WRONG_TYPE, path, type_of(value), "an object")
    key = "type" if is_part else "role"
    place = f"{path}.{key}"
    if key not in value:
        expected = "text or image_url" if is_part else _EXPECTED_FIELD["role"]
        return Fault(ErrorKind.MISSING_FIELD, place, "missing", expected)
    name = value[key]
    if not isinstance(name, str):
        return Fault(ErrorKind.WRONG_TYPE, place, type_of(name), "a string")
    if is_part and name == "image_url":
        return Fault(ErrorKind.MISPLACED_IMAGE, path, "an image", "images in user messages only")
    if is_part:
        return Fault(ErrorKind.UNKNOWN_PART, place, named(name), "text, or image_url in a user message")
    expected = "assistant" if "output[" in path else _EXPECTED_FIELD["role"]
    return Fault(ErrorKind.UNKNOWN_ROLE, place, named(name), expected)


def _bad_name(path: str, name: str) -> Fault:
    if path.endswith(("function.name", "function_call.name")) or path.startswith("functions["):
        return Fault(ErrorKind.BAD_TOOL_NAME, path, named(name), "1 to 64 of a-z, A-Z, 0-9, _ and -")
    return Fault(ErrorKind.BAD_NAME, path, named(name), "1 to 64 characters without space and <|\\/>")


def _path(location: tuple[int | str, ...], row: dict[str, Any]) -> str:
    path, value = "", cast("Any", row)
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            value = value[step] if isinstance(value, list) else None
        elif isinstance(value, dict) and step in value:
            path = joined(path, step, list(value).index(step) + 1)
            value = value[step]
        elif not step.startswith("@"):
            path = f"{path}.{step}" if path else step
            value = None
    return path


def _under(path: str, inner: str | None) -> str | None:
    if not path or inner is None:
        return inner or path or None
    return f"{path}{inner}" if inner.startswith((".", "[")) else f"{path}.{inner}"
