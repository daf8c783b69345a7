"""What is kept of champions, and reading it again."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.models.history import MOST_RECORDS, Champion, History, check_name

texts = st.text(max_size=20)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.dictionaries(texts, texts | numbers | st.none(), max_size=5)
champions = st.builds(
    Champion,
    number=st.just(0),
    model=texts,
    conn_id=texts,
    base_model=st.none() | texts,
    job_id=st.none() | texts,
    dataset_sha256=st.none() | texts,
    scores=plain,
    restores=st.none(),
    promoted_at=st.none() | texts,
    promoted_by=st.none() | texts,
    run=plain,
)


def history_of(records: list[Champion]) -> History:
    history = History("support-bot")
    for record in records:
        history = history.followed_by(record)
    return history


@given(st.lists(champions, max_size=60))
def test_a_history_that_was_kept_is_the_same_when_it_is_read(records: list[Champion]) -> None:
    history = history_of(records)
    assert History.from_text("support-bot", history.as_text()) == history


@given(st.lists(champions, min_size=1, max_size=60))
def test_each_record_names_the_one_it_took_over_from_and_only_the_oldest_are_forgotten(records: list[Champion]) -> None:
    kept = history_of(records).records
    assert len(kept) == min(len(records), MOST_RECORDS)
    assert [record.number for record in kept] == list(range(len(records), len(records) - len(kept), -1))
    assert all(later.predecessor == earlier.model for later, earlier in pairwise(kept))


@given(st.text())
def test_no_text_makes_a_champion_by_chance_or_another_error(text: str) -> None:
    with suppress(ValueError):
        assert History.from_text("support-bot", text).champion is None


@pytest.mark.parametrize(
    "kept",
    [
        {"name": "other", "champion": None, "history": []},
        {"name": "support-bot", "champion": {"model": "a"}, "history": []},
        {"name": "support-bot", "champion": {"number": "1", "model": "a", "conn_id": "c"}, "history": []},
        {"name": "support-bot"},
        ["support-bot"],
    ],
)
def test_what_is_no_history_is_refused(kept: Any) -> None:
    with pytest.raises(ValueError):
        History.from_text("support-bot", json.dumps(kept))


def test_fields_that_a_later_version_adds_do_no_harm() -> None:
    kept = json.loads(history_of([Champion(number=0, model="a", conn_id="c")]).as_text())
    kept["champion"]["colour"] = kept["mood"] = "blue"
    champion = History.from_text("support-bot", json.dumps(kept)).champion
    assert champion is not None
    assert champion.model == "a"


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_where_nothing_is_kept_there_is_no_champion(text: str | None) -> None:
    assert History.from_text("support-bot", text).champion is None


@pytest.mark.parametrize("name", ["support-bot", "Support.Bot_2", "1", "a" * 100])
def test_names_that_make_a_key_and_a_uri(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "-a", ".", "a" * 101, "ä", "a\n", None, 1])
def test_names_that_do_not(name: Any) -> None:
    with pytest.raises(ValueError, match="name is"):
        check_name(name)
