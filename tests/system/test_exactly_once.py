"""On a real Airflow: a worker killed with SIGKILL at every step of a submission leaves exactly one job."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Platform

pytestmark = [pytest.mark.system, pytest.mark.endurance, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def runs(platform: Platform) -> dict[str, str]:
    """The runs of all DAGs that do not disturb each other, started at once to save time."""
    conf = platform.reset(job_seconds=6)
    dag_ids = ("cleared", "frozen_before_its_create", "killed_at_every_step")
    return {dag_id: platform.airflow.trigger(dag_id, conf) for dag_id in dag_ids}


def test_a_worker_killed_at_any_step_of_a_submission_leaves_one_job_and_the_dag_ends_green(
    platform: Platform, runs: dict[str, str]
) -> None:
    airflow, run = platform.airflow, runs["killed_at_every_step"]

    state = airflow.wait_for_run("killed_at_every_step", run, timeout=900)

    tasks = airflow.tasks("killed_at_every_step", run)
    assert {task["task_id"]: task["state"] for task in tasks if task["state"] != "success"} == {}
    assert state == "success"
    assert len(tasks) == 34
    for task in tasks:
        name = task["task_id"]
        jobs = platform.jobs(name)
        # More than two where a busy machine has cost a heartbeat as well.
        assert task["try_number"] >= 2, f"{name} was not killed"
        assert len(jobs) == 1, name
        assert jobs[0]["status"] != "cancelled", name
        assert airflow.xcom("killed_at_every_step", run, name, "job_id") == jobs[0]["id"], name


def test_a_worker_that_comes_back_after_its_retry_has_created_the_job_adds_none(
    platform: Platform, runs: dict[str, str]
) -> None:
    airflow, run = platform.airflow, runs["frozen_before_its_create"]
    pids_file = Path(airflow.home, "frozen")
    assert platform.until(pids_file.exists, 180)
    pids = [int(pid) for pid in pids_file.read_text().split()]
    try:
        assert airflow.wait_for_run("frozen_before_its_create", run, timeout=180) == "success"
        (first,) = platform.jobs("frozen")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    assert platform.until(lambda: not psutil.pid_exists(pids[1]), 60), "the task that came back does not end"

    # It was about to create. If it still did, it saw the older job and cancelled its own; nobody cancelled the older.
    assert [job["id"] for job in platform.jobs("frozen") if job["status"] != "cancelled"] == [first["id"]]
    assert airflow.xcom("frozen_before_its_create", run, "frozen", "job_id") == first["id"]
    task = airflow.task("frozen_before_its_create", run, "frozen")
    assert (task["state"], task["try_number"]) == ("success", 2)


def test_a_cleared_task_takes_its_job_up_again_or_makes_another_or_fails_as_if_exists_says(
    platform: Platform, runs: dict[str, str]
) -> None:
    airflow, run = platform.airflow, runs["cleared"]
    assert airflow.wait_for_run("cleared", run, timeout=120) == "success"
    before = {task: airflow.xcom("cleared", run, task) for task in ("reuse", "new", "fail")}

    for task in before:
        platform.act(lambda t=task: airflow.clear_task("cleared", run, t))
    airflow.wait_for_task("cleared", run, "fail", "failed", timeout=120)
    assert airflow.wait_for_run("cleared", run, timeout=120) == "failed"

    tries = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.tasks("cleared", run)}
    # The worker of the cleared "new" died after its create: its retry takes up the second job, not a third.
    assert tries == {"reuse": ("success", 2), "new": ("success", 3), "fail": ("failed", 2)}
    jobs = {task: [job["id"] for job in platform.jobs(task)] for task in before}
    assert {task: len(ids) for task, ids in jobs.items()} == {"reuse": 1, "new": 2, "fail": 1}
    assert airflow.xcom("cleared", run, "reuse") == before["reuse"] == jobs["reuse"][0]
    assert [before["new"], airflow.xcom("cleared", run, "new")] == jobs["new"]
    log = airflow.api("GET", f"/dags/cleared/dagRuns/{run}/taskInstances/fail/logs/2?full_content=true")
    assert "if_exists is 'fail'" in json.dumps(log)
