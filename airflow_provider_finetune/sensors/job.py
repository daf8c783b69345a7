"""The wait for a fine-tuning job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, get_args

from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)

from airflow_provider_finetune.arguments import choice, interval, required
from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.jobs.goal import goes_on
from airflow_provider_finetune.jobs.status import Kind, OnPaused
from airflow_provider_finetune.links import FineTuningJobLink, TrainingLink
from airflow_provider_finetune.progress import show
from airflow_provider_finetune.task import SECONDS_TO_CANCEL, on_kill_by_a_person
from airflow_provider_finetune.waiting import JobWaiting

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk import PokeReturnValue

    from airflow_provider_finetune.hooks.watch import JobWatch

_CURSOR = "fine_tuning_last_event"


class FineTuningJobSensor(JobWaiting, BaseSensorOperator):
    """Waits for a fine-tuning job; hands its model and checkpoints to the tasks behind it.

    Returns the outcome ``{job_id, status, model, fine_tuned_model, checkpoints, best_checkpoint, trained_tokens,
    hyperparameters, result_files, created_at, finished_at}`` and pushes ``fine_tuned_model``, ``checkpoints`` and
    ``best_checkpoint`` under their own keys too.

    :param job_id: the job (templated).
    :param deferrable: wait in the triggerer, without holding a worker. Set it to False for ``mode="poke"`` or
        ``mode="reschedule"``.
    :param poll_interval: seconds, or a timedelta, at least 0.1 s, between two looks at the job.
    :param on_paused: what a paused job means: go on waiting for somebody to resume it (``"wait"``), resume it
        (``"resume"``), or fail (``"fail"``).
    :param conn_id: the Airflow connection, of type ``openai`` (templated).
    :param cancel_on_kill: cancel the job when a person kills the task: marks it failed or successful, or clears it. By
        default the job goes on, since another task may wait for it too. A deferred task is told of being killed from
        Airflow 3.3 on, and one in reschedule mode only while it looks.
    :param timeout: seconds to wait in all, 7 days by default; then ``AirflowSensorTimeout``. The job is not cancelled.

    With ``soft_fail`` only a time-out skips the task: a job that failed is red.

    :raises FineTuningJobFailed: the job failed, was cancelled, or has no model.
    :raises RequestRefused: the endpoint does not know the job, or refuses the key.
    :raises InvalidRequest: ``job_id`` rendered to nothing.
    """

    template_fields: Sequence[str] = ("job_id", "on_paused", "conn_id")
    operator_extra_links = (FineTuningJobLink(), TrainingLink())
    ui_color = "#d5e8d4"

    def __init__(
        self,
        *,
        job_id: str,
        deferrable: bool = True,
        poll_interval: float | timedelta = 60,
        on_paused: OnPaused = "wait",
        conn_id: str = "openai_default",
        cancel_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        name = "poke_interval" if "poke_interval" in kwargs else "poll_interval"
        kwargs["poke_interval"] = interval(name, kwargs.get(name, poll_interval))
        super().__init__(**kwargs)
        self.job_id = job_id
        self.deferrable = deferrable
        self.poll_interval = float(self.poke_interval)
        if isinstance(on_paused, str) and "{" not in on_paused:
            choice("on_paused", on_paused, get_args(OnPaused))
        self.on_paused = on_paused
        self.conn_id = conn_id
        self.cancel_on_kill = cancel_on_kill
        self._watch: JobWatch | None = None
        self._ti: Any = None
        self._killing: threading.Thread | None = None

    def execute(self, context: Context) -> Any:
        """Wait for the job; return its outcome."""
        self._ti = context["ti"]
        try:
            return self._execute(context)
        finally:
            if self._killing is not None:  # a thread does not outlive the task's process
                self._killing.join(SECONDS_TO_CANCEL)

    def _execute(self, context: Context) -> Any:
        job_id = required("job_id", self.job_id)
        choice("on_paused", self.on_paused, get_args(OnPaused))
        with self.client_closed():
            self.push_link(context, job_id)
            if self.deferrable:
                watch = self.watch(job_id, time.time() + self.timeout)
                self.hold_to_execution_timeout(context, watch)
                return self._red_stays_red(lambda: self.wait(context, watch))
            self._watch = self.watch(job_id, None)
            self._recall(context, self._watch)
            return self._red_stays_red(lambda: super(FineTuningJobSensor, self).execute(context))

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once."""
        from airflow.providers.common.compat.sdk import PokeReturnValue

        watch = self._watch or self.watch(required("job_id", self.job_id), None)
        while True:
            job, decision = watch.look()
            is_named_soon = decision.kind is Kind.WAIT and job is not None and job.status == "succeeded"
            if not is_named_soon or self._keeps(context):
                break
            time.sleep(self.poll_interval)  # the next poke would not know for how long the model's name is late
        self._keep(context, watch)
        if decision.kind is Kind.RESUME:
            watch.resume()
        elif decision.kind is not Kind.WAIT:
            try:
                return PokeReturnValue(is_done=True, xcom_value=self.conclude(context, watch, job, decision))
            finally:
                show(context, watch.progress, whole=True, rescheduled=self.reschedule)
        show(context, watch.progress, rescheduled=self.reschedule)
        return False

    def on_kill(self) -> None:
        """Cancel the job, if it was a person who killed the task and ``cancel_on_kill`` is set; else say it goes on."""
        if self._ti is None or self._killing is not None:
            return
        job_id = required("job_id", self.job_id)

        def cancel_or_tell() -> None:
            from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained

            if not self.cancel_on_kill:
                self.log.warning("%s", goes_on(job_id, self.conn_id))
                return
            self.log.warning("The task was killed by a person; cancelling fine-tuning job %s", job_id)
            hook = FineTuningHook(conn_id=self.conn_id)
            with hook.conn, explained(f"cancel fine-tuning job {job_id}"):
                hook.cancel_job(job_id)

        self._killing = on_kill_by_a_person(self._ti, job_id, self.log, cancel_or_tell)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Take up the wait on a worker again."""
        resume = super().resume_execution
        return self._red_stays_red(lambda: resume(next_method, next_kwargs, context))

    def timed_out(self, reason: str) -> Exception:
        """Return Airflow's own sensor time-out, as in every other mode."""
        return AirflowSensorTimeout(reason)

    def _red_stays_red(self, wait: Callable[[], Any]) -> Any:
        """Undo Airflow's turning of a failed job into a skipped task under ``soft_fail``, which is about time-outs."""
        try:
            return wait()
        except (AirflowSensorTimeout, AirflowTaskTimeout) as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except AirflowSkipException as skip:
            if isinstance(skip.__cause__, FineTuningError) and not self.never_fail:
                raise skip.__cause__ from None
            raise

    def _keeps(self, context: Context) -> bool:
        """Return whether the next poke knows what this one does: a rescheduled one is a new process."""
        return not self.reschedule or context.get("task_state_store") is not None

    def _recall(self, context: Context, watch: JobWatch) -> None:
        """Tell the watch where the poke before has left off."""
        if not self.reschedule:
            return
        store: Any = context.get("task_state_store")
        if store is not None:
            last = store.get(_CURSOR) or {}
            unseen = watch.unseen
            unseen.last_id, unseen.last_created_at = last.get("id"), int(last.get("at") or 0)
            unseen.marks = tuple(last.get("marks") or ())
            watch.succeeded_at = last.get("succeeded_at")
        else:
            # Before Airflow 3.3 nothing survives between two pokes; show what happened since the last one.
            watch.unseen.last_id, watch.unseen.last_created_at = "", int(time.time() - self.poke_interval)
        watch.progress.begin(watch.unseen)

    def _keep(self, context: Context, watch: JobWatch) -> None:
        store: Any = context.get("task_state_store") if self.reschedule else None
        if store is not None and (watch.unseen.last_id is not None or watch.succeeded_at is not None):
            unseen = watch.unseen
            last = {"id": unseen.last_id, "at": unseen.last_created_at, "marks": list(unseen.marks)}
            store.set(_CURSOR, {**last, "succeeded_at": watch.succeeded_at})
