"""What can be wrong with a dataset: the place, what was found there, and what is expected."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_finetune.datasets.vocabulary import is_known
from airflow_provider_finetune.plural import counted


class ErrorKind(StrEnum):
    """Why an endpoint would refuse the file. The values are stable: pipelines may branch on them.

    What one endpoint refuses and another takes is an error or a warning, as
    :mod:`airflow_provider_finetune.datasets.vendors` has it.
    """

    # of the file's form
    NOT_JSON_LINES = "not_json_lines"
    # of the bytes
    BOM = "bom"
    NOT_UTF8 = "not_utf8"
    NUL_BYTE = "nul_byte"
    LINE_TOO_LONG = "line_too_long"
    # of the JSON
    BLANK_LINE = "blank_line"
    TRUNCATED_LINE = "truncated_line"
    NOT_JSON = "not_json"
    NOT_FINITE = "not_finite"
    DUPLICATE_KEY = "duplicate_key"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    HUGE_NUMBER = "huge_number"
    NOT_OBJECT = "not_object"
    # of the example
    WRONG_FORMAT = "wrong_format"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    BAD_VALUE = "bad_value"
    EMPTY_MESSAGES = "empty_messages"
    UNKNOWN_ROLE = "unknown_role"
    MISSING_CONTENT = "missing_content"
    UNKNOWN_PART = "unknown_part"
    MISPLACED_IMAGE = "misplaced_image"
    TOO_MANY_IMAGES = "too_many_images"
    BAD_IMAGE = "bad_image"
    IMAGE_TOO_LARGE = "image_too_large"
    BAD_WEIGHT = "bad_weight"
    BAD_NAME = "bad_name"
    BAD_TOOL_NAME = "bad_tool_name"
    ARGUMENTS_NOT_JSON = "arguments_not_json"
    RESULT_WITHOUT_CALL = "result_without_call"
    CALL_WITHOUT_RESULT = "call_without_result"
    CALL_WITHOUT_ID = "call_without_id"
    TOOL_IN_OUTPUT = "tool_in_output"
    SAME_OUTPUTS = "same_outputs"
    SEVERAL_SYSTEM_MESSAGES = "several_system_messages"
    NO_ASSISTANT = "no_assistant"
    LAST_TURN = "last_turn"
    # of the file
    TOO_FEW_EXAMPLES = "too_few_examples"
    NO_VALIDATION_FILE = "no_validation_file"


class WarningKind(StrEnum):
    """What endpoints accept and a person should look at."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OVERLAP = "overlap"
    ALL_WEIGHTS_ZERO = "all_weights_zero"
    LONG_EXAMPLE = "long_example"
    IMBALANCE = "imbalance"
    IGNORED_FIELD = "ignored_field"
    ARGUMENTS_ENCODED_TWICE = "arguments_encoded_twice"
    TOOL_SCHEMA = "tool_schema"
    IMAGE_TYPE_UNCERTAIN = "image_type_uncertain"
    IMAGES_NOT_COUNTED = "images_not_counted"


#: Errors of one line that are told and counted, and warnings: a line can hold hundreds of thousands.
MOST_FAULTS = 100
#: Faults of one line that are looked at, since some of them may be allowed.
MOST_LOOKED_AT = 10_000

#: Every kind of error and warning.
KINDS = frozenset(str(kind) for kinds in (ErrorKind, WarningKind) for kind in kinds)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong inside one example, wherever the example is.

    :ivar kind: a value of :class:`ErrorKind` or :class:`WarningKind`.
    :ivar path: where in the line, as ``messages[2].role``; None when it is the line as a whole.
    :ivar found: never what the file holds, but a type, a length, or a word of the formats such as a role.
    :ivar refused_by: the vendors that refuse it, where that depends on more than the kind; None leaves it to the kind.
    """

    kind: str
    path: str | None
    found: str
    expected: str
    refused_by: tuple[str, ...] | None = None

    def __str__(self) -> str:
        subject = f"{self.path} is {self.found}" if self.path else self.found
        return f"{subject}; expected {self.expected}"

    def at(self, file: str, line: int | None) -> Problem:
        """Return the fault with its place.

        :param line: from 1; None for the file as a whole.
        """
        return Problem(self.kind, file, line, self.path, self.found, self.expected)


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault at its place: ``train.jsonl line 17: messages[2].role is "asistant"; expected one of …``."""

    kind: str
    file: str
    line: int | None
    path: str | None
    found: str
    expected: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file} line {self.line}"
        return f"{place}: {Fault(self.kind, self.path, self.found, self.expected)}"


def named(token: str) -> str:
    """Return what stands where a word of the formats is due: the word, or nearly one, as JSON; else its length."""
    return json.dumps(token) if is_known(token) else f"a string of {counted(len(token), 'character')}"


def joined(path: str, key: str, place: int) -> str:
    """Return the path of a key within the object at a path: its name if that is a word of the formats, else its place.

    :param place: which of the object's keys it is, from 1.
    """
    word = key if key.isidentifier() else json.dumps(key)
    step = word if is_known(key) else f"<key {place}>"
    return f"{path}.{step}" if path else step


def column(name: str, most: int = 40) -> str:
    """Return the name of a column, or of a field that takes the place of one, as a JSON string.

    It is for the terminal of who converts a file, who has to say which columns are what.

    :param most: characters. What is longer, or reads like a sentence, may be text in the wrong place: only its length
        is told.
    """
    if len(name) > most or len(name.split()) > 3:
        return f"a string of {counted(len(name), 'character')}"
    return json.dumps(name, ensure_ascii=not name.isprintable())


def type_of(value: object) -> str:
    """Return what a JSON value is, in words, without saying what it holds."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "a string" if value else "an empty string"
        case list():
            return "a list" if value else "an empty list"
    return "an object"
