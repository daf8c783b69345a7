"""The announced end of a base model."""

from __future__ import annotations

from datetime import date

import pytest

from airflow_provider_finetune.jobs.model import days_left

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize("unknown", [None, "", "soon", 20270114, "2027-13-01", {}, "2027-01-14T00:00:00Z"])
def test_an_end_that_is_not_told_as_a_date_is_not_known(unknown: object) -> None:
    assert days_left(unknown, TODAY) is None


@pytest.mark.parametrize(("end", "days"), [("2027-01-14", 53), ("2026-11-22", 0), ("2026-11-21", -1)])
def test_the_days_to_a_models_end_are_counted(end: str, days: int) -> None:
    assert days_left(end, TODAY) == days
