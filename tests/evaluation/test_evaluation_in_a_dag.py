"""The operator in a DAG: templates, XCom references, and what the tasks behind it get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.operators.model import EvaluateModelOperator
from tests.evaluation.conftest import EQUAL, SECRET, chat, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import DagResult
    from tests.evaluation.conftest import Endpoint


def test_models_come_from_the_sensor_and_the_grader_keeps_its_own_braces(
    endpoint: Endpoint, tmp_path: Path, run_dag: Callable[..., DagResult]
) -> None:
    from airflow.providers.common.compat.sdk import DAG, task

    endpoint.reply = lambda body: body["messages"][-1]["content"] if body["model"] == "ft:a" else "no"
    data = write(tmp_path / "evaluation.jsonl", chat(10))
    with DAG("evaluate_in_a_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task
        def wait() -> dict[str, Any]:
            return {"job_id": "ftjob-1", "model": "base", "fine_tuned_model": "ft:b",
                    "checkpoints": [{"step": 5, "model": "ft:a"}]}  # fmt: skip

        @task
        def nobody() -> None:
            return None

        outcome = wait()
        shared: dict[str, Any] = {"models": outcome, "dataset": "{{ params.data }}", "grader": EQUAL}
        compared = EvaluateModelOperator(
            task_id="compared", baseline="{{ params.base }}", answers="{{ params.data }}.answers", **shared
        )
        EvaluateModelOperator(task_id="first", baseline=nobody(), **shared)

        @task
        def use(result: dict[str, Any]) -> str:
            return result["best"]

        use(compared.output)
    dag.params["data"], dag.params["base"] = data, "base"
    result = run_dag(dag)
    assert set(result.states.values()) == {"success"}
    assert result.xcom("use") == "ft:a"
    assert result.xcom("compared")["comparisons"][1]["wins"] == 10
    assert result.xcom("first")["baseline"] is None
    assert result.xcom("first")["comparisons"] == []
    assert result.xcom("compared", "progress")["status"] == "succeeded"
    assert SECRET not in str(result.xcoms()) + str(result.log)
