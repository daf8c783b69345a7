"""Whether a base model is worth training on: its announced end."""

from __future__ import annotations

from datetime import date

WARN_DAYS = 90


def days_left(shutdown_date: object, today: date) -> int | None:
    """Return how many days the model has left; None when the endpoint does not tell.

    :param shutdown_date: the model's ``shutdown_date``, YYYY-MM-DD, or anything else an endpoint may put there.
    """
    try:
        return (date.fromisoformat(shutdown_date) - today).days if isinstance(shutdown_date, str) else None
    except ValueError:
        return None
