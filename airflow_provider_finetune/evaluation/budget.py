"""What an evaluation has spent, what it has promised, and what it may spend. Pure."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_finetune.evaluation.cost import most_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_finetune.evaluation.answer import Answer
    from airflow_provider_finetune.evaluation.cost import Prices
    from airflow_provider_finetune.evaluation.grader import LabelModel, ScoreModel


class Overspent(ValueError):
    """The next request may go beyond the ceiling."""


class Budget:
    """The money of one task, over all its attempts.

    :param judges: the graders that ask a model about each answer.
    :param max_tokens: of an answer; None where they are not limited.
    :param ceiling: what may be spent; None where that is not limited.
    :ivar spent: what answers and judges have cost so far.
    """

    def __init__(
        self,
        prices: Prices,
        judges: Sequence[ScoreModel | LabelModel] = (),
        *,
        max_tokens: int | None = None,
        ceiling: float | None = None,
    ) -> None:
        self.spent = 0.0
        self._prices, self._judges = prices, judges
        self._max_tokens, self._ceiling = max_tokens, ceiling
        self._promised = 0.0  # what requests that are under way cost at most

    def most(self, model: str, prompt_tokens: float) -> float | None:
        """Return what an answer costs at most; None while its price or its tokens are not known."""
        price = self._prices.of(model)
        return None if price is None or self._max_tokens is None else price.of(prompt_tokens, self._max_tokens)

    def most_for_judges(self, item_bytes: float) -> float | None:
        """Return what grading an answer costs at most; None while a price or the tokens are not known.

        A judge is taken to see the whole example and the longest answer once, and to answer once.

        :param item_bytes: of the example.
        """
        total = 0.0
        for judge in self._judges:
            price = self._prices.of(judge.model)
            if price is None or self._max_tokens is None:
                return None
            template = sum(map(len, judge.templates))
            prompt = most_tokens(template + item_bytes, len(judge.input) + 1) + self._max_tokens
            total += price.of(prompt, judge.most_tokens)
        return total

    def cost_of(self, answer: Answer) -> float:
        """Return what an answer has cost, with its judges."""
        price = self._prices.of(answer.model)
        own = 0.0 if price is None else price.of(answer.prompt_tokens, answer.completion_tokens)
        return own + self.cost_of_judges(answer)

    def cost_of_judges(self, answer: Answer) -> float:
        """Return what the judges of an answer have cost."""
        return sum(
            price.of(*tokens)
            for model, tokens in answer.judges.items()
            if (price := self._prices.of(model)) is not None
        )

    @contextmanager
    def promised(self, most: float) -> Iterator[None]:
        """Hold back what a request costs at most while it is under way.

        :raises Overspent: it may go beyond the ceiling, with all that are under way.
        """
        if self._ceiling is not None and self.spent + self._promised + most > self._ceiling:
            raise Overspent(
                f"{self.spent:,.4f} was spent, and the next request may go beyond max_cost {self._ceiling:,.4f}."
            )
        self._promised += most
        try:
            yield
        finally:
            self._promised -= most
