"""The main job on a real ``airflow standalone``: the sensor really defers and really resumes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.emulator import Emulator, running
from demo.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DAG_ID = "retrain_on_airflow_config"
EXAMPLES = Path(__file__).parents[2] / "example_dags"
STEP = re.compile(r"^Step (\d+)/(\d+): training loss=", re.MULTILINE)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Emulator]:
    with running(job_seconds=25) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def airflow(endpoint: Emulator) -> Iterator[Standalone]:
    env = {"AIRFLOW_CONN_OPENAI_DEFAULT": endpoint.connection, "PYTHONPATH": str(EXAMPLES.parent)}
    with Standalone(EXAMPLES, env) as airflow:
        yield airflow


def test_the_sensor_defers_and_resumes_and_the_tasks_behind_it_get_model_and_checkpoints(
    airflow: Standalone, endpoint: Emulator
) -> None:
    run = airflow.trigger(DAG_ID, {"folder": str(airflow.home / "dataset")})

    waiting = airflow.wait_for_task(DAG_ID, run, "wait", "deferred", 180)
    assert waiting["trigger"]["classpath"] == "airflow_provider_finetune.triggers.job.FineTuningJobTrigger"
    log = until_steps(airflow, run)
    assert airflow.task(DAG_ID, run, "wait")["state"] == "deferred", "the steps are in the log while the task waits"
    assert airflow.pids("worker") == [], "no worker is held"
    assert "Fine-tuning job started" in log

    assert airflow.wait_for_run(DAG_ID, run, 180) == "success"
    states = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.tasks(DAG_ID, run)}
    assert set(states.values()) == {("success", 1)}

    log = airflow.log(DAG_ID, run, "wait")
    assert "HTTP Request:" not in log, "a request is nothing for a task's log"
    steps = [int(step) for step, _ in STEP.findall(log)]
    assert steps == sorted(set(steps)), "each step once, in order"

    (job,) = endpoint.jobs()
    outcome = airflow.xcom(DAG_ID, run, "wait")
    assert airflow.xcom(DAG_ID, run, "create", "job_id") == outcome["job_id"] == job["id"]
    assert airflow.xcom(DAG_ID, run, "wait", "fine_tuned_model") == job["fine_tuned_model"]
    checkpoints = airflow.xcom(DAG_ID, run, "wait", "checkpoints")
    assert [row["step"] for row in checkpoints] == sorted(row["step"] for row in checkpoints)
    assert len(checkpoints) == 3
    best = airflow.xcom(DAG_ID, run, "wait", "best_checkpoint")
    assert best["full_valid_loss"] == min(row["full_valid_loss"] for row in checkpoints)
    progress = airflow.xcom(DAG_ID, run, "wait", "progress")
    assert progress["status"] == "succeeded"
    assert progress["step"] == progress["total_steps"] == steps[-1]

    evaluation: dict[str, Any] = airflow.xcom(DAG_ID, run, "evaluate")
    assert min(pair["difference_low"] for pair in evaluation["comparisons"]) > 0.2


def until_steps(airflow: Standalone, run: str) -> str:
    """Return the log of the waiting task once it shows training steps."""
    for _ in airflow.until(60):
        log = airflow.log(DAG_ID, run, "wait")
        if STEP.search(log):
            return log
    raise AssertionError("no training step in the log")
