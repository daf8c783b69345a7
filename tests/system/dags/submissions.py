"""DAGs whose workers die at every step of a submission, or whose tasks are killed; for a real Airflow to run.

A step that kills sends SIGKILL to the process of the task, which is a real worker's.
"""

from __future__ import annotations

import os
import signal
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "gpt-4.1-mini-2025-04-14"
LIST_LAG = 3.0


def die() -> None:
    """End this process as the kernel or a lost node ends it."""
    os.kill(os.getpid(), signal.SIGKILL)


def freeze() -> None:
    """Stop this task and its supervisor, as a host does that stalls; whoever reads the pids may let them go on."""
    pids = [os.getppid(), os.getpid()]
    file = Path(os.environ["AIRFLOW_HOME"], "frozen")
    file.with_suffix(".part").write_text(" ".join(map(str, pids)))
    file.with_suffix(".part").rename(file)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def at(action: str, do: Callable[[], None] = die, *, before: bool = False) -> Callable[[], None]:
    """Return what makes the first action of a kind the last."""

    def arm() -> None:
        from airflow_provider_finetune.hooks.submission import JobSubmission

        carry_out, done = JobSubmission._carry_out, []

        def armed(self: JobSubmission, asked: Any) -> object:
            hit = type(asked).__name__ == action and not done
            if hit and before:
                done.append(asked)
                do()
            answer = carry_out(self, asked)
            if hit and not before:
                done.append(asked)
                do()
            return answer

        JobSubmission._carry_out = armed  # type: ignore[method-assign]

    return arm


def in_flight(method: str) -> Callable[[], None]:
    """Return what kills while the create request is on the wire.

    :param method: of the socket: ``send`` kills between the request's head and its body, ``recv`` when it has been sent
        and the answer is awaited.
    """

    def arm() -> None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        create_job = FineTuningHook.create_job

        def create(self: FineTuningHook, **request: Any) -> Any:
            call = getattr(socket.socket, method)
            port = self.conn.base_url.port

            def armed(to: socket.socket, *args: Any) -> Any:
                ours = to.family in (socket.AF_INET, socket.AF_INET6) and to.getpeername()[1] == port
                if ours and method == "recv":
                    die()
                result = call(to, *args)
                if ours:
                    die()
                return result

            setattr(socket.socket, method, armed)
            return create_job(self, **request)

        FineTuningHook.create_job = create  # type: ignore[method-assign]

    return arm


def before_waiting() -> None:
    """Kill when the job id is in XCom and the wait, or the task's end, is next."""
    CreateFineTuningJobOperator.push_link = lambda *_: die()  # type: ignore[method-assign]


def at_resuming() -> None:
    """Kill when the trigger has fired and the task is being taken up again."""
    CreateFineTuningJobOperator.execute_complete = lambda *_, **__: die()  # type: ignore[method-assign]


STEPS: dict[str, Callable[[], None]] = {
    "before_search": at("Search", before=True),
    "after_search": at("Search"),
    "create_half_sent": in_flight("send"),
    "create_in_flight": in_flight("recv"),
    "create_answered": at("Create"),
    "before_store": at("Remember", before=True),
    "after_store": at("Remember"),
    "after_xcom": before_waiting,
}


class DoomedOperator(CreateFineTuningJobOperator):
    """Our operator, except that its worker dies in one try.

    :param doom: what befalls it.
    :param in_try: the try.
    :param store: whether there is a task state store, as from Airflow 3.3.
    """

    def __init__(
        self, *, doom: Callable[[], None] | None = None, in_try: int = 1, store: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(model=MODEL, list_lag=LIST_LAG, poll_interval=1, timeout=600, **kwargs)
        self.doom = doom
        self.in_try = in_try
        self.store = store

    def execute(self, context: Any) -> Any:
        self._arm(context)
        if not self.store:
            context = {name: value for name, value in context.items() if name != "task_state_store"}
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any] | None = None) -> Any:
        self._arm(context)
        return CreateFineTuningJobOperator.execute_complete(self, context, event)

    def _arm(self, context: Any) -> None:
        if self.doom is not None and context["ti"].try_number == self.in_try:
            self.doom()


def dag(dag_id: str, **arguments: Any) -> DAG:
    """Return a DAG without a schedule whose tasks may be tried three times."""
    return DAG(
        dag_id,
        **arguments,
        schedule=None,
        catchup=False,
        max_active_tasks=32,
        default_args={
            "retries": 2,
            "retry_delay": timedelta(seconds=1),
            # Not as a template of the DAG's: each task picks its endpoint's file out of the run's conf.
            "training_file": "{{ dag_run.conf[task.conn_id] }}",
        },
    )


with dag("killed_at_every_step"):
    for conn_id in ("slow", "deaf"):
        for has_store in (True, False):
            for name, step in STEPS.items():
                DoomedOperator(
                    task_id=f"{conn_id}-{'store' if has_store else 'no_store'}-{name}",
                    conn_id=conn_id,
                    doom=step,
                    store=has_store,
                    # All three ways to end: deferred, on the worker, without waiting.
                    wait_for_completion=(conn_id == "slow") == has_store,
                    deferrable=conn_id == "slow",
                )
    for has_store in (True, False):
        DoomedOperator(
            task_id=f"slow-{'store' if has_store else 'no_store'}-at_resuming",
            conn_id="slow",
            doom=at_resuming,
            store=has_store,
            wait_for_completion=True,
        )

with dag("frozen_before_its_create"):
    # When the first try comes back, the second has succeeded, and its job goes on.
    DoomedOperator(task_id="frozen", conn_id="endless", doom=at("Create", freeze, before=True))

for dag_id, arguments in {
    "waiting": {},
    "run_marked_failed": {},
    "run_timed_out": {"dagrun_timeout": timedelta(seconds=75)},
}.items():
    with dag(dag_id, **arguments):
        for where in ("deferred", "on_worker"):
            DoomedOperator(task_id=where, conn_id="slow", wait_for_completion=True, deferrable=where == "deferred")

with dag("killed_by_a_person"):
    for where in ("deferred", "on_worker"):
        for how in ("failed", "success", "cleared"):
            for what in ("cancels", "leaves"):
                DoomedOperator(
                    task_id=f"{where}-{how}-{what}",
                    conn_id="slow",
                    wait_for_completion=True,
                    deferrable=where == "deferred",
                    cancel_on_kill=what == "cancels",
                )

with dag("creating"):
    DoomedOperator(task_id="create", conn_id="slow", wait_for_completion=True)

with dag("cleared"):
    for choice in ("reuse", "new", "fail"):
        # The try after the clearing dies too: its retry belongs to the same clearing.
        DoomedOperator(
            task_id=choice,
            conn_id="slow",
            doom=None if choice == "fail" else STEPS["create_answered"],
            in_try=2,
            if_exists=choice,
        )
