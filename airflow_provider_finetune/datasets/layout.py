"""Layouts: how a file writes its examples, learned from its own lines, so that most lines need no second look.

A line that was found good the slow way is cut at its texts. A later line made of the same pieces around other texts
is good too, provided that it is JSON and the texts are what they must be: equality of all other bytes leaves no room
for an unknown field, a repeated key or another order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.alike import UNREADABLE, text_of
from airflow_provider_finetune.datasets.formats import is_json
from airflow_provider_finetune.datasets.frame import token_of
from airflow_provider_finetune.datasets.texts import TELLING, Kind, Text, with_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_finetune.datasets.alike import Alike
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.frame import Frame

_MARK = "\x00text\x00"
_MARKED = json.dumps(_MARK)
_STYLES = ((", ", ": "), (",", ":"))
_MOST_KNOWN = 1000
_MOST_TRIALS = 200
_ENOUGH_TO_FIND = 24
_QUOTE = ord('"')
_NOT_EMPTY = frozenset({Kind.SAID, Kind.ARGUMENTS, Kind.CALL_ID})
_first = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is equal in lines that differ only in their texts, and in weights.

    :ivar kinds: of the texts, in the order of the line.
    :ivar prompt: the texts that make the prompt another one, by their place in the line.
    :ivar reply: the texts that make the reply another one.
    :ivar around: bytes of a line that are not text, the quotes of the texts included.
    :ivar quarters: four times the tokens of an example that are not in its texts.
    """

    frame: Frame
    kinds: tuple[Kind, ...]
    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    around: int
    quarters: int

    def identities(self, columns: Sequence[Sequence[bytes]]) -> Sequence[Sequence[bytes]] | None:
        """Return the texts such that equal texts are equal bytes; None if one of them is not what it must be.

        :param columns: the texts as JSON tokens: the first of every line, the second of every line, and so on.
        """
        try:
            if not all(map(_are, self.kinds, columns)) or not self._are_linked(columns):
                return None
            return [
                column
                if all(map(bytes.isascii, column))
                else [text if text.isascii() else token_of(text_of(text)) for text in column]
                for column in columns
            ]
        except UNREADABLE:
            return None

    def _are_linked(self, columns: Sequence[Sequence[bytes]]) -> bool:
        """Return whether every result has the id of a call before it."""
        calls: list[Sequence[bytes]] = []
        for kind, column in zip(self.kinds, columns, strict=True):
            if kind is Kind.CALL_ID:
                calls.append(column)
            elif kind is Kind.RESULT_ID and not all(
                result in before for result, *before in zip(column, *calls, strict=True)
            ):
                return False
        return True


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

    def learn(
        self, line: bytes, row: dict[str, Any], method: Method, frame: Frame, texts: Sequence[Text], quarters: int
    ) -> None:
        """Remember how a good line is written.

        :param texts: the texts of the line.
        :param quarters: four times the tokens of the example that are not in its texts.
        """
        # Trials that lead nowhere, as with names that differ in every line, come to an end.
        if self._trials <= 0 or len(self._known) >= _MOST_KNOWN or not texts:
            return
        self._trials -= 1
        found = _pieces(line, row, method, texts)
        if found is None:
            return
        pieces, around = found
        telling = [i for i, text in enumerate(texts) if text.kind in TELLING]
        telling.sort(key=lambda i: texts[i].order)
        shape = Shape(
            frame=frame,
            kinds=tuple(text.kind for text in texts),
            prompt=tuple(i for i in telling if not texts[i].is_reply),
            reply=tuple(i for i in telling if texts[i].is_reply),
            around=around,
            quarters=quarters,
        )
        self._known[pieces] = self._shapes.setdefault(shape, shape)
        self._last[len(texts), around] = pieces


def _fits(pieces: tuple[bytes, ...], group: Alike) -> bool:
    """Return whether all lines of a group are made of the same pieces around their texts, byte for byte."""
    count, width = len(group.lines), len(pieces) + len(group.columns)
    parts = [b""] * (count * width)
    for i, piece in enumerate(pieces):
        parts[2 * i :: width] = [piece] * count
    for i, column in enumerate(group.columns):
        parts[2 * i + 1 :: width] = column
    return b"".join(parts) == b"".join(group.lines)


def _are(kind: Kind, column: Sequence[bytes]) -> bool:
    """Return whether all texts of a column are what their kind must be."""
    if set(map(_first, column)) != {_QUOTE} or (kind in _NOT_EMPTY and b'""' in column):
        return False
    return kind is not Kind.ARGUMENTS or all(is_json(text_of(text)) for text in column)


def _pieces(
    line: bytes, row: dict[str, Any], method: Method, texts: Sequence[Text]
) -> tuple[tuple[bytes, ...], int] | None:
    """Return the pieces around the texts of a line and their bytes, if it is written in one of the usual styles."""
    ending = line[len(line.rstrip(b"\r\n")) :]
    marked = with_texts(row, method, lambda _: _MARK)
    for separators in _STYLES:
        for ensure_ascii in (True, False):
            around = json.dumps(marked, separators=separators, ensure_ascii=ensure_ascii).split(_MARKED)
            if len(around) != len(texts) + 1:
                return None
            pieces = [piece.encode() for piece in around]
            pieces[-1] += ending
            said = [json.dumps(text.text, ensure_ascii=ensure_ascii).encode() for text in texts]
            if b"".join(chain.from_iterable(zip(pieces, [*said, b""], strict=True))) == line:
                return tuple(pieces), sum(map(len, pieces)) + 2 * len(texts)
    return None
