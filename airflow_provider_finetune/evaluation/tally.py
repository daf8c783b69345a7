"""What is known of a model's answers so far: numbers only, a few bytes an example."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_finetune.evaluation.answer import Answer


class Tally:
    """Counts the answers of one model.

    :param examples: how many there are to answer.
    """

    def __init__(self, examples: int) -> None:
        self.grades = array("d", [math.nan]) * examples
        self._latencies = array("d", [math.nan]) * examples
        self._is_known = bytearray(examples)
        self.errors = self.empty = self.ungraded = self.prompt_tokens = self.completion_tokens = 0

    def add(self, place: int, answer: Answer, lowest: float) -> None:
        """Count a graded answer, or one that will never have a grade.

        A refused request has the lowest grade: whoever uses the model gets no answer either.

        :param place: of the example.
        """
        if self._is_known[place]:
            return
        self._is_known[place] = 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens
        if answer.error is not None:
            self.errors += 1
            self.grades[place] = lowest
            return
        self.empty += answer.is_empty
        self._latencies[place] = answer.latency
        if answer.grade is None:
            self.ungraded += 1
        else:
            self.grades[place] = answer.grade

    def knows(self, place: int) -> bool:
        """Return whether nothing is to be done for the example any more."""
        return bool(self._is_known[place])

    @property
    def answered(self) -> int:
        """How many examples are done."""
        return self._is_known.count(1)

    def latency(self, share: float) -> float | None:
        """Return the seconds within which this share of the answers came; None when there is none."""
        known = sorted(seconds for seconds in self._latencies if not math.isnan(seconds))
        return known[min(len(known) - 1, math.ceil(share * len(known)) - 1)] if known else None
