"""How many there are, in English."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.plural import counted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1, "example"), "1 example"),
        ((0, "example"), "0 examples"),
        ((1200, "example"), "1,200 examples"),
        ((1, "loss", "losses"), "1 loss"),
        ((2, "loss", "losses"), "2 losses"),
    ],
)
def test_one_is_said_in_the_singular_and_all_else_in_the_plural(given: tuple[int, str], said: str) -> None:
    assert counted(*given) == said
