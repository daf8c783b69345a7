"""Repetition in a dataset: the same example twice, the same prompt with another answer, rows of another file.

Nothing is kept of an example but two 64-bit hashes, 16 bytes in all, so that a million examples fit a small worker.
The hashes are Python's own and hold within one process only.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FEWEST_SLOTS = 1 << 16
_MOST_SLOTS = 1 << 24
_SLOTS_PER_EXAMPLE = 8


class Repeat(NamedTuple):
    """A line that repeats the prompt of an earlier line.

    ``is_same`` tells whether the answer is the same too.
    """

    line: int
    earlier: int
    is_same: bool


class Repeats:
    """Finds repeated prompts and examples among the lines of a file."""

    def __init__(self) -> None:
        self._prompts = array("q")
        self._examples = array("q")
        # A byte says "seen before": nearly all prompts are new, and only the others are looked at again.
        self._slots = bytearray(_FEWEST_SLOTS)
        self._candidates: set[int] = set()

    def extend(self, prompts: Sequence[int], examples: Sequence[int]) -> None:
        """Add the next lines.

        :param prompts: per line the hash of the prompt, or 0 for a line that holds no example.
        :param examples: per line the hash of the whole example.
        """
        if len(self._slots) < min(_SLOTS_PER_EXAMPLE * len(self._prompts), _MOST_SLOTS):
            self._grow()
        slots, mask, again = self._slots, len(self._slots) - 1, self._candidates.add
        for prompt in prompts:
            if slots[prompt & mask]:
                again(prompt)
            else:
                slots[prompt & mask] = 1
        self._prompts.extend(prompts)
        self._examples.extend(examples)

    def _grow(self) -> None:
        self._slots = bytearray(16 * len(self._slots))
        mask = len(self._slots) - 1
        for prompt in self._prompts:
            self._slots[prompt & mask] = 1

    def __iter__(self) -> Iterator[Repeat]:
        """Yield every line that repeats an earlier one, in the order of the file."""
        first: dict[int, int] = {}
        seen: dict[int, int] = {}
        candidates, examples = self._candidates - {0}, self._examples
        for i, prompt in enumerate(self._prompts):
            if prompt not in candidates:
                continue
            example = examples[i]
            if (earlier := seen.get(example)) is not None:
                yield Repeat(i + 1, earlier, True)
            elif (earlier := first.get(prompt)) is not None:
                yield Repeat(i + 1, earlier, False)
            seen.setdefault(example, i + 1)
            first.setdefault(prompt, i + 1)

    def overlap(self, other: Repeats) -> Iterator[tuple[int, int]]:
        """Yield the lines of the other file whose prompt is in this one too, with the line here."""
        wanted = set(other._prompts) - {0}
        here: dict[int, int] = {}
        for i, prompt in enumerate(self._prompts):
            if prompt in wanted:
                here.setdefault(prompt, i + 1)
        for i, prompt in enumerate(other._prompts):
            if prompt in here:
                yield i + 1, here[prompt]
