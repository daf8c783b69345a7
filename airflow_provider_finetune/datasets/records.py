"""Records out of bytes of any form: JSON Lines, a JSON array, pretty-printed JSON, CSV, packed with gzip or not.

One record is held in memory at a time.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_finetune.datasets.form import (
    CSV,
    GZIP,
    HEAD_BYTES,
    JSON_ARRAY,
    delimiter_of,
    form_of,
    form_of_text,
    wide,
)
from airflow_provider_finetune.datasets.reading import BOM, ran_out
from airflow_provider_finetune.datasets.stored import MOST_BYTES
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BITE: Final = 1 << 20
_SPACE: Final = re.compile(r"[\s,]*")


class Unconvertible(Exception):
    """A file, or a record, cannot be converted without guessing. The message holds no training text."""


class Records(NamedTuple):
    """The records of a file.

    :ivar form: what the file is, in words.
    :ivar rows: each record with its number, from 1.
    """

    form: str
    rows: Iterator[tuple[int, Any]]


def read_records(
    chunks: Iterable[bytes], *, encoding: str | None = None, delimiter: str | None = None, most: int
) -> Records:
    """Return the records of a file.

    :param chunks: its bytes.
    :param encoding: of the text; None for UTF-8, or what a byte order mark says.
    :param delimiter: between the cells of CSV; None to tell it from the first lines.
    :param most: characters of a record; more are not held in memory.
    :raises Unconvertible: the file is of a form that cannot be read; records that cannot be read raise it later.
    """
    head, rest = _first(iter(chunks))
    form = form_of(head, is_whole=len(head) < HEAD_BYTES)
    if form is GZIP:
        inner = read_records(_unpacked(chain([head], rest)), encoding=encoding, delimiter=delimiter, most=most)
        return Records(f"{inner.form} in gzip", inner.rows)
    if form is not None and not form.is_convertible:
        raise Unconvertible(f"{form.found}; {form.remedy}")
    width = wide(head)
    codec = encoding or (width[1] if width else "utf_8_sig" if head.startswith(BOM) else "utf_8")
    texts = _decoded(chain([head], rest), codec)
    beginning = next(texts, "")
    is_whole = len(head) < HEAD_BYTES
    form = form_of_text(beginning, is_whole=is_whole)
    all_texts: Iterator[str] = chain([beginning], texts)
    if beginning.lstrip()[:1] in ("{", "["):
        words = "JSON Lines" if form is None else form.found
        return Records(words, _json_values(all_texts, has_array=form is JSON_ARRAY, most=most))
    delimiter = delimiter or delimiter_of(beginning, is_whole=is_whole)
    if delimiter is None:
        raise Unconvertible(
            "neither JSON nor a CSV file whose delimiter can be told; if it is CSV with a header, say --delimiter"
        )
    if "\n" not in beginning:
        all_texts = (text.replace("\r", "\n") for text in all_texts)
    return Records(CSV.found, _csv_records(all_texts, delimiter))


def _first(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return head[:HEAD_BYTES], chain([head[HEAD_BYTES:]], chunks)


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker, size = zlib.decompressobj(wbits=31), 0
    try:
        for chunk in chunks:
            packed = chunk
            while packed:
                if unpacker.eof:
                    unpacker = zlib.decompressobj(wbits=31)
                unpacked = unpacker.decompress(packed, _BITE)
                size += len(unpacked)
                if size > MOST_BYTES:
                    raise Unconvertible(f"a gzip file that holds more than {MOST_BYTES:,} bytes")
                yield unpacked
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error:
        raise Unconvertible("a gzip file that is damaged") from None
    if not unpacker.eof:
        raise Unconvertible("a gzip file that is cut off")


def _decoded(chunks: Iterable[bytes], codec: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)()
    position = 0
    try:
        for chunk in chunks:
            yield decoder.decode(chunk)
            position += len(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        place = position + error.start + 1
        hint = "say which encoding it has with --input-encoding, such as cp1252"
        raise Unconvertible(f"not {codec.replace('_', '-').upper()} near byte {place:,}; {hint}") from None


def _json_values(texts: Iterator[str], *, has_array: bool, most: int) -> Iterator[tuple[int, Any]]:
    """Yield JSON values that follow each other, with or without line breaks and commas, or in one array."""
    decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_number).raw_decode
    text, at, number, is_open, has_ended = "", 0, 0, False, False
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr] # it matches anywhere
        if at == len(text):
            more = next(texts, None)
            if more is None:
                break
            text, at = more, 0
            continue
        if has_array and text[at] == "[" and not is_open and number == 0:
            is_open, at = True, at + 1
            continue
        if text[at] == "]" and is_open:
            is_open, has_ended, at = False, True, at + 1
            continue
        if has_ended:
            raise Unconvertible("something behind the end of the JSON array")
        try:
            value, at = decode(text, at)
        except json.JSONDecodeError as error:
            text, at, error.pos = text[at:], 0, error.pos - at
            more = _more(texts, len(text)) if ran_out(error, text) else ""
            if not more:
                cut = "is cut off" if ran_out(error, text) else f"is not JSON at its character {error.pos + 1:,}"
                raise Unconvertible(f"record {number + 1} {cut}") from None
            text += more
            if len(text) > most:
                raise Unconvertible(f"record {number + 1} has more than {most:,} characters") from None
            continue
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, _OddJson) else "has a number too long or values too deep"
            raise Unconvertible(f"record {number + 1} {reason}") from None
        number += 1
        yield number, value
    if is_open:
        raise Unconvertible("the JSON array is cut off")


def _more(texts: Iterator[str], least: int) -> str:
    """Return at least as much as there is already, so that a long record is not tried many times; "" at the end."""
    parts, size = [], 0
    for text in texts:
        parts.append(text)
        size += len(text)
        if size >= least:
            break
    return "".join(parts)


class _OddJson(ValueError):
    """JSON that readers disagree on."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _OddJson("has a key twice in an object")
    return found


def _no_number(_: str) -> float:
    raise _OddJson("has NaN or an infinite number")


def _csv_records(texts: Iterator[str], delimiter: str) -> Iterator[tuple[int, Any]]:
    rows = csv.reader(_lines(texts), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = [cell.strip() for cell in next(filter(None, rows), [])]
        if len(set(header)) < len(header):
            raise Unconvertible("two columns of the CSV file have the same name")
        for row in filter(None, rows):
            number += 1
            if len(row) != len(header):
                raise Unconvertible(
                    f"record {number} (line {rows.line_num}) has {counted(len(row), 'cell')}, "
                    f"and the header {len(header)}"
                )
            yield number, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise Unconvertible(f"record {number + 1} (line {rows.line_num}) is no CSV: {error}") from None


def _lines(texts: Iterator[str]) -> Iterator[str]:
    rest = ""
    for text in texts:
        *lines, rest = (rest + text).split("\n")
        yield from (f"{line}\n" for line in lines)
    if rest:
        yield rest
