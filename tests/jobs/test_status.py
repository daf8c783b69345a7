"""What a job's state means for whoever waits on it: one table for poke, reschedule, trigger and resumed task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.job import Job, JobError
from airflow_provider_finetune.jobs.status import HOPELESS_CODES, KNOWN, TERMINAL, Kind, decide, is_hopeless

NOW = 1_000_000.0
UNDERWAY = [*sorted(KNOWN - TERMINAL - {"paused"}), "training_on_the_moon"]


def job(status: str, **fields: object) -> Job:
    return Job("ftjob-1", status, **fields)


@pytest.mark.parametrize("status", UNDERWAY)
@pytest.mark.parametrize("on_paused", ["wait", "resume", "fail"])
def test_a_job_that_is_not_over_is_waited_for_whatever_it_is_called(status: str, on_paused: str) -> None:
    for end_time in (None, NOW + 1):
        assert decide(job(status), now=NOW, end_time=end_time, on_paused=on_paused).kind is Kind.WAIT


@pytest.mark.parametrize("status", [*UNDERWAY, "paused"])
@pytest.mark.parametrize("on_paused", ["wait", "resume", "fail"])
def test_at_the_deadline_the_wait_is_over_but_not_the_job(status: str, on_paused: str) -> None:
    decision = decide(job(status), now=NOW, end_time=NOW, on_paused=on_paused)
    assert decision.kind is Kind.TIMEOUT
    assert f"still '{status}'" in decision.reason
    assert "not cancelled" in decision.reason


@pytest.mark.parametrize(("on_paused", "kind"), [("wait", Kind.WAIT), ("resume", Kind.RESUME), ("fail", Kind.FAILED)])
def test_a_paused_job_means_what_the_user_says(on_paused: str, kind: Kind) -> None:
    assert decide(job("paused"), now=NOW, end_time=NOW + 1, on_paused=on_paused).kind is kind


def test_a_paused_job_that_should_not_be_says_how_to_go_on() -> None:
    decision = decide(job("paused"), now=NOW, end_time=None, on_paused="fail")
    assert "ResumeFineTuningJobOperator" in decision.reason


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_an_end_counts_even_past_the_deadline(status: str) -> None:
    assert decide(job(status), now=NOW + 1, end_time=NOW).kind is Kind.FAILED


def test_a_success_counts_even_past_the_deadline() -> None:
    assert decide(job("succeeded", fine_tuned_model="ft:x"), now=NOW + 1, end_time=NOW).kind is Kind.SUCCEEDED


@pytest.mark.parametrize("finished_at", [int(NOW) - 1, int(NOW) * 1000])
def test_a_model_name_that_is_late_is_not_waited_for_past_the_deadline(finished_at: int) -> None:
    decision = decide(job("succeeded", finished_at=finished_at), now=NOW, end_time=NOW)
    assert decision.kind is Kind.TIMEOUT
    assert "Clear the task" in decision.reason


def test_a_cancelled_job_is_not_worth_a_retry() -> None:
    decision = decide(job("cancelled"), now=NOW, end_time=None)
    assert (decision.kind, decision.retry_helps) == (Kind.FAILED, False)
    assert "was cancelled" in decision.reason


@pytest.mark.parametrize(
    ("finished_at", "succeeded_at"), [(int(NOW) - 5, None), (int(NOW) - 5, NOW), (None, None), (None, NOW - 119)]
)
def test_a_model_name_that_is_late_is_waited_for(finished_at: int | None, succeeded_at: float | None) -> None:
    late = job("succeeded", finished_at=finished_at)
    assert decide(late, now=NOW, end_time=None, succeeded_at=succeeded_at).kind is Kind.WAIT


@pytest.mark.parametrize(
    ("finished_at", "succeeded_at"), [(None, NOW - 121), (int(NOW) - 121, None), (int(NOW) * 10, NOW - 121)]
)
def test_a_model_name_that_is_not_coming_is_a_failure_that_says_why(
    finished_at: int | None, succeeded_at: float | None
) -> None:
    decision = decide(job("succeeded", finished_at=finished_at), now=NOW, end_time=None, succeeded_at=succeeded_at)
    assert (decision.kind, decision.retry_helps) == (Kind.FAILED, False)
    assert "safety" in decision.reason


@pytest.mark.parametrize("code", sorted(HOPELESS_CODES))
def test_a_failure_that_the_same_request_would_meet_again_is_not_worth_a_retry(code: str) -> None:
    decision = decide(job("failed", error=JobError(code, "It said no.", None)), now=NOW, end_time=None)
    assert (decision.kind, decision.retry_helps) == (Kind.FAILED, False)


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_failure_that_points_at_a_file_is_about_the_data_whatever_its_code(param: str) -> None:
    assert is_hopeless(JobError("brand_new_code", "No.", param))


@pytest.mark.parametrize("error", [None, JobError("server_error", "Oops", None), JobError(None, "GPU lost", None)])
def test_a_fault_of_the_server_is_worth_a_retry(error: JobError | None) -> None:
    decision = decide(job("failed", error=error), now=NOW, end_time=None)
    assert (decision.kind, decision.retry_helps) == (Kind.FAILED, True)


def test_a_failed_job_says_code_message_param_and_remedy() -> None:
    error = JobError("invalid_training_file", "Line 3 has no assistant message.", "training_file")
    reason = decide(job("failed", error=error), now=NOW, end_time=None).reason
    for part in (
        "ftjob-1",
        "invalid_training_file",
        "Line 3 has no assistant message.",
        "training_file",
        "ValidateDatasetOperator",
    ):
        assert part in reason


def test_a_failed_job_without_a_reason_says_so() -> None:
    assert "no reason" in decide(job("failed"), now=NOW, end_time=None).reason


@pytest.mark.parametrize("status", [*sorted(KNOWN), "odd"])
def test_a_status_that_is_waited_for_is_reached_first_of_all(status: str) -> None:
    assert decide(job(status), now=NOW + 1, end_time=NOW, until=[status]).kind is Kind.REACHED


@given(
    st.sampled_from(sorted(KNOWN)) | st.text(),
    st.sampled_from(["wait", "resume", "fail"]),
    st.none() | st.floats(0, 2 * NOW),
    st.none() | st.text(min_size=1),
)
def test_every_end_has_a_reason_and_nothing_else_ends_a_wait(
    status: str, on_paused: str, end_time: float | None, model: str | None
) -> None:
    decision = decide(job(status, fine_tuned_model=model), now=NOW, end_time=end_time, on_paused=on_paused)
    if decision.kind in (Kind.FAILED, Kind.TIMEOUT):
        assert decision.reason
    if decision.kind is Kind.SUCCEEDED:
        assert status == "succeeded"
        assert model
