"""Pausing, resuming and cancelling a job from a DAG: safe to repeat, to come late, and to lose an answer of."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.exceptions import FineTuningJobTimeout, InvalidRequest, RequestRefused
from airflow_provider_finetune.operators.job import (
    CancelFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"
RunDag = "Callable[..., Any]"
OPERATORS = {
    "pause": PauseFineTuningJobOperator,
    "resume": ResumeFineTuningJobOperator,
    "cancel": CancelFineTuningJobOperator,
}
GOALS = pytest.mark.parametrize("goal", OPERATORS)


@pytest.fixture(params=[True, False], ids=["deferred", "on the worker"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        yield client


@pytest.fixture
def job_in(
    emulator: Emulator, client: openai.OpenAI, training_file: str, until: Callable[..., Any]
) -> Callable[[str], str]:
    """Bring a job into a status; return its id."""

    def bring(status: str) -> str:
        emulator.set(job_seconds={"queued": 20, "succeeded": 0}.get(status, 3))
        job_id = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file).id
        if status == "failed":
            emulator.show(job_id, status="failed")
            return job_id
        until(job_id, "running" if status in ("paused", "cancelled") else status)
        if status in ("paused", "cancelled"):
            {"paused": client.fine_tuning.jobs.pause, "cancelled": client.fine_tuning.jobs.cancel}[status](job_id)
            until(job_id, status)
        return job_id

    return bring


@contextmanager
def soon(wait: Callable[[], object], then: Callable[[], object]) -> Iterator[None]:
    """Wait for something and then do something, beside the block."""
    thread = threading.Thread(target=lambda: (wait(), then()))
    thread.start()
    yield
    thread.join()


def ask(dag: DAG, goal: str, job_id: str, **arguments: Any) -> Any:
    with dag:
        return OPERATORS[goal](task_id=goal, job_id=job_id, **{"poll_interval": 0.2, "timeout": 30, **arguments})


def asked(emulator: Emulator, goal: str) -> int:
    return len(emulator.requests("POST", f"/fine_tuning/jobs/*/{goal}"))


# -- what goes wrong


@pytest.mark.parametrize(
    ("goal", "status"),
    [
        ("pause", "succeeded"),
        ("pause", "cancelled"),
        ("pause", "failed"),
        ("resume", "succeeded"),
        ("resume", "cancelled"),
        ("cancel", "succeeded"),
        ("cancel", "failed"),
    ],
)
def test_a_job_that_has_ended_can_no_longer_be_brought_there_and_the_task_says_so(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, status: str
) -> None:
    job_id = job_in(status)
    before = asked(emulator, goal)
    ask(dag, goal, job_id, retries=1, if_ended="fail")
    (error,) = run_dag(dag).errors[goal]
    assert isinstance(error, RequestRefused)
    assert f"Cannot {goal} fine-tuning job {job_id}: it has already ended, as {status}." in str(error)
    assert asked(emulator, goal) == before


@pytest.mark.parametrize(("goal", "state"), [("pause", "success"), ("resume", "failed"), ("cancel", "success")])
def test_a_job_that_has_ended_needs_no_pause_and_no_cancel_but_cannot_be_resumed(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, state: str
) -> None:
    job_id = job_in("succeeded")
    ask(dag, goal, job_id)
    result = run_dag(dag)
    assert result.states == {goal: state}
    if state == "success":
        assert result.xcom(goal) == job_id
        assert f"Fine-tuning job {job_id} has already ended, as succeeded: nothing to {goal}" in "\n".join(result.log)
    assert asked(emulator, goal) == 0


def test_a_word_that_if_ended_does_not_know_is_refused_when_the_dag_is_parsed(dag: DAG) -> None:
    with pytest.raises(InvalidRequest, match="if_ended is 'skip'; expected one of ok, fail"):
        ask(dag, "cancel", "ftjob-1", if_ended="skip")


def test_a_job_that_ends_before_it_could_be_paused_says_so(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], client: openai.OpenAI,
    deferrable: bool, until: Callable[..., Any],
) -> None:  # fmt: skip
    job_id = job_in("queued")

    def looked_at() -> None:
        while not emulator.requests("GET", "/fine_tuning/jobs/*"):
            time.sleep(0.05)

    ask(dag, "pause", job_id, deferrable=deferrable, if_ended="fail")
    with soon(looked_at, lambda: client.fine_tuning.jobs.cancel(job_id)):
        result = run_dag(dag)
    assert "it has already ended, as cancelled" in str(result.error("pause"))


@GOALS
def test_an_unknown_job_is_a_refusal(dag: DAG, run_dag: RunDag, emulator: Emulator, goal: str) -> None:
    ask(dag, goal, "ftjob-nobody", retries=1)
    (error,) = run_dag(dag).errors[goal]
    assert isinstance(error, RequestRefused)
    assert "fine_tune_not_found" in str(error)


def test_a_job_id_that_renders_to_nothing_is_refused(dag: DAG, run_dag: RunDag, emulator: Emulator) -> None:
    ask(dag, "cancel", "{{ None }}")
    assert isinstance(run_dag(dag).error("cancel"), InvalidRequest)


@pytest.mark.parametrize("status", [404, 405])
@GOALS
def test_an_endpoint_that_cannot_do_it_is_a_refusal_and_not_asked_for_ever(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, status: int
) -> None:
    job_id = job_in("paused" if goal == "resume" else "running")
    before = asked(emulator, goal)
    emulator.fault("status", "POST", f"/fine_tuning/jobs/*/{goal}", status=status, times=None)
    ask(dag, goal, job_id)
    result = run_dag(dag)
    assert isinstance(result.error(goal), RequestRefused)
    assert f"Could not {goal} fine-tuning job {job_id}: HTTP {status}" in str(result.error(goal))
    assert asked(emulator, goal) == before + 1


def test_an_endpoint_that_never_hears_of_it_is_given_up_at_the_time_out(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], deferrable: bool
) -> None:
    job_id = job_in("running")
    emulator.show(job_id, status="running")
    emulator.fault("status", "POST", "/fine_tuning/jobs/*/pause", status=503, times=None, retry_after="0.01")
    ask(dag, "pause", job_id, deferrable=deferrable, timeout=1)
    result = run_dag(dag)
    assert isinstance(result.error("pause"), FineTuningJobTimeout)
    assert "still running" in str(result.error("pause"))


def test_a_job_that_never_gets_there_is_given_up_at_the_time_out(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], deferrable: bool
) -> None:
    job_id = job_in("queued")
    emulator.show(job_id, status="queued")
    ask(dag, "pause", job_id, deferrable=deferrable, timeout=0.5)
    result = run_dag(dag)
    assert isinstance(result.error("pause"), FineTuningJobTimeout)
    assert "still 'queued'" in str(result.error("pause"))


# -- what goes right


@pytest.mark.parametrize(
    ("goal", "before", "after"),
    [
        ("pause", "running", "paused"),
        ("resume", "paused", "queued running succeeded"),
        ("cancel", "running", "cancelled"),
        ("cancel", "paused", "cancelled"),
    ],
)
def test_the_job_is_brought_there_and_its_id_returned(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, before: str, after: str,
    deferrable: bool,
) -> None:  # fmt: skip
    job_id = job_in(before)
    already = asked(emulator, goal)
    ask(dag, goal, "{{ params.job_id }}", deferrable=deferrable, params={"job_id": job_id})
    result = run_dag(dag)
    assert result.states == {goal: "success"}
    assert result.xcom(goal) == job_id
    assert emulator.jobs()[0]["status"] in after.split()
    assert asked(emulator, goal) == already + 1


@pytest.mark.parametrize(
    ("goal", "status"), [("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("resume", "queued")]
)
def test_a_job_that_is_there_already_is_not_asked(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, status: str
) -> None:
    job_id = job_in(status)
    already = asked(emulator, goal)
    ask(dag, goal, job_id)
    assert run_dag(dag).states == {goal: "success"}
    assert asked(emulator, goal) == already


def test_a_queued_job_is_paused_as_soon_as_it_runs(
    dag: DAG, run_dag: RunDag, emulator: Emulator, client: openai.OpenAI, training_file: str, deferrable: bool
) -> None:
    emulator.set(job_seconds=3)
    job_id = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file).id
    ask(dag, "pause", job_id, deferrable=deferrable)
    assert run_dag(dag).states == {"pause": "success"}
    assert emulator.jobs()[0]["status"] == "paused"


@pytest.mark.parametrize("fault", ["lose_answer", "lose_request", "cut_body"])
@GOALS
def test_a_lost_answer_is_settled_by_reading_the_job_back(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], goal: str, fault: str
) -> None:
    job_id = job_in("paused" if goal == "resume" else "running")
    emulator.fault(fault, "POST", f"/fine_tuning/jobs/*/{goal}")
    ask(dag, goal, job_id)
    assert run_dag(dag).states == {goal: "success"}


def test_a_pause_for_the_day_and_a_resume_for_the_night_train_one_model(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_in: Callable[[str], str], until: Callable[..., Any]
) -> None:
    job_id = job_in("running")
    ask(dag, "pause", job_id) >> ask(dag, "resume", job_id)
    assert run_dag(dag).states == {"pause": "success", "resume": "success"}
    assert until(job_id, "succeeded")["fine_tuned_model"]
