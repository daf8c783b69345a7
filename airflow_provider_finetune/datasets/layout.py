"""Layouts: how a file writes its examples, learned from its own lines, so that most lines need no second look.

A line that was found good the slow way is cut at its texts. A later line made of the same pieces around other texts
is good too, provided that it is JSON and the texts are strings: equality of all other bytes leaves no room for an
unknown field, a repeated key or another order. ``msgspec`` checks the JSON and finds the texts without copying or
decoding them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_finetune.datasets.frame import with_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.frame import Frame

#: What msgspec raises on lines that it cannot read.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

_MARK = "\x00text\x00"
_MARKED = json.dumps(_MARK)
_STYLES = ((", ", ": "), (",", ":"))
_MOST_OF_A_LENGTH = 8
_MOST_LEARNED_IN_VAIN = 2000

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


_chat = msgspec.json.Decoder(_Chat).decode
_preference = msgspec.json.Decoder(_Preference).decode
_completion = msgspec.json.Decoder(_Completion).decode


def _chat_texts(line: bytes) -> list[bytes]:
    return [bytes(said.content) for said in _chat(line).messages]


def _preference_texts(line: bytes) -> list[bytes]:
    row = _preference(line)
    said = *row.input.messages, *row.preferred_output, *row.non_preferred_output
    return [bytes(message.content) for message in said]


def _completion_texts(line: bytes) -> list[bytes]:
    row = _completion(line)
    return [bytes(row.prompt), bytes(row.completion)]


#: By method, what returns the texts of a line as JSON tokens, and raises one of UNREADABLE if it holds none.
TEXTS: dict[Method, Callable[[bytes], list[bytes]]] = {
    "supervised": _chat_texts,
    "dpo": _preference_texts,
    "reinforcement": _chat_texts,
    "completion": _completion_texts,
}


@dataclass(slots=True)
class Layout:
    """The bytes around the texts of a line.

    :ivar pieces: bytes and, at the odd places, gaps for the texts.
    :ivar length: bytes of a line that are not text, quotes included.
    """

    frame: Frame
    pieces: list[bytes]
    length: int
    framing_tokens: int


class Layouts:
    """The layouts that a file was seen to use, those last used first."""

    def __init__(self) -> None:
        self.by_texts: dict[int, list[Layout]] = {}
        self._in_vain = 0

    def learn(self, line: bytes, row: dict[str, Any], frame: Frame, texts: list[bytes], literal_tokens: int) -> None:
        """Remember how a good line is written.

        :param texts: what :data:`TEXTS` returns for the line.
        """
        if self._in_vain > _MOST_LEARNED_IN_VAIN or not all(text.startswith(b'"') for text in texts):
            return
        self._in_vain += 1
        pieces = _pieces(line, row, texts)
        if pieces is None:
            return
        length = len(line) - sum(map(len, texts)) + 2 * len(texts)
        known = self.by_texts.setdefault(len(texts), [])
        known.insert(0, Layout(frame, pieces, length, frame.framing_tokens + literal_tokens))
        del known[_MOST_OF_A_LENGTH:]

    def found_again(self, known: list[Layout], i: int) -> None:
        """Move a layout to the front of those with as many texts."""
        self._in_vain = 0
        known.insert(0, known.pop(i))


def _pieces(line: bytes, row: dict[str, Any], texts: list[bytes]) -> list[bytes] | None:
    ending = line[len(line.rstrip(b"\r\n")) :]
    marked = with_texts(row, _MARK)
    for separators in _STYLES:
        for ensure_ascii in (True, False):
            around = json.dumps(marked, separators=separators, ensure_ascii=ensure_ascii).split(_MARKED)
            pieces = [b""] * (2 * len(texts) + 1)
            if len(around) != len(texts) + 1:
                return None
            pieces[::2] = [piece.encode() for piece in around]
            pieces[1::2] = texts
            pieces[-1] += ending
            if b"".join(pieces) == line:
                return pieces
    return None
