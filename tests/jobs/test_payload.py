"""Whatever an endpoint puts into an answer, what becomes of it is JSON that every database takes, line by line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.checkpoints import checkpoint_rows
from airflow_provider_finetune.jobs.events import Event
from airflow_provider_finetune.jobs.fault import read_fault
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.outcome import outcome
from airflow_provider_finetune.jobs.payload import legible, storable
from airflow_provider_finetune.jobs.progress import JobProgress

#: What hurts a database, a log or a terminal, more often than chance would have it.
ODD_TEXT = st.text(
    st.sampled_from("\x00\x07\x1b\n\r\t\x7f\x85\u2028\u202e\ud800\udfffaZ0é😀\\") | st.characters(), max_size=12
)
ODD_NUMBER = st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -(2**63) - 1, 1e300, 2**63 - 1, 0.5])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_NUMBER | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id", "model", "fine_tuned_model", "created_at", "finished_at", "estimated_finish", "trained_tokens", "error",
    "hyperparameters", "result_files", "metadata", "seed", "method", "suffix",
]  # fmt: skip
jobs = st.dictionaries(st.sampled_from(FIELDS), anything).map(lambda odd: {"status": "succeeded", **odd})
events = st.dictionaries(st.sampled_from(["id", "created_at", "level", "message"]), anything).flatmap(
    lambda event: st.dictionaries(ODD_TEXT | st.sampled_from(["step", "train_loss"]), anything).map(
        lambda data: {**event, "data": data}
    )
)
checkpoints = st.dictionaries(
    st.sampled_from(["id", "step_number", "created_at", "fine_tuned_model_checkpoint", "metrics"]), anything
)


def is_taken_by_every_database(value: Any) -> bool:
    """Whether a JSON column of PostgreSQL takes it, and a log shows it in one line."""
    written = json.dumps(value, allow_nan=False, ensure_ascii=False)
    written.encode()  # no half of a character
    if any(abs(number) >= 2**63 for number in numbers_of(value) if isinstance(number, int)):
        return False
    return not any(character in written for character in ("\\u0000", "\\u001b", "\\n", "\\r", "\x7f", "\x85", "\u2028"))


def numbers_of(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers_of(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers_of(part)]
    return [value] if isinstance(value, (int, float)) else []


@given(anything)
def test_whatever_is_made_plain_is_taken_by_every_database(value: Any) -> None:
    cleaned = storable(value)
    assert is_taken_by_every_database(unescaped(cleaned))
    assert storable(cleaned) == cleaned


@given(jobs, st.lists(checkpoints, max_size=3))
def test_the_outcome_of_a_succeeded_job_is_taken_whatever_the_endpoint_says(job: Any, listed: Any) -> None:
    assert is_taken_by_every_database(unescaped(outcome(Job.from_api(job), checkpoint_rows(listed))))


@given(jobs, st.lists(events, max_size=5))
def test_what_is_shown_of_a_job_is_taken_whatever_the_endpoint_says(job: Any, listed: Any) -> None:
    progress = JobProgress()
    progress.saw_job(Job.from_api(job))
    progress.saw_events(map(Event.from_api, listed))
    assert is_taken_by_every_database(unescaped(progress.xcoms()))


@given(events)
def test_an_event_is_one_line_of_the_log(event: Any) -> None:
    assert len(Event.from_api(event).message.splitlines()) <= 1


@given(ODD_TEXT, ODD_TEXT, ODD_TEXT)
def test_an_error_is_one_line_of_the_log(code: str, message: str, param: str) -> None:
    said = read_fault(400, {"error": {"code": code, "message": message, "param": param}}).explain("do it")
    assert len(said.splitlines()) == 1
    assert "\x1b" not in said
    said.encode()


def unescaped(value: Any) -> Any:
    """The value without backslashes of its own, which JSON doubles."""
    return json.loads(json.dumps(value).replace("\\\\", "/"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("done\n[2026-01-01] ERROR - forged", r"done\n[2026-01-01] ERROR - forged"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x00b", r"a\x00b"),
        ("half \ud800.", "half \N{REPLACEMENT CHARACTER}."),
        ("right\u202eto left", r"right\u202eto left"),
        ("Zürich, 東京, 😀", "Zürich, 東京, 😀"),
    ],
)
def test_what_no_reader_should_meet_is_written_out(said: str, shown: str) -> None:
    assert legible(said) == shown
