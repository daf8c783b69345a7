"""Promotion on a real Airflow: a person in between, a DAG scheduled on the champion, and several runs at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from airflow_provider_finetune.emulator import running
from demo.standalone import Standalone
from tests.models.evaluations import CLEARLY_BETTER, evaluation, pair

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
RETRAIN, SERVE = "retrain_and_promote", "serve_airflow_config"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    dags = tmp_path_factory.mktemp("dags")
    for path in ("example_dags/retrain_and_promote.py", "example_dags/serve.py", "tests/system/dags/promotions.py"):
        shutil.copy(ROOT / path, dags)
    with running(job_seconds=2) as endpoint:
        env = {"AIRFLOW_CONN_OPENAI_DEFAULT": endpoint.connection}
        with Standalone(dags, env) as airflow:
            yield airflow


def test_several_runs_at_once_end_with_one_champion_and_the_others_are_told_which(airflow: Standalone) -> None:
    contested = [evaluation(pair(f"model-{n}", "base", *CLEARLY_BETTER)) for n in range(4)]
    runs = [airflow.trigger("promotions", {"evaluation": json.dumps(one)}) for one in contested]
    states = [airflow.wait_for_run("promotions", run, 240) for run in runs]
    assert sorted(states) == ["failed", "failed", "failed", "success"]

    decision = airflow.xcom("promotions", runs[states.index("success")], "promote")
    variable = airflow.api("GET", "/variables/finetune_champion_contested")
    kept = json.loads(variable["value"])
    assert kept == {"name": "contested", "champion": decision["champion"], "history": []}
    for run in set(runs) - {kept["champion"]["run"]["run_id"]}:
        # Airflow keeps what was raised beside the lines of the log.
        log = airflow.api(
            "GET", f"/dags/promotions/dagRuns/{quote(run)}/taskInstances/promote/logs/1?full_content=true"
        )
        assert "is the champion of contested. Evaluate with it as the baseline" in str(log), log


def test_a_person_rejects_a_model_and_approves_another_which_starts_the_dag_that_uses_it(airflow: Standalone) -> None:
    conf = {"folder": str(airflow.home / "dataset"), "approve": True}
    rejected = answered(airflow, conf, "Reject")
    assert airflow.task(RETRAIN, rejected, "promote")["state"] == "skipped"
    assert airflow.api("GET", f"/dags/{SERVE}/dagRuns")["dag_runs"] == []

    approved = answered(airflow, conf, "Approve")
    champion = airflow.xcom(RETRAIN, approved, "promote")["champion"]
    by = airflow.xcom(RETRAIN, approved, "approve")["responded_by_user"]["name"]
    assert champion["promoted_by"] == by

    (served,) = until_served(airflow)
    assert airflow.xcom(SERVE, served["dag_run_id"], "ask")["model"] == champion["model"]
    (event,) = airflow.api("GET", f"/dags/{SERVE}/dagRuns/{served['dag_run_id']}/upstreamAssetEvents")["asset_events"]
    assert event["uri"] == "finetune://airflow-config"
    assert event["extra"] == champion


def answered(airflow: Standalone, conf: dict[str, Any], choice: str) -> str:
    """Run the DAG, and answer its question; return the run id."""
    run = airflow.trigger(RETRAIN, conf)
    airflow.wait_for_task(RETRAIN, run, "approve", {"awaiting_input", "deferred"}, 300)
    path = f"/dags/{RETRAIN}/dagRuns/{quote(run)}/taskInstances/approve/-1/hitlDetails"
    assert "**Evaluation** on" in airflow.api("GET", path)["body"], "the scores are in front of the person"
    until_the_scheduler_has_gone_round(airflow)
    airflow.api("PATCH", path, {"chosen_options": [choice], "params_input": {}})
    assert airflow.wait_for_run(RETRAIN, run, 120) == "success"
    return run


def until_the_scheduler_has_gone_round(airflow: Standalone) -> None:
    """Return when the scheduler has seen the worker end: Airflow 3.3 may fail a task that is answered before that."""
    beats = set()
    for _ in airflow.until(90):
        beats.add(airflow.api("GET", "/monitor/health")["scheduler"]["latest_scheduler_heartbeat"])
        if len(beats) > 2 and not airflow.pids("worker"):
            return
    raise AssertionError("The scheduler has no heartbeat")


def until_served(airflow: Standalone) -> list[dict[str, Any]]:
    for _ in airflow.until(120):
        runs: list[dict[str, Any]] = airflow.api("GET", f"/dags/{SERVE}/dagRuns")["dag_runs"]
        if runs and all(run["state"] == "success" for run in runs):
            return runs
    raise AssertionError("unreachable")
