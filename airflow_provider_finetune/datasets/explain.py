"""A line of a dataset becomes an example, or the list of what is wrong with it in words for a person."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from airflow_provider_finetune.datasets.formats import EXAMPLES
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, quoted, type_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

    from airflow_provider_finetune.datasets.formats import Example, Method

BOM = b"\xef\xbb\xbf"
DEEPEST = 100
ROLES = ("system", "developer", "user", "assistant", "tool")

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

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
    """What a line holds: the row as JSON, the example if it is one, and the faults if it is not.

    ``row`` is None when the line is not a JSON object.
    """

    row: dict[str, Any] | None
    example: Example | None
    faults: list[Fault]


class _Repeated(dict[str, Any]):
    """An object in which keys occurred more than once."""

    keys_repeated: tuple[str, ...] = ()


def explain(line: bytes, method: Method, *, is_whole: bool = True) -> Explained:
    """Return what a line holds and everything that is wrong with it. Never raises.

    :param line: the line without or with its line break.
    :param is_whole: whether a line break ended it; one that ends with the file may be cut off.
    """
    row, faults = read_object(line, is_whole=is_whole)
    if row is None or faults:
        return Explained(row, None, faults)
    example, faults = examine(row, method)
    return Explained(row, example, faults)


def read_object(line: bytes, *, is_whole: bool = True) -> tuple[dict[str, Any] | None, list[Fault]]:
    """Return the JSON object of a line, and what is wrong with its bytes and its JSON."""
    faults: list[Fault] = []
    if line.startswith(BOM):
        faults.append(_fault(ErrorKind.BOM, "a byte order mark", "UTF-8 without one"))
        line = line[len(BOM) :]
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None, [_fault(ErrorKind.NOT_UTF8, "a UTF-16 byte order mark", "UTF-8")]
    if (at := line.find(b"\0")) >= 0:
        return None, [*faults, _fault(ErrorKind.NUL_BYTE, f"a NUL byte at byte {at + 1}", "UTF-8 text")]
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 at byte {error.start + 1}"
        return None, [*faults, _fault(ErrorKind.NOT_UTF8, found, "UTF-8")]
    if not text.strip():
        return None, [*faults, _fault(ErrorKind.BLANK_LINE, "a blank line", "one JSON object in every line")]
    if _depth(line) > DEEPEST:
        found = f"values nested more than {DEEPEST} deep"
        return None, [*faults, _fault(ErrorKind.TOO_DEEP, found, "a flatter object")]
    try:
        value, odd = _loads(text)
    except ValueError as error:
        return None, [*faults, _not_json(error, is_whole=is_whole)]
    if not isinstance(value, dict):
        found = f"{type_of(value)} instead of an object"
        return None, [*faults, _fault(ErrorKind.NOT_OBJECT, found, "one JSON object in every line")]
    if odd or _ESCAPED_SURROGATE.search(text):
        faults += _odd_values(value)
        if odd and not faults:
            # It was in a value that a repeated key replaced.
            faults.append(_fault(ErrorKind.DUPLICATE_KEY, "a key that occurs twice", "each key once"))
    return value, faults


def examine(row: dict[str, Any], method: Method) -> tuple[Example | None, list[Fault]]:
    """Return the example that a row is, or what is wrong with it."""
    wanted = _SHAPES[_SHAPE_OF[method]]
    if not any(key in row for key in wanted):
        for shape, keys in _SHAPES.items():
            if all(key in row for key in keys):
                fits = "supervised or reinforcement" if shape == "messages" else shape
                found = f"an example for method {fits} ({', '.join(keys)})"
                return None, [_fault(ErrorKind.WRONG_FORMAT, found, f"one for method {method} ({', '.join(wanted)})")]
    try:
        return EXAMPLES[method].model_validate(row), []
    except ValidationError as error:
        return None, [fault for detail in error.errors() for fault in _explained(detail)]


def fitting(row: dict[str, Any]) -> set[Method]:
    """Return the methods that the row is a good example for."""
    return {method for method in EXAMPLES if not examine(row, method)[1]}


def _loads(text: str) -> tuple[Any, bool]:
    odd = False

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal odd
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        odd = True
        repeated = _Repeated(found)
        keys = [key for key, _ in pairs]
        repeated.keys_repeated = tuple(key for key in found if keys.count(key) > 1)
        return repeated

    def as_constant(_: str) -> float:
        nonlocal odd
        odd = True
        return float("nan")

    def as_float(digits: str) -> float:
        nonlocal odd
        number = float(digits)
        odd = odd or number in (float("inf"), float("-inf"))
        return number

    try:
        return json.loads(text, object_pairs_hook=as_object, parse_constant=as_constant, parse_float=as_float), odd
    except RecursionError:
        raise ValueError("nested too deep") from None


def _not_json(error: ValueError, *, is_whole: bool) -> Fault:
    if not isinstance(error, json.JSONDecodeError):
        # Python refuses to read integers of more than 4300 digits, and servers in Python with it.
        return _fault(ErrorKind.HUGE_NUMBER, "a number of thousands of digits", "numbers that fit 64 bits")
    found = f"not JSON at column {error.colno} ({error.msg[0].lower()}{error.msg[1:]})"
    if is_whole:
        return _fault(ErrorKind.NOT_JSON, found, "one JSON object in every line")
    return _fault(ErrorKind.TRUNCATED_LINE, f"cut off: {found}", "a whole JSON object and a line break")


def _odd_values(value: Any, path: str = "") -> Iterator[Fault]:
    """Yield what JSON readers disagree on, with its path: repeated keys, NaN, halves of surrogate pairs."""
    match value:
        case dict():
            if isinstance(value, _Repeated):
                for key in value.keys_repeated:
                    yield Fault(ErrorKind.DUPLICATE_KEY, _joined(path, key), "a key that occurs twice", "each key once")
            for key, inner in value.items():
                if _has_surrogate(key):
                    yield Fault(
                        ErrorKind.LONE_SURROGATE, path or None, "with half a surrogate pair in a key", "Unicode"
                    )
                else:
                    yield from _odd_values(inner, _joined(path, key))
        case list():
            for i, inner in enumerate(value):
                yield from _odd_values(inner, f"{path}[{i}]")
        case float() if value != value or value in (float("inf"), float("-inf")):
            yield Fault(
                ErrorKind.NOT_FINITE,
                path or None,
                "NaN, infinite or too large a number",
                "a JSON number that fits 64 bits",
            )
        case str() if _has_surrogate(value):
            yield Fault(
                ErrorKind.LONE_SURROGATE, path or None, "a string with half a surrogate pair", "text that is Unicode"
            )


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _depth(line: bytes) -> int:
    """Return how deep values may be nested; counts brackets in strings too when there are few enough."""
    if line.count(b"{") + line.count(b"[") <= DEEPEST:
        return 0
    depth = deepest = 0
    in_string = escaped = False
    for char in line:
        if in_string:
            in_string = escaped or char != 0x22
            escaped = char == 0x5C and not escaped
        elif char == 0x22:
            in_string, escaped = True, False
        elif char in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"}]":
            depth -= 1
    return deepest


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


def _explained(detail: ErrorDetails) -> list[Fault]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    path = _path(detail["loc"])
    field = path.rpartition(".")[2].partition("[")[0]
    match kind:
        case "faults":
            return [
                Fault(fault.kind, _under(path, fault.path), fault.found, fault.expected) for fault in context["faults"]
            ]
        case "union_tag_invalid" | "union_tag_not_found":
            return [_untagged(path, value)]
        case ErrorKind.MISSING_CONTENT:
            content = value.get("content", ...) if isinstance(value, dict) else value
            found = "missing" if content is ... else "empty" if content in ("", []) else type_of(content)
            expected = "text, or calls instead of it"
            return [Fault(ErrorKind.MISSING_CONTENT, f"{path}.content", found, expected)]
        case ErrorKind.BAD_WEIGHT:
            found = str(value) if isinstance(value, int | float) and abs(value) < 1000 else type_of(value)
            return [Fault(ErrorKind.BAD_WEIGHT, path, found.lower(), "0 or 1")]
        case ErrorKind.ARGUMENTS_NOT_JSON:
            found = "an empty string" if not value else f"a string of {len(value)} characters that is not JSON"
            return [Fault(ErrorKind.ARGUMENTS_NOT_JSON, path, found, "the arguments as JSON text")]
        case "missing":
            error = ErrorKind.MISSING_CONTENT if field == "content" else ErrorKind.MISSING_FIELD
            return [Fault(error, path, "missing", _EXPECTED_FIELD.get(field, "a value"))]
        case "extra_forbidden":
            return [Fault(ErrorKind.UNKNOWN_FIELD, path, "an unknown field", "only fields of the format")]
        case "string_pattern_mismatch":
            return [_bad_name(path, str(value))]
        case "literal_error":
            found = quoted(value) if isinstance(value, str) and value else type_of(value)
            expected = str(context.get("expected", "another value")).replace("'", '"')
            return [Fault(ErrorKind.BAD_VALUE, path, found, expected)]
        case "too_short" | "string_too_short":
            error = ErrorKind.EMPTY_MESSAGES if field == "messages" else ErrorKind.BAD_VALUE
            return [Fault(error, path, "empty", "at least one" if kind == "too_short" else "text")]
    if field == "content" and value is None:
        return [Fault(ErrorKind.MISSING_CONTENT, path, "null", _EXPECTED_FIELD["content"])]
    expected = _EXPECTED_FIELD.get(field) or _EXPECTED_TYPE.get(kind, "another value")
    return [Fault(ErrorKind.WRONG_TYPE, path, type_of(value), expected)]


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
        return Fault(ErrorKind.UNKNOWN_PART, place, quoted(name), "text, or image_url in a user message")
    expected = "assistant" if "output[" in path else _EXPECTED_FIELD["role"]
    return Fault(ErrorKind.UNKNOWN_ROLE, place, quoted(name), expected)


def _bad_name(path: str, name: str) -> Fault:
    if path.endswith(("function.name", "function_call.name")) or path.startswith("functions["):
        return Fault(ErrorKind.BAD_TOOL_NAME, path, quoted(name, 64), "1 to 64 of a-z, A-Z, 0-9, _ and -")
    return Fault(ErrorKind.BAD_NAME, path, quoted(name, 64), "1 to 64 characters without space and <|\\/>")


def _fault(kind: ErrorKind, found: str, expected: str) -> Fault:
    return Fault(kind, None, found, expected)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("@"):
            path = _joined(path, step)
    return path


def _joined(path: str, key: str) -> str:
    key = key if key.isidentifier() and len(key) <= 40 else quoted(key, 40)
    return f"{path}.{key}" if path else key


def _under(path: str, inner: str | None) -> str | None:
    if not path or inner is None:
        return inner or path or None
    return f"{path}{inner}" if inner.startswith((".", "[")) else f"{path}.{inner}"
