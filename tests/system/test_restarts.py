"""On a real Airflow: restarts and outages cancel nothing; a person who kills a task cancels its job."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.system.conftest import Platform

pytestmark = [pytest.mark.system, pytest.mark.endurance, pytest.mark.timeout(1200)]


def start_waiting(platform: Platform, dag_id: str, *, job_seconds: float) -> tuple[str, dict[str, str]]:
    """Start a run whose tasks all wait for jobs; return the run id, and the job of each task once all wait.

    A deferred task waits when its trigger has told its progress: a moment earlier, no triggerer may know of it.
    """
    airflow = platform.airflow
    run = airflow.trigger(dag_id, platform.reset(job_seconds=job_seconds))
    jobs: dict[str, str] = {}

    def all_wait() -> bool:
        tasks = airflow.tasks(dag_id, run)
        for task in tasks:
            name, state = task["task_id"], task["state"]
            if name not in jobs and state == ("deferred" if name.startswith("deferred") else "running"):
                job_id = airflow.xcom(dag_id, run, name, "job_id")
                waits = state == "running" or airflow.xcom(dag_id, run, name, "progress") is not None
                if job_id is not None and waits:
                    jobs[name] = job_id
        return len(jobs) == len(tasks) > 0

    assert platform.until(all_wait, 150), f"only {sorted(jobs)} wait"
    return run, jobs


def test_triggerer_killed_workers_terminated_and_endpoint_down_during_the_wait_and_the_dag_ends_green(
    platform: Platform,
) -> None:
    airflow, slow = platform.airflow, platform.slow
    run, jobs = start_waiting(platform, "waiting", job_seconds=30)

    slow.fault("status", "*", "/fine_tuning/**", status=503, times=None)
    airflow.kill("triggerer")
    terminated = terminate_workers(airflow.pids("worker"))
    airflow.start_component("triggerer")
    # For several poll intervals, asked by worker and triggerer alike.
    assert platform.until(lambda: len([r for r in slow.requests() if r["status"] == 503]) > 8, 90)
    slow.clear_faults()
    slow.fault("lose_answer", "*", "/fine_tuning/**", times=6)

    assert airflow.wait_for_run("waiting", run, timeout=180) == "success"
    assert terminated >= 1
    assert "The worker is stopping, not the task" in airflow.log("waiting", run, "on_worker")
    for task, job in jobs.items():
        assert airflow.task("waiting", run, task)["try_number"] == 1
        assert airflow.xcom("waiting", run, task)["job_id"] == job
    assert [job["status"] for job in slow.jobs()] == ["succeeded", "succeeded"]
    assert platform.cancels() == []


def terminate_workers(pids: list[int]) -> int:
    """Send SIGTERM to the supervisors among the workers, as a pod that is shut down gets it; return how many."""
    supervisors = [pid for pid in pids if psutil.Process(pid).children()]
    for pid in supervisors:
        os.kill(pid, signal.SIGTERM)
    return len(supervisors)


def test_a_person_who_marks_or_clears_a_waiting_task_cancels_its_job_unless_told_not_to(platform: Platform) -> None:
    airflow = platform.airflow
    run, jobs = start_waiting(platform, "killed_by_a_person", job_seconds=600)
    try:
        for task in jobs:
            _, how, _ = task.split("-")
            if how == "cleared":
                platform.act(lambda t=task: airflow.clear_task("killed_by_a_person", run, t))
            else:
                platform.act(lambda t=task, h=how: airflow.set_task_state("killed_by_a_person", run, t, h))

        for task in jobs:
            _, how, what = task.split("-")
            # A task that was cleared goes on: with a new job, or with the one that was left alone.
            expected = ["running"] if what == "leaves" else ["cancelled"] + ["running"] * (how == "cleared")
            settled = platform.until(lambda t=task, e=expected: statuses(platform, t) == e, 60)
            assert settled, f"{task}: {statuses(platform, task)}, expected {expected}"
        for task, first in jobs.items():
            where, how, what = task.split("-")
            if how != "cleared":
                continue
            waits = "deferred" if where == "deferred" else "running"
            airflow.wait_for_task("killed_by_a_person", run, task, waits, timeout=90)
            assert platform.until(lambda t=task: taken(platform, run, t) is not None, 60), task
            assert (taken(platform, run, task) == first) == (what == "leaves"), task
        # The workers whose tasks were marked are gone by now; nothing more has been cancelled.
        assert platform.until(lambda: len(airflow.pids("worker")) <= 4, 60)
        for task in jobs:
            if task.endswith("leaves"):
                assert statuses(platform, task) == ["running"], task
        assert len(platform.cancels()) == 6
    finally:
        end = f"/dags/killed_by_a_person/dagRuns/{run}"
        platform.act(lambda: airflow.api("PATCH", end, {"state": "failed"}))


@pytest.mark.parametrize("dag_id", ["run_marked_failed", "run_timed_out"])
def test_a_run_that_is_marked_failed_or_exceeds_its_time_cancels_the_jobs_its_tasks_wait_for(
    platform: Platform, dag_id: str
) -> None:
    airflow = platform.airflow
    run, jobs = start_waiting(platform, dag_id, job_seconds=600)

    if dag_id == "run_marked_failed":
        platform.act(lambda: airflow.api("PATCH", f"/dags/{dag_id}/dagRuns/{run}", {"state": "failed"}))

    assert airflow.wait_for_run(dag_id, run, timeout=150) == "failed"
    for task in jobs:
        settled = platform.until(lambda t=task: statuses(platform, t) == ["cancelled"], 60)
        assert settled, f"{task}: {statuses(platform, task)}"
    # Once each. A worker of the run before may still be cancelling a job of its own.
    asked = [request["path"].split("/")[-2] for request in platform.cancels()]
    assert sorted(job for job in asked if job in jobs.values()) == sorted(jobs.values())


def statuses(platform: Platform, task: str) -> list[str]:
    """Return the statuses of a task's jobs, oldest first; whether one is running or about to is all the same."""
    alive = {"validating_files", "queued", "running"}
    return ["running" if job["status"] in alive else job["status"] for job in platform.jobs(task)]


def taken(platform: Platform, run: str, task: str) -> Any:
    """Return the job that a task has taken in its second try."""
    if platform.airflow.task("killed_by_a_person", run, task)["try_number"] != 2:
        return None
    return platform.airflow.xcom("killed_by_a_person", run, task, "job_id")


def test_a_person_who_kills_the_task_while_its_create_is_in_flight_gets_the_job_cancelled(platform: Platform) -> None:
    airflow, slow = platform.airflow, platform.slow
    conf = platform.reset(job_seconds=600)
    slow.clear_faults()
    slow.fault("delay", "POST", "/fine_tuning/jobs", seconds=3)
    run = airflow.trigger("creating", conf)
    assert platform.until(lambda: slow.requests("POST", "/fine_tuning/jobs"), 90)

    platform.act(lambda: airflow.set_task_state("creating", run, "create", "failed"))

    assert slow.jobs() == []
    assert platform.until(lambda: statuses(platform, "create") == ["cancelled"], 60)
    assert airflow.wait_for_run("creating", run, timeout=60) == "failed"
    assert statuses(platform, "create") == ["cancelled"]
