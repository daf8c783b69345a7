"""The form of a file as a whole, told by its first bytes: gzip, UTF-16, a JSON array, CSV … or JSON Lines."""

from __future__ import annotations

import csv
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from airflow_provider_finetune.datasets.problem import ErrorKind, Fault
from airflow_provider_finetune.datasets.reading import BOM, ran_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes from which the form is told.
HEAD_BYTES: Final = 1 << 16

_CONVERT: Final = "`finetune-dataset convert FILE OUTPUT` makes them of it"


@dataclass(frozen=True)
class Form:
    """A form that is not JSON Lines in UTF-8.

    :ivar name: stable, for code.
    :ivar found: in words.
    :ivar remedy: how to make JSON Lines of it.
    """

    name: str
    found: str
    remedy: str = _CONVERT

    @property
    def is_convertible(self) -> bool:
        """Whether ``finetune-dataset convert`` reads it."""
        return self.remedy.startswith(_CONVERT)

    def fault(self) -> Fault:
        """Return what is wrong with the file."""
        kind = ErrorKind.NOT_UTF8 if self.name.startswith("utf_") else ErrorKind.NOT_JSON_LINES
        return Fault(kind, None, self.found, f"JSON Lines in UTF-8, one JSON object in every line; {self.remedy}")


GZIP: Final = Form("gzip", "a gzip file")
UTF_16: Final = Form("utf_16", "a file in UTF-16")
UTF_32: Final = Form("utf_32", "a file in UTF-32")
JSON_ARRAY: Final = Form("json_array", "a JSON array")
PRETTY_JSON: Final = Form("pretty_json", "pretty-printed JSON, whose objects go over several lines")
SEVERAL_OBJECTS: Final = Form("several_objects", "several JSON objects in a line")
COMMA_LINES: Final = Form("comma_lines", "JSON objects with commas between them")
CR_LINES: Final = Form("cr_lines", "lines that end in CR only, as on old Macs")
CSV: Final = Form(
    "csv",
    "a CSV file",
    f"{_CONVERT}: say which columns with --user-column and --assistant-column",
)

_MAGIC: Final = (
    (b"\x1f\x8b", GZIP),
    (b"PK\x03\x04", Form("zip", "a ZIP file, or a workbook of Excel", "unpack it, or save the sheet as CSV")),
    (b"BZh", Form("bzip2", "a bzip2 file", "unpack it: bunzip2")),
    (b"\xfd7zXZ\0", Form("xz", "an xz file", "unpack it: unxz")),
    (b"\x28\xb5\x2f\xfd", Form("zstd", "a zstd file", "unpack it: unzstd")),
    (b"PAR1", Form("parquet", "a Parquet file", "write it as JSON Lines, as pandas' to_json(lines=True) does")),
)
_DELIMITERS: Final = ",;\t|"
_HEADER_CELL: Final = re.compile(r"\w[\w .\-/()]{0,59}")
_decode = json.JSONDecoder().raw_decode


def form_of(head: bytes, *, is_whole: bool) -> Form | None:
    """Return the form of a file; None when it is JSON Lines, or when it cannot be told.

    :param head: the first :data:`HEAD_BYTES` of the file, or less.
    :param is_whole: whether that is all of it.
    """
    for magic, form in _MAGIC:
        if head.startswith(magic):
            return form
    if width := wide(head):
        return UTF_16 if width[0] == "utf_16" else UTF_32
    return form_of_text(head.removeprefix(BOM).decode(errors="replace"), is_whole=is_whole)


def form_of_text(text: str, *, is_whole: bool) -> Form | None:
    """Return the form of a text; None when it is JSON Lines, or when it cannot be told.

    :param text: its beginning.
    :param is_whole: whether that is all of it.
    """
    text = text.lstrip()
    if text.startswith("["):
        return JSON_ARRAY if _is_array(text) else None
    if text.startswith("{"):
        return _form_of_objects(text, is_whole=is_whole)
    return CSV if delimiter_of(text, is_whole=is_whole) else None


