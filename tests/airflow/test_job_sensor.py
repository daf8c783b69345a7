"""The sensor in a DAG: deferred, poking and rescheduled, with one meaning for all three."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import airflow
import openai
import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_finetune.exceptions import (
    FineTuningJobFailed,
    FineTuningJobFailedForGood,
    InvalidRequest,
    RequestRefused,
)
from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator

AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])
MODEL = "gpt-4.1-mini-2025-04-14"
RunDag = "Callable[..., Any]"


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        yield client


@pytest.fixture
def job_id(emulator: Emulator, client: openai.OpenAI, training_file: str) -> str:
    """Id of a job that runs for a while."""
    emulator.set(job_seconds=1.2)
    return client.fine_tuning.jobs.create(model=MODEL, training_file=training_file).id


@contextmanager
def soon(wait: Callable[[], object], then: Callable[[], object]) -> Iterator[None]:
    """Wait for something and then do something, beside the block."""
    thread = threading.Thread(target=lambda: (wait(), then()), daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive(), "what was waited for did not happen"


def looked_at(emulator: Emulator) -> None:
    """Wait until the server has been asked for a job again: then the first answer has come."""
    while len(emulator.requests("GET", "/fine_tuning/jobs/*")) < 2:
        time.sleep(0.05)


def used_up(emulator: Emulator) -> None:
    """Wait until all faults have happened."""
    while any(fault["times"] for fault in emulator.faults()):
        time.sleep(0.05)


def sense(dag: DAG, job_id: Any, **arguments: Any) -> FineTuningJobSensor:
    with dag:
        return FineTuningJobSensor(task_id="wait", job_id=job_id, **{"poll_interval": 0.2, "timeout": 60, **arguments})


# -- killed


class TaskInstance:
    """As much of a running task instance as is asked whether a person has ended it."""

    def __init__(self, state: str) -> None:
        self.task_id, self.map_index, self.state = "wait", -1, state

    def current_state(self) -> str:
        return self.state

    def xcom_pull(self, **_: Any) -> None: ...


@pytest.mark.parametrize(
    ("state", "cancel_on_kill", "status", "said"),
    [
        ("failed", True, "cancelled", "cancelling fine-tuning job {job_id}"),
        ("failed", False, "running", "fine-tuning job {job_id} goes on, and may cost money.\nTo cancel it: "),
        ("running", True, "running", "The worker is stopping, not the task"),
    ],
)
def test_a_person_who_kills_the_waiting_task_is_told_that_the_job_goes_on_or_cancels_it_where_the_user_wants_it(
    dag: DAG,
    emulator: Emulator,
    training_file: str,
    client: openai.OpenAI,
    until: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    cancel_on_kill: bool,
    status: str,
    said: str,
) -> None:
    emulator.set(job_seconds=30)
    job_id = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file).id
    until(job_id, "running")
    sensor = sense(dag, job_id, cancel_on_kill=cancel_on_kill)
    sensor._ti = TaskInstance(state)
    monkeypatch.setattr(FineTuningJobSensor, "log", logging.getLogger("killed"))
    with caplog.at_level(logging.INFO, "killed"):
        sensor.on_kill()
        sensor._killing.join(30)
    assert emulator.jobs()[0]["status"] == status
    assert said.format(job_id=job_id) in caplog.text


# -- what goes wrong


@pytest.mark.parametrize("nothing", ["{{ None }}", "{{ ti.xcom_pull(task_ids='nobody') }}", "{{ '' }}", " "])
def test_a_job_id_that_renders_to_nothing_says_where_to_look_and_is_not_tried_again(
    dag: DAG, run_dag: RunDag, emulator: Emulator, nothing: str
) -> None:
    sense(dag, nothing, retries=1)
    result = run_dag(dag)
    (error,) = result.errors["wait"]
    assert isinstance(error, InvalidRequest)
    assert "job_id is" in str(error)
    assert "Check that the task it refers to ran" in str(error)
    assert emulator.requests("GET", "/fine_tuning/**") == []


def test_an_unknown_job_is_a_refusal_that_is_not_tried_again(
    dag: DAG, run_dag: RunDag, emulator: Emulator, mode: dict[str, Any]
) -> None:
    sense(dag, "ftjob-nobody", retries=1, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "failed"}
    (error,) = result.errors["wait"]
    assert isinstance(error, RequestRefused)
    assert "fine_tune_not_found" in str(error)
    assert "Check the job id, and that the connection points at the endpoint that created it" in str(error)


def test_a_wrong_key_is_a_refusal(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
) -> None:
    key = "sk-proj-abcdefghijklmnop0123456789"
    connection = {"conn_type": "openai", "host": emulator.base_url, "password": key}
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(connection))
    sense(dag, job_id, conn_id="wrong", **mode)
    result = run_dag(dag)
    assert isinstance(result.error("wait"), RequestRefused)
    assert "connection's password" in str(result.error("wait"))
    assert key not in "\n".join([*result.log, *traceback.format_exception(result.error("wait"))])


def test_a_job_that_failed_for_its_data_is_red_without_a_retry_and_says_why(
    dag: DAG, run_dag: RunDag, emulator: Emulator, client: openai.OpenAI, uploaded: Callable[[bytes], str],
    mode: dict[str, Any],
) -> None:  # fmt: skip
    emulator.set(job_seconds=0.4)
    row = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    job = client.fine_tuning.jobs.create(model=MODEL, training_file=uploaded(row * 3))
    sense(dag, job.id, retries=1, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "failed"}
    (error,) = result.errors["wait"]
    assert isinstance(error, FineTuningJobFailedForGood)
    for part in (job.id, "invalid_n_examples", "param training_file", "Add examples", "at least 10"):
        assert part in str(error)


def test_a_job_that_failed_on_the_servers_side_keeps_its_retry(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str
) -> None:
    emulator.show(job_id, status="failed", error={"code": "server_error", "message": "A GPU was lost.", "param": None})
    sense(dag, job_id, retries=1, retry_delay=timedelta(0))
    result = run_dag(dag)
    assert len(result.errors["wait"]) == 2
    assert type(result.error("wait")) is FineTuningJobFailed
    assert "A GPU was lost. (code server_error).\nThe cause is on the server's side" in str(result.error("wait"))


def test_a_cancelled_job_is_red(
    dag: DAG, run_dag: RunDag, emulator: Emulator, client: openai.OpenAI, job_id: str, until: Any, mode: dict[str, Any]
) -> None:
    sense(dag, job_id, **mode)
    with soon(lambda: until(job_id, "running"), lambda: client.fine_tuning.jobs.cancel(job_id)):
        result = run_dag(dag)
    assert isinstance(result.error("wait"), FineTuningJobFailedForGood)
    assert f"{job_id} was cancelled. Clear the task that created it" in str(result.error("wait"))


def test_a_success_without_a_model_is_red_and_says_why(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="succeeded", fine_tuned_model=None, finished_at=1_700_000_000)
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    assert isinstance(result.error("wait"), FineTuningJobFailedForGood)
    assert "succeeded but has no model" in str(result.error("wait"))


def test_a_time_out_is_airflows_own_in_every_mode(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="running")
    sense(dag, job_id, timeout=0.7, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "failed"}
    assert isinstance(result.error("wait"), AirflowSensorTimeout)
    (job,) = emulator.jobs()
    assert job["status"] != "cancelled"


def test_with_soft_fail_a_time_out_skips_the_task(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="running")
    sense(dag, job_id, timeout=0.7, soft_fail=True, **mode)
    assert run_dag(dag).states == {"wait": "skipped"}


def test_with_soft_fail_a_failed_job_is_red_all_the_same(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="failed", error={"code": "invalid_training_file", "message": "Bad."})
    sense(dag, job_id, soft_fail=True, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "failed"}
    assert isinstance(result.error("wait"), FineTuningJobFailedForGood)


def test_with_never_fail_a_failed_job_skips_the_task_as_the_user_asked(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str
) -> None:
    emulator.show(job_id, status="failed", error={"code": "invalid_training_file", "message": "Bad."})
    sense(dag, job_id, never_fail=True, deferrable=False)
    assert run_dag(dag).states == {"wait": "skipped"}


def test_with_on_paused_fail_a_paused_job_is_red_and_says_how_to_go_on(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="paused")
    sense(dag, job_id, on_paused="fail", **mode)
    result = run_dag(dag)
    assert isinstance(result.error("wait"), FineTuningJobFailed)
    assert "ResumeFineTuningJobOperator" in str(result.error("wait"))


# -- what is waited through


def test_an_endpoint_that_is_down_for_a_while_is_waited_through(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "MAX_BACK_OFF", 0.2)
    emulator.fault("status", "GET", "/fine_tuning/jobs/*", status=503, times=5, skip=1, retry_after="0.05")
    emulator.show(job_id, status="running")  # or the job may have ended before the first look
    sense(dag, job_id, **mode)
    with soon(lambda: used_up(emulator), lambda: emulator.show(job_id)):
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    if mode.get("mode") != "reschedule":  # of which each poke is a process of its own
        assert len([line for line in result.log if "Waiting through it" in line]) == 1
        assert len([line for line in result.log if "answers again" in line]) == 1


def test_a_status_nobody_has_heard_of_is_waited_through_and_logged_once(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, until: Any, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, status="training_on_the_moon", finished_at=None, fine_tuned_model=None)
    sense(dag, job_id, **mode)
    with soon(lambda: looked_at(emulator) or until(job_id, "succeeded"), lambda: emulator.show(job_id)):
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    told = [line for line in result.log if "training_on_the_moon - a status this version does not know" in line]
    assert told
    if mode.get("mode") != "reschedule":  # of which each poke is a process of its own, as the trigger is
        assert len(told) <= (2 if mode["deferrable"] else 1)


def test_azures_pending_and_minus_ones_are_waited_through(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, until: Any
) -> None:
    shown = {"hyperparameters": {"n_epochs": -1}, "trained_tokens": -1, "finished_at": -1, "fine_tuned_model": None}
    emulator.show(job_id, status="pending", **shown)
    sense(dag, job_id)
    with soon(lambda: looked_at(emulator) or until(job_id, "succeeded"), lambda: emulator.show(job_id)):
        result = run_dag(dag)
    assert result.states == {"wait": "success"}


def test_a_model_name_that_comes_late_is_waited_for(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, until: Any, mode: dict[str, Any]
) -> None:
    emulator.show(job_id, fine_tuned_model=None)
    sense(dag, job_id, **mode)

    def shown_as_succeeded() -> None:
        until(job_id, "succeeded")
        before = len(emulator.requests("GET", "/fine_tuning/jobs/*"))
        while len(emulator.requests("GET", "/fine_tuning/jobs/*")) < before + 2:
            time.sleep(0.05)

    with soon(shown_as_succeeded, lambda: emulator.show(job_id)):
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert result.xcom("wait", "fine_tuned_model")


def test_checkpoints_that_cannot_be_read_just_now_are_waited_for(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/checkpoints", status=500, times=4, retry_after="0.05")
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    assert len(result.xcom("wait", "checkpoints")) == 3


def test_checkpoints_that_are_not_to_be_had_do_not_withhold_the_model_for_ever(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any], until: Any
) -> None:
    until(job_id, "succeeded")
    emulator.show(job_id, finished_at=1_700_000_000)
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/checkpoints", status=500, times=None, retry_after="0.01")
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert result.xcom("wait", "fine_tuned_model")
    assert (result.xcom("wait", "checkpoints"), result.xcom("wait", "best_checkpoint")) == ([], None)
    assert any("Going on without checkpoints" in line for line in result.log)


@pytest.mark.parametrize("on_paused", ["wait", "resume"])
def test_a_paused_job_is_waited_for_or_resumed_as_the_user_says(
    dag: DAG, run_dag: RunDag, emulator: Emulator, client: openai.OpenAI, job_id: str, until: Any, on_paused: str,
    mode: dict[str, Any],
) -> None:  # fmt: skip
    until(job_id, "running")
    client.fine_tuning.jobs.pause(job_id)
    until(job_id, "paused")
    sense(dag, job_id, on_paused=on_paused, **mode)
    if on_paused == "wait":
        with soon(lambda: looked_at(emulator), lambda: client.fine_tuning.jobs.resume(job_id)):
            result = run_dag(dag)
    else:
        result = run_dag(dag)
    assert result.states == {"wait": "success"}
    assert len(emulator.requests("POST", "/fine_tuning/jobs/*/resume")) == 1


# -- what is handed on


def test_the_outcome_is_pushed_by_the_promised_keys_and_without_the_key(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str, mode: dict[str, Any]
) -> None:
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    (job,) = emulator.jobs()
    pushed = {key: value for (_, key), value in result.xcoms().items() if not key.startswith("_link_")}
    outcome = pushed["return_value"]
    assert pushed.keys() == {
        "return_value", "fine_tuned_model", "checkpoints", "best_checkpoint", "progress", "metrics", "events",
    }  # fmt: skip
    assert pushed["metrics"]["step"] == list(range(1, pushed["progress"]["total_steps"] + 1))
    assert pushed["events"][-1]["message"]
    assert pushed["progress"]["status"] == "succeeded"
    assert pushed["progress"]["step"] == pushed["progress"]["total_steps"] == pushed["checkpoints"][-1]["step"]
    assert outcome.keys() == {
        "job_id", "status", "model", "fine_tuned_model", "checkpoints", "best_checkpoint", "trained_tokens",
        "hyperparameters", "result_files", "created_at", "finished_at",
    }  # fmt: skip
    for key in ("status", "model", "fine_tuned_model", "trained_tokens", "result_files", "created_at", "finished_at"):
        assert outcome[key] == job[key], key
    assert outcome["hyperparameters"] == job["hyperparameters"]
    assert (outcome["job_id"], outcome["status"]) == (job_id, "succeeded")
    assert pushed["fine_tuned_model"] == job["fine_tuned_model"]
    assert pushed["checkpoints"] == outcome["checkpoints"]
    assert pushed["best_checkpoint"] == outcome["best_checkpoint"]
    steps = [checkpoint["step"] for checkpoint in outcome["checkpoints"]]
    assert steps == sorted(steps)
    assert len(steps) == 3
    assert outcome["best_checkpoint"]["train_loss"] == min(row["train_loss"] for row in outcome["checkpoints"])
    assert outcome["checkpoints"][-1]["model"] == job["fine_tuned_model"]
    assert emulator.api_key not in json.dumps(list(result.xcoms().values()))
    assert emulator.api_key not in "\n".join(result.log)


def test_tasks_behind_the_sensor_read_its_output_and_its_keys(
    dag: DAG, run_dag: RunDag, emulator: Emulator, job_id: str
) -> None:
    from airflow.providers.common.compat.sdk import task

    with dag:

        @task
        def use(model: str, best: dict[str, Any], rendered: str) -> list[Any]:
            return [model, best["model"], rendered]

        sensor = sense(dag, job_id)
        use(
            sensor.output["fine_tuned_model"],
            sensor.output["best_checkpoint"],
            "{{ ti.xcom_pull(task_ids='wait', key='checkpoints') | length }}",
        )
        sensor >> dag.get_task("use")
    result = run_dag(dag)
    assert result.states == {"wait": "success", "use": "success"}
    model, best, count = result.xcom("use")
    assert model == result.xcom("wait", "fine_tuned_model")
    assert best == result.xcom("wait", "best_checkpoint")["model"]
    assert str(count) == "3"


def test_each_event_is_in_the_log_once_and_in_order_over_execute_trigger_and_resume(
    dag: DAG, run_dag: RunDag, emulator: Emulator, client: openai.OpenAI, job_id: str, until: Any, mode: dict[str, Any]
) -> None:
    if mode.get("mode") == "reschedule" and AIRFLOW < (3, 3):
        pytest.skip("before Airflow 3.3 nothing is kept between two pokes")
    emulator.set(repeat_events=True)
    until(job_id, "running")
    sense(dag, job_id, **mode)
    result = run_dag(dag)
    happened = [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]
    assert len(happened) > 30
    assert [line for line in result.log if line in set(happened)] == happened
