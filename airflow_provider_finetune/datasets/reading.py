"""Bytes of a line become a JSON object, or the list of what is wrong with the bytes or the JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, joined, type_of
from airflow_provider_finetune.datasets.vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOM = b"\xef\xbb\xbf"
DEEPEST = 100
#: Values in a line, about: each takes memory, however short it is written.
MOST_VALUES = 500_000
EXPECTED = "one JSON object in every line"

# Half of one of these at the end of a text may become a whole one.
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_HALF_AN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Repeated(dict[str, Any]):
    """An object in which keys occurred more than once."""

    keys_repeated: frozenset[str] = frozenset()


def read_object(
    line: bytes, *, is_whole: bool = True, is_first: bool = False
) -> tuple[dict[str, Any] | None, Iterable[Fault]]:
    """Return the JSON object of a line, and what is wrong with its bytes and its JSON.

    :param is_whole: whether a line break ended it; one that ends with the file may be cut off.
    :param is_first: whether it is the first line of a file, where a byte order mark may stand.
    """
    faults: list[Fault] = []
    line = line.rstrip(b"\r\n")
    if line.startswith(BOM):
        refused_by = None if is_first else VENDORS
        faults.append(Fault(ErrorKind.BOM, None, "a byte order mark", "UTF-8 without one", refused_by))
        line = line[len(BOM) :]
    if (at := line.find(b"\0")) >= 0:
        return None, [*faults, _fault(ErrorKind.NUL_BYTE, f"a NUL byte at byte {at + 1}", "UTF-8 text")]
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        found = f"bytes that are not UTF-8 at byte {error.start + 1}"
        return None, [*faults, _fault(ErrorKind.NOT_UTF8, found, "UTF-8")]
    if not text.strip():
        return None, [*faults, _fault(ErrorKind.BLANK_LINE, "a blank line", EXPECTED)]
    if line.count(b",") + line.count(b"{") + line.count(b"[") > MOST_VALUES:
        found = f"a line of more than {MOST_VALUES:,} values"
        return None, [
            *faults,
            _fault(ErrorKind.LINE_TOO_LONG, found, f"at most {MOST_VALUES:,}, with the commas in texts"),
        ]
    if _depth(line) > DEEPEST:
        found = f"values nested more than {DEEPEST} deep"
        return None, [*faults, _fault(ErrorKind.TOO_DEEP, found, "a flatter object")]
    try:
        value, odd = _loads(text)
    except ValueError as error:
        return None, [*faults, _not_json(error, text, is_whole=is_whole)]
    if not isinstance(value, dict):
        return None, [*faults, _fault(ErrorKind.NOT_OBJECT, f"{type_of(value)} instead of an object", EXPECTED)]
    if odd or _ESCAPED_SURROGATE.search(text):
        return value, chain(faults, _odd(value, is_odd=odd))
    return value, faults


def _loads(text: str) -> tuple[Any, bool]:
    odd = False

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal odd
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        odd = True
        repeated = _Repeated(found)
        repeated.keys_repeated = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
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


def ran_out(error: json.JSONDecodeError, text: str) -> bool:
    """Return whether JSON is only unfinished: all of the text is right as far as it goes."""
    if error.msg.startswith("Unterminated string"):
        return True
    tail = text[error.pos : error.pos + 20].rstrip()
    return any(word.startswith(tail) for word in _WORDS) or _HALF_AN_ESCAPE.fullmatch(tail) is not None


def _not_json(error: ValueError, text: str, *, is_whole: bool) -> Fault:
    if not isinstance(error, json.JSONDecodeError):
        # Python refuses to read integers of more than 4300 digits, and servers in Python with it.
        return _fault(ErrorKind.HUGE_NUMBER, "a number of thousands of digits", "numbers that fit 64 bits")
    if ran_out(error, text):
        end = "line" if is_whole else "file"
        found = f"JSON that is cut off at the end of the {end}, column {len(text.rstrip()) + 1}"
    elif error.msg == "Extra data" and text[error.pos] in "{[":
        found = f"more than one JSON value in the line, the next from column {error.colno} on"
    elif error.msg == "Extra data" and text[error.pos] == ",":
        found = f"a comma behind the object, at column {error.colno}"
    else:
        found = f"not JSON at column {error.colno} ({error.msg[0].lower()}{error.msg[1:]})"
    if is_whole:
        return _fault(ErrorKind.NOT_JSON, found, EXPECTED)
    return _fault(ErrorKind.TRUNCATED_LINE, found, "a whole JSON object and a line break")


def _odd(value: dict[str, Any], *, is_odd: bool) -> Iterator[Fault]:
    for fault in _odd_values(value):
        is_odd = False
        yield fault
    if is_odd:
        # It was in a value that a repeated key replaced.
        yield _fault(ErrorKind.DUPLICATE_KEY, "a key that occurs twice", "each key once")


def _odd_values(value: Any, path: str = "") -> Iterator[Fault]:
    """Yield what JSON readers disagree on, with its path: repeated keys, NaN, halves of surrogate pairs."""
    match value:
        case dict():
            if isinstance(value, _Repeated):
                for place, key in enumerate(value, 1):
                    if key in value.keys_repeated:
                        where = joined(path, key, place)
                        yield Fault(ErrorKind.DUPLICATE_KEY, where, "a key that occurs twice", "each key once")
            for place, (key, inner) in enumerate(value.items(), 1):
                if _has_surrogate(key):
                    yield Fault(
                        ErrorKind.LONE_SURROGATE,
                        path or None,
                        "a key with half a surrogate pair",
                        "Unicode",
                    )
                else:
                    yield from _odd_values(inner, joined(path, key, place))
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


def _fault(kind: ErrorKind, found: str, expected: str) -> Fault:
    return Fault(kind, None, found, expected)
