"""Waits at endpoints whose texts and numbers no database takes: a job that is paid for does not fail at its end."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.sensors.job import FineTuningJobSensor
from tests.odd_endpoint import Answer, answering, of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG

pytestmark = pytest.mark.timeout(60)
ODD = "a\x00b\ud800\x1b[31m\nc"
PARTS: dict[str, Callable[[], Answer]] = {
    "job": lambda: of(
        {
            "id": "ftjob-1",
            "status": "succeeded",
            "model": ODD,
            "fine_tuned_model": f"ft:{ODD}",
            "finished_at": 1_700_000_000,
            "trained_tokens": math.inf,
            "hyperparameters": {"n_epochs": math.nan, "beta": math.inf, ODD: [ODD, {ODD: math.nan}], "big": 10**400},
            "metadata": {ODD: ODD},
            "result_files": [ODD],
            "error": {"code": ODD, "message": ODD, "param": ODD},
        }
    ),
    "events": lambda: of(
        {
            "data": [
                {"id": ODD, "created_at": 1, "level": ODD, "message": ODD, "data": {ODD: math.nan}},
                {"id": "2", "created_at": 2, "message": "Step", "data": {"step": 1, "train_loss": math.nan, ODD: 1}},
            ]
        }
    ),
    "checkpoints": lambda: of(
        {
            "data": [
                {
                    "id": ODD,
                    "step_number": 3,
                    "created_at": math.nan,
                    "fine_tuned_model_checkpoint": ODD,
                    "metrics": {"valid_loss": math.nan, ODD: 0.5},
                }
            ]
        }
    ),
}


def answer(method: str, path: str) -> Answer:
    return PARTS.get(path.rpartition("/")[2], PARTS["job"])()


def test_nan_nul_and_halves_of_characters_do_not_fail_a_job_that_is_paid_for(
    dag: DAG, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
) -> None:
    with answering(answer) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        with dag:
            FineTuningJobSensor(task_id="wait", job_id="ftjob-1", poll_interval=0.2, timeout=30, **mode)
        result = run_dag(dag)
    assert result.states == {"wait": "success"}, result.errors
    outcome = result.xcom("wait")
    assert outcome["fine_tuned_model"] == r"ft:a\x00b" + "\N{REPLACEMENT CHARACTER}" + r"\x1b[31m\nc"
    assert outcome["hyperparameters"]["n_epochs"] is None
    for key in ("return_value", "checkpoints", "best_checkpoint", "progress", "metrics", "events"):
        shown = json.dumps(result.xcom("wait", key), allow_nan=False, ensure_ascii=False)
        shown.encode()
        assert "\x1b" not in shown
        assert r"\u0000" not in shown
    assert not any("\x1b" in line or "\n" in line for line in result.log if "[31m" in line)
