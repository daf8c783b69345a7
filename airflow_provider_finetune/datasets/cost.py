"""What training on a dataset costs. Prices differ by model and vendor and are always the user's to state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """The bill to expect.

    :ivar trained_tokens: tokens of the training file times epochs; None as long as the epochs are not known.
    :ivar total: in the currency of the price; None as long as the price or the epochs are not known.
    """

    n_epochs: int | None
    price_per_million_tokens: float | None
    trained_tokens: int | None
    total: float | None


def cost_of(tokens: int, *, n_epochs: int | None = None, price_per_million_tokens: float | None = None) -> Cost:
    """Return what training costs.

    :param tokens: of the training file, read once.
    :param n_epochs: how often the file is read, 1 to 50.
    :param price_per_million_tokens: for a million trained tokens, 0 or more.
    """
    trained = None if n_epochs is None else tokens * n_epochs
    total = None
    if trained is not None and price_per_million_tokens is not None:
        total = round(trained * price_per_million_tokens / 1_000_000, 4)
    return Cost(n_epochs, price_per_million_tokens, trained, total)
