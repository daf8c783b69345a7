"""Layouts: how a file writes its examples, learned from its own lines, so that most lines need no second look.

A line that was found good the slow way is cut at its texts. A later line made of the same pieces around other texts
is good too, provided that it is JSON and the texts are what they must be: equality of all other bytes leaves no room
for an unknown field, a repeated key or another order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import eq, itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.alike import UNREADABLE, text_of
from airflow_provider_finetune.datasets.formats import is_blank, is_json
from airflow_provider_finetune.datasets.frame import token_of
from airflow_provider_finetune.datasets.texts import MESSAGE_FIELDS, TELLING, Kind, Side, Text, with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_finetune.datasets.alike import Alike
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.frame import Frame

_MARK = "\x00text\x00"
_MARKED = json.dumps(_MARK)
_STYLES = ((", ", ": "), (",", ":"))
_MOST_KNOWN = 1000
_MOST_TRIALS = 200
_ENOUGH_TO_FIND = 24
_QUOTE, _BRACE = ord('"'), ord("{")
# What a blank text may begin with: its end, a blank, an escape, a character outside ASCII.
_MAYBE_BLANK = frozenset({_QUOTE, ord(" "), ord("\\"), *range(0x80, 0x100)})
_looks_blank = re.compile(rb'"(?:[ \x80-\xff]|\\[bfnrt]|\\u[0-9a-fA-F]{4})*"').fullmatch
_first, _second = itemgetter(0), itemgetter(1)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is equal in lines that differ only in their texts, and in weights.

    :ivar kinds: of the texts, in the order of the line.
    :ivar prompt: the texts that make the prompt another one, by their place in the line.
    :ivar reply: the texts that make the reply another one.
    :ivar links: ids of calls, and of the results that answer them, message by message: in each line the same ids.
    :ivar pairs: the texts of the two outputs of a preference, if they differ in nothing but these.
    :ivar around: bytes of a line that are not text, the quotes of the texts included.
    :ivar quarters: four times the tokens of an example that are not in its texts.
    :ivar of_kind: which of the texts are of a kind.
    """

    frame: Frame
    kinds: tuple[Kind, ...]
    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    links: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    pairs: tuple[tuple[int, int], ...]
    around: int
    quarters: int
    of_kind: Mapping[Kind, tuple[int, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        of_kind = {kind: tuple(i for i, one in enumerate(self.kinds) if one is kind) for kind in Kind}
        object.__setattr__(self, "of_kind", of_kind)

    def identities(self, columns: Sequence[Sequence[bytes]]) -> Sequence[Sequence[bytes]] | None:
        """Return the texts such that equal texts are equal bytes; None if one of them is not what it must be.

        :param columns: the texts as JSON tokens: the first of every line, the second of every line, and so on.
        """
        try:
            if not self._are_of_their_kinds(columns) or not self._are_linked(columns):
                return None
            plain = [
                column
                if all(map(bytes.isascii, column))
                else [text if text.isascii() else token_of(text_of(text)) for text in column]
                for column in columns
            ]
        except UNREADABLE:
            return None
        return None if self._have_same_outputs(plain) else plain

    def _are_of_their_kinds(self, columns: Sequence[Sequence[bytes]]) -> bool:
        """Return whether all texts are what their kinds must be."""
        return (
            set(map(_first, chain.from_iterable(columns))) == {_QUOTE}
            and not _has_blank(list(chain.from_iterable([columns[i] for i in self.of_kind[Kind.SAID]])))
            and not any(b'""' in columns[i] for i in self.of_kind[Kind.CALL_ID])
            and all(_are_arguments(columns[i]) for i in self.of_kind[Kind.ARGUMENTS])
        )

    def _are_linked(self, columns: Sequence[Sequence[bytes]]) -> bool:
        """Return whether the results of each message with calls have the ids of those calls."""
        for calls, results in self.links:
            if len(calls) == len(results) == 1:
                if not all(map(eq, columns[calls[0]], columns[results[0]])):
                    return False
            elif not all(
                set(asked) == set(answered)
                for asked, answered in zip(
                    zip(*(columns[i] for i in calls), strict=True),
                    zip(*(columns[i] for i in results), strict=True),
                    strict=True,
                )
            ):
                return False
        return True

    def _have_same_outputs(self, columns: Sequence[Sequence[bytes]]) -> bool:
        """Return whether the two outputs of a preference are the same in any of the lines."""
        if not self.pairs:
            return False
        alike = [map(eq, columns[i], columns[j]) for i, j in self.pairs]
        return any(map(all, zip(*alike, strict=True)))


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
        links = _links(texts)
        if links is None:
            return
        telling = [i for i, text in enumerate(texts) if text.kind in TELLING]
        telling.sort(key=lambda i: texts[i].order)
        shape = Shape(
            frame=frame,
            kinds=tuple(text.kind for text in texts),
            prompt=tuple(i for i in telling if texts[i].side is Side.PROMPT),
            reply=tuple(i for i in telling if texts[i].side is Side.REPLY),
            links=links,
            pairs=_pairs([i for i in telling if texts[i].side is Side.REPLY], texts) if method == "dpo" else (),
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


def _has_blank(texts: Sequence[bytes]) -> bool:
    # Most texts do not begin like a blank one.
    maybe = compress(texts, map(_MAYBE_BLANK.__contains__, map(_second, texts)))
    return any(is_blank(text_of(text)) for text in filter(_looks_blank, maybe))


def _are_arguments(column: Sequence[bytes]) -> bool:
    return set(map(_second, column)) == {_BRACE} and all(is_json(text_of(text)) for text in column)


def _links(texts: Sequence[Text]) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None:
    """Return the ids of calls and of the results behind them; None if they are not all answered, each by one of them.

    :param texts: of a good line.
    """
    groups: dict[tuple[int | str, ...], tuple[list[int], list[int]]] = {}
    latest: dict[int | str, tuple[list[int], list[int]]] = {}
    linking = [i for i, text in enumerate(texts) if text.kind in (Kind.CALL_ID, Kind.RESULT_ID)]
    for i in sorted(linking, key=lambda i: _as_said(texts[i])):
        text, field = texts[i], texts[i].order[0]
        if text.kind is Kind.CALL_ID:
            latest[field] = groups.setdefault(text.order[:2], ([], []))
            latest[field][0].append(i)
        elif text.kind is Kind.RESULT_ID:
            # An output may begin with the results that the input lacks.
            group = latest.get(field) or latest.get("messages")
            if group is None:
                return None
            group[1].append(i)
    answered = [(calls, results) for calls, results in groups.values() if results]
    if any({texts[i].text for i in calls} != {texts[i].text for i in results} for calls, results in answered):
        return None
    return tuple((tuple(calls), tuple(results)) for calls, results in answered)


def _as_said(text: Text) -> tuple[int, tuple[int | str, ...]]:
    # The input of a preference comes before its outputs, wherever it stands in the line.
    return list(MESSAGE_FIELDS).index(str(text.order[0])), text.order


def _pairs(reply: Sequence[int], texts: Sequence[Text]) -> tuple[tuple[int, int], ...]:
    """Return the texts of the preferred output, each with its like in the other one, if both have equally many.

    :param reply: texts of both outputs, as they are said.
    """
    preferred = [i for i in reply if texts[i].order[0] == "preferred_output"]
    other = [i for i in reply if texts[i].order[0] != "preferred_output"]
    return tuple(zip(preferred, other, strict=True)) if len(preferred) == len(other) else ()


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
