"""Layouts: how a file writes its examples, learned from its own lines, so that most lines need no second look.

A line that was found good the slow way is cut at its texts. A later line made of the same pieces around other texts
is good too, provided that it is JSON and the texts are strings: equality of all other bytes leaves no room for an
unknown field, a repeated key or another order. ``msgspec`` checks the JSON and finds the texts without copying or
decoding them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence  # noqa: TC003 - msgspec and NamedTuple read annotations
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter, sub
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from airflow_provider_finetune.datasets.frame import with_texts

if TYPE_CHECKING:
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.frame import Frame

#: What msgspec raises on lines that it cannot read.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_MARK = "\x00text\x00"
_MARKED = json.dumps(_MARK)
_STYLES = ((", ", ": "), (",", ":"))
_MOST_KNOWN = 1000
_MOST_TRIALS = 200
_ENOUGH_TO_FIND = 24
_QUOTE = ord('"')

#: Returns the string of a JSON token; raises one of UNREADABLE.
text_of = msgspec.json.Decoder(str).decode
_first = itemgetter(0)

Raw = msgspec.Raw


class _Said(msgspec.Struct, gc=False):
    content: Raw


class _Chat(msgspec.Struct, gc=False):
    messages: list[_Said]


class _Preference(msgspec.Struct, gc=False):
    input: _Chat
    preferred_output: list[_Said]
    non_preferred_output: list[_Said]


class _Completion(msgspec.Struct, gc=False):
    prompt: Raw
    completion: Raw


class Alike(NamedTuple):
    """Lines with equally many texts.

    :ivar places: where each line stands in its block.
    :ivar columns: the texts as JSON tokens: the first of every line, the second of every line, and so on.
    """

    places: Sequence[int]
    lines: Sequence[bytes]
    columns: Sequence[Sequence[bytes]]

    def around(self, i: int) -> int:
        """Return how many bytes of a line are not text, the quotes of the texts included."""
        return len(self.lines[i]) - sum(len(column[i]) - 2 for column in self.columns)

    def by_length(self) -> list[Alike]:
        """Return the lines grouped further, by how many of their bytes are not text: most layouts differ in that."""
        texts = map(sum, zip(*(map(len, column) for column in self.columns), strict=True))
        groups: dict[int, list[int]] = {}
        for i, around in enumerate(map(sub, map(len, self.lines), texts)):
            groups.setdefault(around, []).append(i)
        return [self] if len(groups) == 1 else [self.only(chosen) for chosen in groups.values()]

    def only(self, chosen: Sequence[int]) -> Alike:
        """Return some of the lines.

        :param chosen: counted within this group.
        """
        return Alike(
            [self.places[i] for i in chosen],
            [self.lines[i] for i in chosen],
            [[column[i] for i in chosen] for column in self.columns],
        )


class _Reader(NamedTuple):
    decode: Callable[[bytes], Any]
    # From decoded lines, the number of texts of each, and all texts in a row.
    texts: Callable[[list[Any]], tuple[list[int], list[bytes]]]


def alike(lines: list[bytes], method: Method) -> list[Alike]:
    """Return the lines grouped by how many texts they have; those that have none or are not JSON are left out."""
    reader = _READERS[method]
    places: Sequence[int] = range(len(lines))
    try:
        rows = list(map(reader.decode, lines))
    except UNREADABLE:
        decoded = [(place, row) for place in places if (row := _decoded(reader, lines[place])) is not None]
        places = [place for place, _ in decoded]
        rows = [row for _, row in decoded]
    counts, texts = reader.texts(rows)
    if counts and counts.count(counts[0]) == len(lines):
        return [Alike(places, lines, [texts[i :: counts[0]] for i in range(counts[0])])] if counts[0] else []
    groups: dict[int, tuple[list[int], list[bytes]]] = {}
    start = 0
    for place, count in zip(places, counts, strict=True):
        where, what = groups.setdefault(count, ([], []))
        where.append(place)
        what += texts[start : start + count]
        start += count
    return [
        Alike(where, [lines[place] for place in where], [what[i::count] for i in range(count)])
        for count, (where, what) in groups.items()
        if count
    ]


def _decoded(reader: _Reader, line: bytes) -> Any:
    try:
        return reader.decode(line)
    except UNREADABLE:
        return None


# Whole blocks of lines go through these inside C, without a step of the interpreter for each.
_messages, _content, _sides = attrgetter("messages"), attrgetter("content"), attrgetter("prompt", "completion")


def _tokens(said: Iterable[Iterable[_Said]]) -> list[bytes]:
    return list(map(bytes, map(_content, chain.from_iterable(said))))


def _chat_texts(rows: list[_Chat]) -> tuple[list[int], list[bytes]]:
    said = list(map(_messages, rows))
    return list(map(len, said)), _tokens(said)


def _preference_texts(rows: list[_Preference]) -> tuple[list[int], list[bytes]]:
    said = [[*row.input.messages, *row.preferred_output, *row.non_preferred_output] for row in rows]
    return list(map(len, said)), _tokens(said)


def _completion_texts(rows: list[_Completion]) -> tuple[list[int], list[bytes]]:
    return [2] * len(rows), list(map(bytes, chain.from_iterable(map(_sides, rows))))


_CHAT = _Reader(msgspec.json.Decoder(_Chat).decode, _chat_texts)
_READERS: dict[Method, _Reader] = {
    "supervised": _CHAT,
    "dpo": _Reader(msgspec.json.Decoder(_Preference).decode, _preference_texts),
    "reinforcement": _CHAT,
    "completion": _Reader(msgspec.json.Decoder(_Completion).decode, _completion_texts),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What is equal in lines that differ only in their texts, and in weights.

    :ivar around: bytes of a line that are not text, the quotes of the texts included.
    :ivar quarters: four times the tokens of an example that are not in its texts.
    """

    frame: Frame
    around: int
    quarters: int


