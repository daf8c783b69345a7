"""What Airflow knows of the task that runs: who ended it, for how long it has run, and since when there was one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

#: How long a killed task waits for its job to be cancelled; Airflow 3 grants it 5 seconds at most.
SECONDS_TO_CANCEL = 10.0

#: States of a task instance that only a person gives to a task that is running.
_SET_BY_A_PERSON = frozenset({"failed", "success", "skipped", "restarting", "removed"})


def is_killed_by_a_person(ti: Any, job_id: str | None) -> bool:
    """Return whether Airflow says that a person ended this running task, or deleted it.

    :param job_id: the job that this attempt has settled on.
    """
    if hasattr(ti, "get_task_states"):  # Airflow 3
        states = ti.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        state = next(iter(states.get(ti.run_id, {}).values()), "removed")
    else:
        state = ti.current_state()
    if str(getattr(state, "value", state)) not in _SET_BY_A_PERSON:
        return False
    # A worker that was given up and comes back finds the state in which its retry has ended. XComs are cleared when an
    # attempt starts, so a job id that this one has not pushed is a later attempt's.
    pushed = ti.xcom_pull(task_ids=ti.task_id, key="job_id", map_indexes=ti.map_index)
    return pushed is None or pushed == job_id


def on_kill_by_a_person(ti: Any, job_id: str | None, log: Any, then: Callable[[], None]) -> threading.Thread:
    """Do something about the job if it is a person who ends this running task; return the thread that does it.

    Airflow calls ``on_kill`` too when a worker shuts down or has lost its heartbeat; the task's retry goes on with the
    job then, so it must live. The state of the task tells the two apart.

    In a thread: the signal may have interrupted a conversation with the supervisor, or a request, and neither goes on
    before ``on_kill`` returns. It returns after 2 seconds; the thread has to be joined before the process ends.

    :param job_id: the job that this attempt has settled on.
    :param then: what to do.
    """

    def act() -> None:
        try:
            by_a_person = is_killed_by_a_person(ti, job_id)
        except Exception:
            log.exception("Airflow does not tell who stops this task; a fine-tuning job goes on")
            return
        if by_a_person:
            then()
        else:
            log.info("The worker is stopping, not the task; a fine-tuning job goes on")

    acting = threading.Thread(target=act, daemon=True)
    acting.start()
    acting.join(2.0)
    return acting


def age(ti: Any) -> float:
    """Return for how many seconds the task has been running, by this machine's clock.

    A worker may stall before it comes to execute, and a later attempt be under way by then.
    """
    return 0.0 if ti.start_date is None else max(0.0, (datetime.now(tz=UTC) - ti.start_date).total_seconds())


def began(context: Context) -> float:
    """Return from when on, in epoch seconds, this task may have created a job: not before its DAG run was made."""
    run = context.get("dag_run")
    times = (getattr(run, name, None) for name in ("run_after", "queued_at", "start_date"))
    return min((time.timestamp() for time in times if time is not None), default=0.0)
