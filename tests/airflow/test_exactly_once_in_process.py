"""A retry finds the job that a lost try created; with and without a task state store, on Airflow 2.11 and 3 alike."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_finetune.hooks.submission import JobSubmission
from airflow_provider_finetune.jobs.actions import Create, Remember
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

MODEL = "gpt-4.1-mini-2025-04-14"


class Crash(Exception):
    """What ends a try between two steps."""


class WithoutStore(CreateFineTuningJobOperator):
    """Our operator on an Airflow without a task state store."""

    def execute(self, context: Any) -> Any:
        return super().execute({name: value for name, value in context.items() if name != "task_state_store"})


@pytest.mark.parametrize("step", [Create, Remember], ids=["after_create", "after_store"])
@pytest.mark.parametrize("operator", [CreateFineTuningJobOperator, WithoutStore], ids=["store", "no_store"])
@pytest.mark.parametrize("waits", [True, False], ids=["waits", "only_creates"])
def test_a_try_that_loses_the_answer_and_crashes_leaves_its_job_to_the_retry(
    step: type,
    operator: type[CreateFineTuningJobOperator],
    waits: bool,
    emulator: Emulator,
    training_file: str,
    run_dag: Callable[..., DagResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.fault("lose_answer", "POST", "/fine_tuning/jobs", times=None)
    emulator.set(list_lag_seconds=0.5)
    crashed = crash_once(monkeypatch, after=step)
    dag_id = f"lost_{step.__name__}_{operator.__name__}_{waits}"
    with DAG(dag_id, schedule=None, catchup=False) as dag:
        operator(
            task_id="create",
            model=MODEL,
            training_file=training_file,
            wait_for_completion=waits,
            deferrable=False,
            poll_interval=0.2,
            list_lag=1,
            retries=1,
            retry_delay=timedelta(0),
        )

    result = run_dag(dag)

    assert crashed == [step]
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert result.xcom("create", "job_id") == job["id"]
    assert len(emulator.requests("POST", "/fine_tuning/jobs")) == 1
    assert emulator.requests("POST", "/fine_tuning/jobs/*/cancel") == []


def crash_once(monkeypatch: pytest.MonkeyPatch, *, after: type) -> list[type]:
    """End the first try after an action; return a list that tells when it has happened."""
    carry_out, crashed = JobSubmission._carry_out, []

    def crashing(self: JobSubmission, action: Any) -> object:
        answer = carry_out(self, action)
        if isinstance(action, after) and not crashed:
            crashed.append(after)
            raise Crash
        return answer

    monkeypatch.setattr(JobSubmission, "_carry_out", crashing)
    return crashed
