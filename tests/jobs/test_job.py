"""A job as the API shows it: any field may be null, missing or new."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.checkpoints import checkpoint_rows
from airflow_provider_finetune.jobs.events import Event, Unseen
from airflow_provider_finetune.jobs.job import Job, JobError
from airflow_provider_finetune.jobs.outcome import outcome
from airflow_provider_finetune.jobs.status import KNOWN, decide
from airflow_provider_finetune.jobs.submission import DEAD

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id", "status", "model", "fine_tuned_model", "created_at", "finished_at", "estimated_finish", "trained_tokens",
    "error", "hyperparameters", "result_files", "metadata", "organization_id", "new_field",
]  # fmt: skip
statuses = st.fixed_dictionaries({}, optional={"status": st.sampled_from(sorted(KNOWN))})
jobs = st.builds(lambda odd, known: odd | known, st.dictionaries(st.sampled_from(FIELDS), anything), statuses)


@given(jobs, st.floats(0, 1e10))
def test_whatever_a_server_says_of_a_job_is_read_and_decided_upon(payload: dict[str, object], now: float) -> None:
    job = Job.from_api(payload)
    assert isinstance(job.id, str)
    assert isinstance(job.status, str)
    assert decide(job, now=now, end_time=None).kind in ("wait", "succeeded", "failed")
    json.dumps(outcome(job, []))


@pytest.mark.parametrize(
    "error", [None, {}, {"code": None, "message": None, "param": None}, {"param": "training_file"}, "", 0, []]
)
def test_the_error_of_a_healthy_job_is_none_however_it_is_written(error: object) -> None:
    assert Job.from_api({"error": error}).error is None


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (
            {"code": "invalid_training_file", "message": "Bad row.", "param": "training_file"},
            JobError("invalid_training_file", "Bad row.", "training_file"),
        ),
        ({"code": None, "message": "Out of memory"}, JobError(None, "Out of memory", None)),
        ({"code": "server_error"}, JobError("server_error", None, None)),
        ("it broke", JobError(None, "it broke", None)),
    ],
)
def test_the_error_of_a_failed_job_is_read(error: object, read: JobError) -> None:
    assert Job.from_api({"error": error}).error == read


def test_minus_one_and_null_are_not_times() -> None:
    job = Job.from_api({"created_at": -1, "finished_at": None, "estimated_finish": 0, "trained_tokens": None})
    assert (job.created_at, job.finished_at, job.estimated_finish) == (None, None, None)


def test_nulls_where_the_documentation_promises_values_are_read_as_nothing() -> None:
    job = Job.from_api(dict.fromkeys(FIELDS))
    assert (job.id, job.status, job.fine_tuned_model, job.result_files, job.hyperparameters, job.metadata) == (
        "",
        "unknown",
        None,
        (),
        None,
        None,
    )


def test_a_documented_job_is_read_whole() -> None:
    job = Job.from_api(
        {
            "object": "fine_tuning.job",
            "id": "ftjob-1",
            "model": "gpt-4.1-mini",
            "created_at": 1_700_000_000,
            "finished_at": 1_700_000_500,
            "fine_tuned_model": "ft:gpt-4.1-mini:org::abc",
            "result_files": ["file-9"],
            "status": "succeeded",
            "hyperparameters": {"n_epochs": 3, "batch_size": "auto"},
            "trained_tokens": 5_768,
            "metadata": {"team": "ml"},
            "estimated_finish": None,
            "error": {},
        }
    )
    assert job == Job(
        "ftjob-1",
        "succeeded",
        "gpt-4.1-mini",
        "ft:gpt-4.1-mini:org::abc",
        1_700_000_000,
        1_700_000_500,
        None,
        5_768,
        None,
        {"n_epochs": 3, "batch_size": "auto"},
        ("file-9",),
        {"team": "ml"},
    )


@pytest.mark.parametrize("status", sorted(KNOWN))
def test_every_known_status_is_kept_as_the_server_wrote_it(status: str) -> None:
    job = Job.from_api({"status": status})
    assert (job.status, job.said, job.told()) == (status, None, status)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("SUCCEEDED", "succeeded"),
        ("SUCCESS", "succeeded"),
        ("Completed", "succeeded"),
        ("canceled", "cancelled"),
        ("CANCELLED", "cancelled"),
        ("error", "failed"),
        ("expired", "failed"),
        ("FAILED_VALIDATION", "failed"),
        ("canceling", "cancelling"),
        ("CANCELLATION_REQUESTED", "cancelling"),
        ("Validating-Files", "validating_files"),
        ("in progress", "running"),
        ("RUNNING", "running"),
    ],
)
def test_a_status_is_read_in_other_cases_and_spellings_and_with_other_words(said: str, status: str) -> None:
    job = Job.from_api({"id": "j", "status": said})
    assert (job.status, job.said) == (status, said)
    assert f"{status} (the endpoint says {said})" == job.told()


@pytest.mark.parametrize("said", ["canceled", "CANCELLED", "expired", "error", "canceling"])
def test_a_retry_does_not_go_on_with_a_job_that_has_ended_in_other_words(said: str) -> None:
    assert Job.from_api({"id": "j", "status": said}).status in DEAD


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"fine_tuned_model": "ft:x"}, "succeeded"),
        ({"fine_tuned_model": "ft:x", "error": {}}, "succeeded"),
        ({"error": {"code": "server_error", "message": "Oops"}}, "failed"),
        ({"fine_tuned_model": "ft:x", "error": "it broke"}, "failed"),
        ({}, "failed"),
    ],
)
def test_an_unknown_status_with_an_end_is_over_and_the_model_and_the_error_tell_how(
    more: dict[str, object], status: str
) -> None:
    payload = {"id": "j", "status": "on_the_moon", **more}
    assert Job.from_api({**payload, "finished_at": 1_700_000_000}).status == status
    for unknown in (None, 0, -1):
        assert Job.from_api({**payload, "finished_at": unknown}).status == "on_the_moon"


def test_a_known_status_is_believed_whatever_the_endpoint_says_of_the_end() -> None:
    assert Job.from_api({"id": "j", "status": "running", "finished_at": 1_700_000_000}).status == "running"


def test_how_a_job_ended_is_told_in_the_endpoints_own_word_too() -> None:
    job = Job.from_api({"id": "j", "status": "EXPIRED"})
    assert "failed (the endpoint says EXPIRED)" in decide(job, now=0, end_time=None).reason


def test_times_in_milliseconds_are_read_as_such() -> None:
    job = Job.from_api({"created_at": 1_700_000_000_000, "finished_at": 1_700_000_500_123.0})
    assert (job.created_at, job.finished_at) == (1_700_000_000, 1_700_000_500)
    assert Event.from_api({"created_at": 1_700_000_000_000}).created_at == 1_700_000_000


def test_zeros_and_empty_texts_where_others_say_null_are_missing() -> None:
    job = Job.from_api(
        {
            "fine_tuned_model": "", "finished_at": 0, "estimated_finish": 0, "trained_tokens": 0, "model": "",
            "error": {"code": "", "message": "", "param": ""}, "hyperparameters": {}, "metadata": {},
        }
    )  # fmt: skip
    assert job == Job("", "unknown")
    assert Job.from_api({"trained_tokens": -1, "error": {"code": 0, "message": ""}}) == Job("", "unknown")


def test_ids_of_the_job_stay_readable_in_what_is_said_of_it() -> None:
    name = "0123456789abcdef0123456789abcdef"
    job = Job.from_api({"id": "j", "status": "failed", "training_file": name, "error": f"{name} is bad, {name[::-1]}"})
    assert job.error is not None
    assert job.error.message == f"{name} is bad, ***"


# -- what a finished job hands on


def test_an_outcome_has_the_promised_keys_and_plain_values() -> None:
    job = Job(
        "ftjob-1", "succeeded", "base", "ft:x", 1, 2, trained_tokens=7, hyperparameters={"n_epochs": 3},
        result_files=("file-9",),
    )  # fmt: skip
    rows = [{"step": 1, "model": "ft:x:ckpt-step-1", "id": "c1", "created_at": 1, "valid_loss": 0.5}]
    result = outcome(job, rows)
    assert result == {
        "job_id": "ftjob-1",
        "status": "succeeded",
        "model": "base",
        "fine_tuned_model": "ft:x",
        "checkpoints": rows,
        "best_checkpoint": rows[0],
        "trained_tokens": 7,
        "hyperparameters": {"n_epochs": 3},
        "result_files": ["file-9"],
        "created_at": 1,
        "finished_at": 2,
    }
    assert json.loads(json.dumps(result)) == result


def test_the_outcome_of_a_job_without_checkpoints_has_no_best_one() -> None:
    result = outcome(Job("ftjob-1", "succeeded"), [])
    assert (result["checkpoints"], result["best_checkpoint"], result["hyperparameters"]) == ([], None, None)


# -- events and checkpoints a server may make up


@given(st.lists(st.dictionaries(st.sampled_from(["id", "created_at", "level", "message", "data", "type"]), anything)))
def test_whatever_a_server_says_of_an_event_is_a_line_of_a_log(payloads: list[dict[str, object]]) -> None:
    unseen = Unseen()
    unseen.add(payloads)
    for event in unseen.in_order():
        assert logging.getLevelName(event.level) in ("DEBUG", "INFO", "WARNING", "ERROR")
        assert isinstance(event.message, str)


@pytest.mark.parametrize(
    ("level", "number"), [("info", 20), ("warn", 30), ("error", 40), ("WARNING", 30), (None, 20), ("odd", 20)]
)
def test_the_level_of_an_event_is_one_of_the_logs(level: object, number: int) -> None:
    assert Event.from_api({"level": level}).level == number


@pytest.mark.parametrize("data", [None, {}, "text", []])
def test_an_event_without_data_has_none(data: object) -> None:
    assert Event.from_api({"data": data}).data is None


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["id", "step_number", "fine_tuned_model_checkpoint", "created_at", "metrics"]), anything
        )
    )
)
def test_whatever_a_server_says_of_checkpoints_is_plain_json_by_step(payloads: list[dict[str, object]]) -> None:
    rows = checkpoint_rows(payloads)
    json.dumps(rows, allow_nan=False)
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps)


@pytest.mark.parametrize("error", ["rejected sk-abcdef1234567890abcd", {"message": "rejected sk-abcdef1234567890abcd"}])
def test_a_key_in_the_error_of_a_failed_job_is_not_shown(error: object) -> None:
    read = Job.from_api({"id": "j", "status": "failed", "error": error}).error
    assert read is not None
    assert read.message == "rejected ***"


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), "1700000000", [], {}])
def test_a_time_that_is_none_is_not_read_as_one(value: object) -> None:
    assert Job.from_api({"id": "j", "created_at": value}).created_at is None
