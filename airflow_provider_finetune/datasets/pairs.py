"""Which files go together: training files and the validation file of each, as told or by their names."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Words in the name of a file that make it a validation file.
VALIDATION_WORDS = ("valid", "validation", "val", "eval", "dev", "test")
TRAINING_WORDS = ("train", "training")

_WORD = re.compile(r"[A-Za-z]+")


class Pair(NamedTuple):
    """Files that are checked together; one of them may be elsewhere.

    :ivar is_complete: False when a file without its like is looked at alone.
    """

    training: str | None
    validation: str | None
    is_complete: bool = True


def pairs_of(files: Sequence[str], validation: Sequence[str]) -> list[Pair]:
    """Return what to check together, in the order given.

    :param files: training files.
    :param validation: as many validation files, or none, or only these.
    :raises ValueError: neither.
    """
    if not files:
        return [Pair(None, file, is_complete=False) for file in validation]
    if not validation:
        return [Pair(file, None) for file in files]
    if len(files) != len(validation):
        raise ValueError(
            f"{len(files)} training and {len(validation)} validation files; expected as many of one as of the other"
        )
    return [Pair(*both) for both in zip(files, validation, strict=True)]


def pairs_by_name(files: Sequence[str], exists: Callable[[str], bool]) -> list[Pair]:
    """Return what to check together: a file with ``valid`` in its name goes with the one that has ``train`` there.

    So ``faq-train.jsonl`` and ``faq-valid.jsonl`` of one folder are a pair, and ``train.jsonl`` and ``test.jsonl``. A
    file without its like is looked at alone.

    :param files: all of them, or those that changed.
    :param exists: whether there is a file of a name; the other one of a pair need not be among the files.
    """
    pairs: dict[Pair, None] = {}
    for file in files:
        word = _word_in(file, VALIDATION_WORDS)
        others = TRAINING_WORDS if word else VALIDATION_WORDS
        word = word or _word_in(file, TRAINING_WORDS)
        candidates = [_with_word(file, word, other) for other in others] if word else []
        other = next((name for name in candidates if name in files or exists(name)), None)
        training, validation = (other, file) if others is TRAINING_WORDS else (file, other)
        pairs[Pair(training, validation, is_complete=other is not None)] = None
    return list(pairs)


def _word_in(file: str, words: Sequence[str]) -> re.Match[str] | None:
    """Return the last of some words in the name of a file."""
    found = [match for match in _WORD.finditer(_stem(file)) if match[0].lower() in words]
    return found[-1] if found else None


def _with_word(file: str, word: re.Match[str], other: str) -> str:
    stem = _stem(file)
    name = PurePath(file).name
    return file[: len(file) - len(name)] + stem[: word.start()] + other + stem[word.end() :] + name[len(stem) :]


def _stem(file: str) -> str:
    return PurePath(file).name.partition(".")[0]
