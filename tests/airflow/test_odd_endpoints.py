"""Waits at endpoints that do not do as documented: the job's end counts, and everything else is beside it."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import openai
import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_finetune.exceptions import EndpointBusy, FineTuningJobFailedForGood, RequestRefused
from airflow_provider_finetune.hooks import watch
from airflow_provider_finetune.jobs import status
from airflow_provider_finetune.operators.job import CancelFineTuningJobOperator, CreateFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor
from tests.odd_endpoint import Answer, answering, drip, of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator

pytestmark = pytest.mark.timeout(60)
MODEL = "gpt-4.1-mini-2025-04-14"
RunDag = "Callable[..., Any]"


@pytest.fixture
def job_id(emulator: Emulator, training_file: str, until: Callable[..., Any]) -> str:
    """Id of a job that has succeeded."""
    emulator.set(job_seconds=0)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file)
    until(job.id, "succeeded")
    return job.id


def sense(dag: DAG, job_id: str = "ftjob-1", **arguments: Any) -> FineTuningJobSensor:
    with dag:
        return FineTuningJobSensor(task_id="wait", job_id=job_id, **{"poll_interval": 0.2, "timeout": 30, **arguments})


def create(dag: DAG, training_file: str, **arguments: Any) -> CreateFineTuningJobOperator:
    with dag:
        return CreateFineTuningJobOperator(
            task_id="create", model=MODEL, training_file=training_file,
            **{"poll_interval": 0.2, "list_lag": 0.2, **arguments},
        )  # fmt: skip


# -- checkpoints


@pytest.mark.parametrize(
    ("code", "retry_after"),
    [(500, "0.01"), (429, "0.01"), (429, "3600")],
    ids=["broken", "busy", "busy for an hour"],
)
def test_checkpoints_that_are_not_to_be_had_are_asked_for_a_few_times_and_withhold_nothing(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any], code: int, retry_after: str
) -> None:
    path = "/fine_tuning/jobs/*/checkpoints"
    emulator.fault("status", "GET", path, status=code, retry_after=retry_after, times=None)
    sense(dag, job_id, timeout=5, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert result.xcom("wait", "fine_tuned_model")
    assert (result.xcom("wait", "checkpoints"), result.xcom("wait", "best_checkpoint")) == ([], None)
    assert sum("Going on without checkpoints" in line for line in result.log) == 1
    assert len(emulator.requests("GET", "/fine_tuning/jobs/*/checkpoints")) <= watch.CHECKPOINTS_TRIES
    assert len(emulator.requests("GET", f"/fine_tuning/jobs/{job_id}")) <= 2, "nothing goes to and fro"


def test_the_tries_for_checkpoints_end_with_the_wait(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str
) -> None:
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/checkpoints", status=503, times=None)
    sense(dag, job_id, timeout=0.5)
    assert run_dag(dag).states == {"wait": "success"}
    assert len(emulator.requests("GET", "/fine_tuning/jobs/*/checkpoints")) == 1


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_create_that_waits_ends_green_without_checkpoints_too(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, deferrable: bool
) -> None:
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/checkpoints", status=500, times=None, retry_after="0.01")
    create(dag, training_file, wait_for_completion=True, deferrable=deferrable, timeout=30)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    assert result.xcom("create")["fine_tuned_model"]


# -- answers that are none


def succeeded_but(events: Callable[[], Answer]) -> Callable[[str, str], Answer]:
    def answer(method: str, path: str) -> Answer:
        if path.endswith("/events"):
            return events()
        if path.endswith("/checkpoints"):
            return of({"id": "ftjob-1", "object": "fine_tuning.job", "status": "succeeded"})
        return of({"id": "ftjob-1", "status": "COMPLETED", "fine_tuned_model": "ft:x", "finished_at": 1_700_000_000})

    return answer


@pytest.mark.parametrize(
    "events",
    [
        lambda: Answer(drip()),
        lambda: Answer(drip(), content_type="text/event-stream"),
        lambda: of({"id": "ftjob-1", "status": "succeeded"}),
        lambda: of({"error": {"message": "no"}}),
        lambda: of({"data": "text"}),
        lambda: of({"data": [1, None, "a"], "has_more": True}),
        lambda: of([1, 2]),
        lambda: of({"error": "no"}, 429)._replace(headers={"retry-after": "100"}),
        lambda: Answer(b"<html>", content_type="text/html"),
        lambda: Answer(b"\xff\xfe"),
    ],
    ids=["trickle", "stream", "job", "error", "text", "no objects", "list", "busy", "html", "no text"],
)
def test_whatever_is_answered_instead_of_events_the_end_of_the_job_counts(
    dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, events: Callable[[], Answer]
) -> None:
    monkeypatch.setattr(watch, "EVENTS_SECONDS", 0.3)
    with answering(succeeded_but(events)) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        sense(dag)
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert result.xcom("wait")["status"] == "succeeded"
    assert any("succeeded (the endpoint says COMPLETED)" in line for line in result.log)


def test_a_worker_whose_first_look_trickles_hands_over_in_time(
    dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([Answer(drip()), of({"id": "ftjob-1", "status": "succeeded", "fine_tuned_model": "ft:x"})])

    def answer(method: str, path: str) -> Answer:
        return next(looks, LAST) if path == "/fine_tuning/jobs/ftjob-1" else of({"data": []})

    LAST = of({"id": "ftjob-1", "status": "succeeded", "fine_tuned_model": "ft:x"})  # noqa: N806
    with answering(answer) as server:
        connection = server.connection(openai_client_kwargs={"timeout": 0.5})
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", connection)
        sense(dag)
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert any("no whole answer in time" in line for line in result.log)


# -- ends in other words


@pytest.mark.parametrize("said", ["SUCCESS", "completed", "Succeeded", "archived"])
def test_a_success_in_other_words_is_one(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any], said: str
) -> None:
    emulator.show(job_id, status=said)
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert result.xcom("wait")["status"] == "succeeded"


@pytest.mark.parametrize(
    ("said", "reason"), [("CANCELED", "was cancelled"), ("expired", "failed"), ("error", "failed"), ("gone", "failed")]
)
def test_another_end_in_other_words_is_one(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any], said: str, reason: str
) -> None:
    emulator.show(job_id, status=said, fine_tuned_model=None)
    sense(dag, job_id, **mode)
    error = str(run_dag(dag).error("wait"))
    assert f"{reason} (the endpoint says {said})" in error


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_cancel_that_the_endpoint_confirms_in_its_own_words_is_done(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, deferrable: bool
) -> None:
    emulator.show(job_id, status="CANCELED")
    with dag:
        CancelFineTuningJobOperator(task_id="cancel", job_id=job_id, deferrable=deferrable, poll_interval=0.2)
    assert run_dag(dag).states == {"cancel": "success"}


# -- the model's name


@pytest.mark.parametrize("comes", [True, False])
def test_a_models_name_is_waited_for_from_when_the_success_was_first_seen_where_no_end_is_told(
    dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any], comes: bool
) -> None:
    monkeypatch.setattr(status, "MODEL_NAME_GRACE_SECONDS", 30 if comes else 1.5)
    looks = 0

    def answer(method: str, path: str) -> Answer:
        nonlocal looks
        if path != "/fine_tuning/jobs/ftjob-1":
            return of({"data": []})
        looks += 1
        name = "ft:late" if comes and looks > 3 else None
        return of({"id": "ftjob-1", "status": "succeeded", "fine_tuned_model": name, "finished_at": None})

    with answering(answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        sense(dag, **mode)
        started = time.monotonic()
        result = run_dag(dag)
    if comes:
        assert result.xcom("wait", "fine_tuned_model") == "ft:late"
    else:
        assert isinstance(result.error("wait"), FineTuningJobFailedForGood)
        assert "has no model" in str(result.error("wait"))
        assert time.monotonic() - started >= 1.5


# -- gone


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("between", [[], ["cancelling"], ["cancelling", "cancelling"], ["running", "canceling"]])
def test_a_job_that_is_gone_after_its_cancel_was_accepted_is_cancelled(
    dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, deferrable: bool, between: list[str]
) -> None:
    shown = iter(["running", *between])

    def answer(method: str, path: str) -> Answer:
        if method == "POST":
            return of({"id": "ftjob-1", "status": "cancelling"})
        if path.endswith("/events") or (now := next(shown, None)) is None:
            return of({"detail": "Not Found"}, 404)
        return of({"id": "ftjob-1", "status": now})

    with answering(answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        with dag:
            CancelFineTuningJobOperator(task_id="cancel", job_id="ftjob-1", deferrable=deferrable, poll_interval=0.2)
        result = run_dag(dag)
    assert result.states == {"cancel": "success"}
    assert result.xcom("cancel") == "ftjob-1"


def test_a_job_that_was_never_there_is_not_cancelled(
    dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([of({"error": "down"}, 503)])

    def answer(method: str, path: str) -> Answer:
        return next(looks, of({"detail": "Not Found"}, 404))

    with answering(answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        with dag:
            CancelFineTuningJobOperator(task_id="cancel", job_id="ftjob-1", poll_interval=0.2)
        result = run_dag(dag)
    assert isinstance(result.error("cancel"), RequestRefused)
    assert "Not Found" in str(result.error("cancel"))


# -- execution_timeout


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_execution_timeout_of_a_task_ends_its_wait_and_is_named(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, deferrable: bool
) -> None:
    emulator.show(job_id, status="running", finished_at=None)
    sense(dag, job_id, execution_timeout=timedelta(seconds=2), deferrable=deferrable, timeout=40)
    result = run_dag(dag)
    assert result.states == {"wait": "failed"}
    assert isinstance(result.error("wait"), AirflowTaskTimeout)
    if deferrable:
        assert "execution_timeout, 0:00:02" in str(result.error("wait"))
        assert any("The wait ends with the task's execution_timeout, 0:00:02" in line for line in result.log)
    assert emulator.requests("POST", "/fine_tuning/jobs/*/cancel") == []


def test_the_execution_timeout_of_a_create_ends_its_wait_and_leaves_the_job(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.set(job_seconds=100)
    create(dag, training_file, wait_for_completion=True, execution_timeout=timedelta(seconds=2))
    result = run_dag(dag)
    assert isinstance(result.error("create"), AirflowTaskTimeout)
    assert "execution_timeout, 0:00:02" in str(result.error("create"))
    assert emulator.jobs()[0]["status"] != "cancelled"


def test_an_execution_timeout_skips_a_soft_sensor_as_it_does_in_every_mode(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str
) -> None:
    emulator.show(job_id, status="running", finished_at=None)
    sense(dag, job_id, execution_timeout=timedelta(seconds=1), soft_fail=True)
    assert run_dag(dag).states == {"wait": "skipped"}


# -- advice


def test_a_limit_of_the_day_ends_the_try_at_once_and_says_how_to_go_on(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.fault("status", "POST", "/fine_tuning/jobs", status=429, code="daily_rate_limit_exceeded", times=None)
    create(dag, training_file)
    error = run_dag(dag).error("create")
    assert isinstance(error, EndpointBusy)
    assert "retry_delay" in str(error)
    assert "pool" in str(error)
    assert len(emulator.requests("POST", "/fine_tuning/jobs")) == 1


def test_a_file_that_is_still_being_processed_is_waited_for(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    message = f"File {training_file} is still being processed and is not ready to be used."
    emulator.fault("status", "POST", "/fine_tuning/jobs", status=400, message=message)
    create(dag, training_file)
    assert run_dag(dag).states == {"create": "success"}
    assert len(emulator.jobs()) == 1


def at_azure(emulator: Emulator) -> str:
    """The emulator's connection, with the word that it is Azure's."""
    return json.dumps({**json.loads(emulator.connection), "extra": {"finetune": {"endpoint": "azure"}}})


def test_a_model_that_azure_does_not_train_this_way_names_the_kind_of_training(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", at_azure(emulator))
    message = "The base model does not support fine-tuning."
    emulator.fault("status", "POST", "/fine_tuning/jobs", status=400, message=message)
    create(dag, training_file)
    error = str(run_dag(dag).error("create"))
    assert message in error
    assert 'extra_body={"trainingType"' in error


@pytest.mark.parametrize("azure", [True, False])
def test_a_success_where_models_are_deployed_first_says_how(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, monkeypatch: pytest.MonkeyPatch, azure: bool
) -> None:
    if azure:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", at_azure(emulator))
    sense(dag, job_id)
    result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert any("PUT https://management.azure.com/" in line for line in result.log) is azure
