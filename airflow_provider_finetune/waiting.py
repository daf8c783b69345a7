"""The worker's side of a wait on a job: look once, hand over to the triggerer, take up again what it found."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_finetune.exceptions import (
    FineTuningJobFailed,
    FineTuningJobFailedForGood,
    RequestRefused,
)
from airflow_provider_finetune.jobs.status import Decision, Kind, OnPaused
from airflow_provider_finetune.links import LINK_KEY, TrainingLink, push_page_link
from airflow_provider_finetune.plural import counted
from airflow_provider_finetune.progress import show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.hooks.watch import JobWatch
    from airflow_provider_finetune.jobs.events import Unseen
    from airflow_provider_finetune.jobs.job import Job


class NotYet(Exception):
    """Says that there is nothing to conclude yet, and the wait goes on."""


class JobWaiting:
    """What operators and sensor share when they wait on a job.

    The class it is mixed into has ``conn_id``, ``poll_interval`` (seconds) and ``deferrable``, and says in
    :meth:`conclude` what to do once the wait is over.
    """

    conn_id: str
    poll_interval: float
    deferrable: bool
    on_paused: OnPaused = "wait"
    cancel_on_kill: bool = False
    execution_timeout: timedelta | None
    defer: Any

    if TYPE_CHECKING:

        @property
        def log(self) -> Any: ...

    @cached_property
    def hook(self) -> FineTuningHook:
        """The hook of the operator's connection."""
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        return FineTuningHook(conn_id=self.conn_id)

    @contextmanager
    def client_closed(self) -> Iterator[None]:
        """Close the hook's client at the end of the block."""
        try:
            yield
        finally:
            hook = vars(self).pop("hook", None)
            if hook is not None and "conn" in vars(hook):
                hook.conn.close()

    def watch(
        self, job_id: str, end_time: float | None, *, until: Collection[str] = (), unseen: Unseen | None = None
    ) -> JobWatch:
        """Return a watch on the job, which logs to the task's log."""
        from airflow_provider_finetune.hooks.watch import JobWatch

        return JobWatch(
            self.hook, job_id, self.log, end_time=end_time, on_paused=self.on_paused, until=until, unseen=unseen
        )

    def hold_to_execution_timeout(self, context: Context, watch: JobWatch) -> None:
        """Let the watch end with the task's ``execution_timeout``, if that comes first.

        Airflow does not enforce it while a task is deferred.
        """
        started = context["ti"].start_date
        if self.execution_timeout is None or started is None or watch.end_time is None:
            return
        end_time = (started + self.execution_timeout).timestamp()
        if end_time < watch.end_time:
            watch.end_time, watch.limit = end_time, "execution_timeout"
            self.log.info("The wait ends with the task's execution_timeout, %s", self.execution_timeout)

    def wait(self, context: Context, watch: JobWatch) -> Any:
        """Wait until the watch is over, deferred or polling; return what :meth:`conclude` makes of it."""
        while True:
            job, decision = watch.look()
            if decision.kind is Kind.RESUME:
                watch.resume()
            elif decision.kind is not Kind.WAIT:
                if decision.kind is Kind.TIMEOUT and watch.limit == "execution_timeout":
                    raise AirflowTaskTimeout(
                        f"{decision.reason} What ended the wait is the task's execution_timeout, "
                        f"{self.execution_timeout}."
                    )
                try:
                    return self.conclude(context, watch, job, decision)
                except NotYet as not_yet:
                    self.log.info("%s", not_yet)
                finally:
                    show(context, watch.progress, whole=True)
            is_new = job is None and time.time() < watch.known_by
            hands_over = self.deferrable and not is_new
            show(context, watch.progress, at_once=hands_over)
            if hands_over:
                self.hand_over(watch)
            time.sleep(min(1.0, self.poll_interval) if is_new else self.poll_interval)

    def hand_over(self, watch: JobWatch) -> None:
        """Defer to the triggerer, freeing the worker."""
        from airflow_provider_finetune.triggers.job import FineTuningJobTrigger

        assert watch.end_time is not None
        self.defer(
            trigger=FineTuningJobTrigger(
                conn_id=self.conn_id,
                job_id=watch.job_id,
                poll_interval=self.poll_interval,
                end_time=watch.end_time,
                on_paused=self.on_paused,
                until=sorted(watch.until),
                last_event_id=watch.unseen.last_id,
                last_event_at=watch.unseen.last_created_at,
                last_event_marks=list(watch.unseen.marks),
                cancel_on_kill=self.cancel_on_kill,
                succeeded_at=watch.succeeded_at,
                if_gone=watch.if_gone,
                limit=watch.limit,
            ),
            method_name="execute_complete",
            # Airflow's own time-out would skip execute_complete; the trigger's deadline comes first.
            timeout=timedelta(seconds=max(0.0, watch.end_time - time.time()) + self.poll_interval + 60),
        )

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take up the wait where the trigger left it."""
        if not event or "job_id" not in event:
            raise FineTuningJobFailed("The trigger sent no event that names a job; clear the task to wait again.")
        if event.get("event") == "refused":
            raise RequestRefused(str(event.get("message")))
        from airflow_provider_finetune.jobs.events import Unseen

        marks = tuple(event.get("last_event_marks") or ())
        unseen = Unseen(event.get("last_event_id"), int(event.get("last_event_at") or 0), marks)
        with self.client_closed():
            watch = self.watch(event["job_id"], event.get("end_time"), until=self.awaited(), unseen=unseen)
            watch.succeeded_at, watch.if_gone = event.get("succeeded_at"), event.get("if_gone")
            watch.limit = event.get("limit") or "timeout"
            return self.wait(context, watch)

    def awaited(self) -> Collection[str]:
        """Return the statuses that end the wait beside the terminal ones."""
        return ()

    def conclude(self, context: Context, watch: JobWatch, job: Job | None, decision: Decision) -> Any:
        """Push what a successful job has to give and return its outcome; raise for every other end.

        :raises FineTuningJobFailed: the job failed, was cancelled, or is paused and should not be.
        """
        if decision.kind is Kind.TIMEOUT:
            raise self.timed_out(decision.reason)
        assert job is not None
        if decision.kind is not Kind.SUCCEEDED:
            raise (FineTuningJobFailed if decision.retry_helps else FineTuningJobFailedForGood)(decision.reason)
        result = watch.outcome(job)
        for key in ("fine_tuned_model", "checkpoints", "best_checkpoint"):
            context["ti"].xcom_push(key=key, value=result[key])
        best = result["best_checkpoint"]
        self.log.info(
            "Fine-tuned model %s; %s, the best is %s",
            job.fine_tuned_model,
            counted(len(result["checkpoints"]), "checkpoint"),
            best and best["model"],
        )
        if self.hook.endpoint.deploy:
            self.log.info("At %s a model has to be deployed. %s", self.hook.endpoint.title, self.hook.endpoint.deploy)
        return result

    def timed_out(self, reason: str) -> Exception:
        """Return the exception for a wait that took too long."""
        raise NotImplementedError

    def push_link(self, context: Context, job_id: str) -> None:
        """Make the links to the job's pages available: the vendor's, where it has one, and ours."""
        if urlsplit(str(self.hook.conn.base_url)).hostname == "api.openai.com":
            context["ti"].xcom_push(key=LINK_KEY, value=f"https://platform.openai.com/finetune/{job_id}")
        push_page_link(context["ti"], TrainingLink())
