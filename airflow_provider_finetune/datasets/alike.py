"""Finding the texts of many lines at once, without decoding them: ``msgspec`` checks the JSON and cuts them out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence  # noqa: TC003 - msgspec and NamedTuple read annotations
from itertools import chain
from operator import attrgetter, sub
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from airflow_provider_finetune.datasets.texts import MESSAGE_FIELDS

if TYPE_CHECKING:
    from airflow_provider_finetune.datasets.formats import Method

#: What msgspec raises on lines that it cannot read.
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

#: Returns the string of a JSON token; raises one of UNREADABLE.
text_of = msgspec.json.Decoder(str).decode

_QUOTE = ord('"')
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


def alike(lines: list[bytes], method: Method, *, has_calls: bool = False) -> list[Alike]:
    """Return the lines grouped by how many texts they have; those that have none or are not JSON are left out.

    :param has_calls: look for calls in the lines, whose ids and arguments are texts, too.
    """
    if method == "reinforcement":
        return _alike(lines, range(len(lines)), _REINFORCEMENT)
    if not has_calls:
        return _alike(lines, range(len(lines)), _READERS[method])
    calling = {place for place, line in enumerate(lines) if b'"tool_call' in line}
    others = [place for place in range(len(lines)) if place not in calling]
    return _alike(lines, sorted(calling), _CALLS) + _alike(lines, others, _READERS[method])


def _alike(all_lines: list[bytes], places: Sequence[int], reader: _Reader) -> list[Alike]:
    lines = all_lines if len(places) == len(all_lines) else [all_lines[place] for place in places]
    try:
        rows = list(map(reader.decode, lines))
    except UNREADABLE:
        decoded = [(i, row) for i, line in enumerate(lines) if (row := _decoded(reader, line)) is not None]
        places = [places[i] for i, _ in decoded]
        lines = [lines[i] for i, _ in decoded]
        rows = [row for _, row in decoded]
    counts, texts = reader.texts(rows)
    if counts and counts.count(counts[0]) == len(counts):
        count = counts[0]
        return [Alike(places, lines, [texts[i::count] for i in range(count)])] if count else []
    groups: dict[int, tuple[list[int], list[bytes]]] = {}
    start = 0
    for i, count in enumerate(counts):
        chosen, said = groups.setdefault(count, ([], []))
        chosen.append(i)
        said += texts[start : start + count]
        start += count
    return [
        Alike(
            [places[i] for i in chosen],
            [lines[i] for i in chosen],
            [said[i::count] for i in range(count)],
        )
        for count, (chosen, said) in groups.items()
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
    "completion": _Reader(msgspec.json.Decoder(_Completion).decode, _completion_texts),
}


# Lines whose texts are in more places are walked through, in the order of their keys.


_NOTHING = Raw()


class _Function(msgspec.Struct, gc=False):
    arguments: Raw


class _Call(msgspec.Struct, gc=False):
    function: _Function
    id: Raw = _NOTHING


_object_of = msgspec.json.Decoder(dict[str, Raw]).decode
_messages_of = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_calls_of = msgspec.json.Decoder(list[_Call]).decode


def _walk(line: bytes | Raw, *, takes_references: bool = False) -> list[bytes]:
    texts: list[bytes] = []
    for field, inside in _object_of(line).items():
        if field in MESSAGE_FIELDS:
            for message in _messages_of(inside):
                for key, value in message.items():
                    if key in ("content", "tool_call_id"):
                        token = bytes(value)
                        # Beside calls, an empty content is none.
                        if token[0] == _QUOTE and (token != b'""' or "tool_calls" not in message):
                            texts.append(token)
                    elif key == "tool_calls":
                        for call in _calls_of(value):
                            if call.id is not _NOTHING:
                                texts.append(bytes(call.id))
                            texts.append(bytes(call.function.arguments))
        elif field == "input":
            texts += _walk(inside)
        elif takes_references and (token := bytes(inside))[0] == _QUOTE:
            texts.append(token)
    return texts


def _walked(rows: list[list[bytes]]) -> tuple[list[int], list[bytes]]:
    return list(map(len, rows)), list(chain.from_iterable(rows))


_CALLS = _Reader(_walk, _walked)
_REINFORCEMENT = _Reader(lambda line: _walk(line, takes_references=True), _walked)
