"""On a real Airflow: a worker killed with SIGKILL at every step of a submission leaves exactly one job."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Platform

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


def test_a_worker_killed_at_any_step_of_a_submission_leaves_one_job_and_the_dag_ends_green(platform: Platform) -> None:
    conf = platform.reset(job_seconds=6)
    airflow = platform.airflow
    run = airflow.trigger("killed_at_every_step", conf)

    state = airflow.wait_for_run("killed_at_every_step", run, timeout=400)

    tasks = airflow.tasks("killed_at_every_step", run)
    assert {task["task_id"]: task["state"] for task in tasks if task["state"] != "success"} == {}
    assert state == "success"
    assert len(tasks) == 34
    for task in tasks:
        name = task["task_id"]
        jobs = platform.jobs(name)
        assert task["try_number"] == 2, f"{name} was not killed"
        assert [job["status"] for job in jobs if job["status"] == "cancelled"] == [], name
        assert len(jobs) == 1, name
        assert airflow.xcom("killed_at_every_step", run, name, "job_id") == jobs[0]["id"], name
    assert platform.cancels() == []


def test_a_worker_that_comes_back_after_its_retry_has_created_the_job_adds_none(platform: Platform) -> None:
    conf = platform.reset(job_seconds=600)
    airflow = platform.airflow
    pids_file = Path(airflow.home, "frozen")
    run = airflow.trigger("frozen_before_its_create", conf)
    try:
        airflow.wait_for_task("frozen_before_its_create", run, "create", "deferred", timeout=180)
        assert airflow.task("frozen_before_its_create", run, "create")["try_number"] == 2
        (job,) = platform.jobs("create")
    finally:
        pids = [int(pid) for pid in pids_file.read_text().split()]
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    ended = platform.until(lambda: not _exists(pids[1]), 60)

    assert ended, "the task that came back does not end"
    assert [job["id"] for job in platform.jobs("create") if job["status"] != "cancelled"] == [job["id"]]
    assert airflow.task("frozen_before_its_create", run, "create")["state"] == "deferred"
    assert airflow.xcom("frozen_before_its_create", run, "create", "job_id") == job["id"]


def _exists(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