def wide(head: bytes) -> tuple[str, str] | None:
    """Return the encoding of a file whose characters take two or four bytes, and the codec to read it with."""
    for mark, name in ((b"\xff\xfe\0\0", "utf_32"), (b"\0\0\xfe\xff", "utf_32"), (b"\xff\xfe", "utf_16")):
        if head.startswith(mark):
            return name, name
    if head.startswith(b"\xfe\xff"):
        return "utf_16", "utf_16"
    # Without a mark: ASCII, as JSON and CSV begin with, and a NUL byte or three for every character.
    first = [byte != 0 for byte in head[:8]]
    for pattern, name, codec in (
        ([True, False] * 4, "utf_16", "utf_16_le"),
        ([False, True] * 4, "utf_16", "utf_16_be"),
        ([True, False, False, False] * 2, "utf_32", "utf_32_le"),
        ([False, False, False, True] * 2, "utf_32", "utf_32_be"),
    ):
        if first == pattern:
            return name, codec
    return None


def delimiter_of(text: str, *, is_whole: bool) -> str | None:
    """Return what separates the cells of a CSV file; None if a text is none, or that cannot be told.

    :param text: its first lines.
    """
    lines = _whole_lines(text, is_whole=is_whole)
    if len(lines) < 2 or any(line.lstrip().startswith(("{", "[")) for line in lines):
        return None
    found = []
    for delimiter in _DELIMITERS:
        rows = list(_csv_rows(lines, delimiter))
        header = rows[0] if rows else []
        is_header = len(header) > 1 and all(_HEADER_CELL.fullmatch(cell.strip()) for cell in header)
        # A few rows may be damaged.
        if is_header and 2 * sum(len(row) == len(header) for row in rows[1:]) >= max(2, len(rows) - 1):
            found.append(delimiter)
    return found[0] if len(found) == 1 else None


def _csv_rows(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    # A quoted cell may go on behind the first lines of the file.
    with suppress(csv.Error):
        yield from filter(None, rows)


def _is_array(text: str) -> bool:
    """Return whether a text is one array of objects, and not a list in every line."""
    if not text[1:].lstrip().startswith("{"):
        return False
    try:
        _, end = _decode(text)
    except (ValueError, RecursionError):
        return True
    return "\n" in text[:end] or not text[end:].strip()


def _form_of_objects(text: str, *, is_whole: bool) -> Form | None:
    try:
        _, end = _decode(text)
    except json.JSONDecodeError as error:
        # All of it is one object so far, and there is a line break in it.
        return PRETTY_JSON if not is_whole and ran_out(error, text) and _break_in(text) else None
    except (ValueError, RecursionError):
        return None
    if _break_in(text[:end]):
        return PRETTY_JSON
    rest = text[end:]
    if "\n" not in text and "\r" in rest and rest.partition("\r")[2].lstrip().startswith("{"):
        return CR_LINES
    lines = _whole_lines(text, is_whole=is_whole)
    if not lines:
        # The first line goes on behind these bytes.
        return SEVERAL_OBJECTS if rest.lstrip(" \t,").startswith("{") else None
    if all(_ends(line, lambda rest: rest.lstrip(", \t").startswith("{")) for line in lines):
        return SEVERAL_OBJECTS
    if len(lines) > 1 and all(_ends(line, lambda rest: rest.strip() == ",") for line in lines[:-1]):
        return COMMA_LINES
    return None


def _ends(line: str, is_so: Callable[[str], bool]) -> bool:
    """Return whether what follows the object of a line is something."""
    try:
        _, end = _decode(line.lstrip())
    except (ValueError, RecursionError):
        return False
    return is_so(line.lstrip()[end:])


def _break_in(text: str) -> bool:
    return "\n" in text or "\r" in text


def _whole_lines(text: str, *, is_whole: bool) -> list[str]:
    """Return the lines of a text that are not blank, up to fifty, without one that may be cut off."""
    lines = text.splitlines(keepends=True) if "\n" not in text else text.split("\n")
    if not is_whole:
        lines = lines[:-1]
    return [line for line in lines if line.strip()][:50]