class Layouts:
    """The layouts that a file was seen to use: the bytes around the texts, and what lines of such bytes hold."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], Shape] = {}
        self._last: dict[tuple[int, int], tuple[bytes, ...]] = {}
        self._shapes: dict[Shape, Shape] = {}
        self._trials = _MOST_TRIALS

    def of_all(self, group: Alike) -> Shape | None:
        """Return the shape of all lines of a group if they have the layout that was last met in a line like the first.

        Cheaper than one by one.
        """
        pieces = self._last.get((len(group.columns), group.around(0)))
        return self._known[pieces] if pieces is not None and _fits(pieces, group) else None

    def of_one(self, line: bytes, texts: Sequence[bytes]) -> Shape | None:
        """Return the shape of a line, if its layout is known.

        :param texts: the texts of the line as JSON tokens.
        """
        pieces = []
        end = 0
        for text in texts:
            start = line.find(text[:_ENOUGH_TO_FIND], end)
            if not line.startswith(text, start):
                # The text begins like something before it.
                return None
            pieces.append(line[end:start])
            end = start + len(text)
        pieces.append(line[end:])
        shape = self._known.get(tuple(pieces))
        if shape is not None:
            self._last[len(texts), shape.around] = tuple(pieces)
            self._trials = min(self._trials + 1, _MOST_TRIALS)
        return shape

    def learn(self, line: bytes, row: dict[str, Any], frame: Frame, texts: Sequence[bytes], quarters: int) -> None:
        """Remember how a good line is written.

        :param texts: the texts of the line as JSON tokens, in the order of the columns of :func:`alike`.
        :param quarters: four times the tokens of the example that are not in its texts.
        """
        # Trials that lead nowhere, as with calls that differ in every line, come to an end.
        if self._trials <= 0 or len(self._known) >= _MOST_KNOWN or not are_strings(texts):
            return
        self._trials -= 1
        pieces = _pieces(line, row, texts)
        if pieces is None:
            return
        shape = Shape(frame, len(line) - sum(len(text) - 2 for text in texts), quarters)
        self._known[pieces] = self._shapes.setdefault(shape, shape)
        self._last[len(texts), shape.around] = pieces


def _fits(pieces: tuple[bytes, ...], group: Alike) -> bool:
    """Return whether all lines of a group are made of the same pieces around their texts, byte for byte."""
    count, width = len(group.lines), len(pieces) + len(group.columns)
    parts = [b""] * (count * width)
    for i, piece in enumerate(pieces):
        parts[2 * i :: width] = [piece] * count
    for i, column in enumerate(group.columns):
        parts[2 * i + 1 :: width] = column
    return b"".join(parts) == b"".join(group.lines)


def are_strings(tokens: Sequence[bytes]) -> bool:
    """Return whether JSON tokens are all strings, none of them empty."""
    return set(map(_first, tokens)) == {_QUOTE} and b'""' not in tokens


def _pieces(line: bytes, row: dict[str, Any], texts: Sequence[bytes]) -> tuple[bytes, ...] | None:
    ending = line[len(line.rstrip(b"\r\n")) :]
    marked = with_texts(row, _MARK)
    for separators in _STYLES:
        for ensure_ascii in (True, False):
            around = json.dumps(marked, separators=separators, ensure_ascii=ensure_ascii).split(_MARKED)
            if len(around) != len(texts) + 1:
                return None
            pieces = [piece.encode() for piece in around]
            pieces[-1] += ending
            if b"".join(chain.from_iterable(zip(pieces, [*texts, b""], strict=True))) == line:
                return tuple(pieces)
    return None
