"""What asking models costs. Prices are the user's, for a million tokens, in any currency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

#: No tokenizer of the models in use makes more of a text than this many bytes a token on average; what a message needs
#: besides is a few tokens.
BYTES_A_TOKEN = 2.5
TOKENS_A_MESSAGE = 8


class Price(NamedTuple):
    """Of a million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


class Prices:
    """The prices of models.

    :param given: ``{"prompt": 0.4, "completion": 1.6}`` for every model, or such a mapping for each by its name.
    :raises ValueError: a price is none.
    """

    def __init__(self, given: Mapping[str, Any] | None) -> None:
        given = given or {}
        is_one = bool(given) and not any(isinstance(value, Mapping) for value in given.values())
        self._for_all = _price("prices", given) if is_one else None
        self._by_model = (
            {} if is_one else {str(name): _price(f"prices[{name!r}]", value) for name, value in given.items()}
        )

    def of(self, model: str) -> Price | None:
        """Return the price of a model; None when it is not known."""
        return self._by_model.get(model, self._for_all)


def _price(place: str, given: object) -> Price:
    if isinstance(given, Mapping) and given.keys() == {"prompt", "completion"}:
        try:
            price = Price(float(given["prompt"]), float(given["completion"]))
        except (TypeError, ValueError):
            price = Price(math.nan, math.nan)
        if all(0 <= part < math.inf for part in price):
            return price
    raise ValueError(f'{place} must be {{"prompt": …, "completion": …}}: two numbers, for a million tokens each')


def most_tokens(size: float, messages: int) -> int:
    """Return how many tokens a prompt has at most, by a cautious estimate.

    :param size: bytes of all texts.
    """
    return math.ceil(size / BYTES_A_TOKEN) + TOKENS_A_MESSAGE * (messages + 1)
