"""Pausing, resuming and cancelling a fine-tuning job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_finetune.arguments import choice, interval, required, seconds
from airflow_provider_finetune.exceptions import (
    EndpointUnreachable,
    FineTuningJobTimeout,
    InvalidRequest,
    RequestRefused,
)
from airflow_provider_finetune.jobs.goal import Goal, Step, next_step, worth_waking
from airflow_provider_finetune.jobs.status import Kind
from airflow_provider_finetune.links import FineTuningJobLink, TrainingLink
from airflow_provider_finetune.waiting import JobWaiting, NotYet

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.watch import JobWatch
    from airflow_provider_finetune.jobs.job import Job
    from airflow_provider_finetune.jobs.status import Decision


IfEnded = Literal["ok", "fail"]


class _JobGoalOperator(JobWaiting, BaseOperator):
    """Brings a job into a state, whoever gets it there; safe to repeat, and to lose an answer of."""

    template_fields: Sequence[str] = ("job_id", "conn_id")
    #: What it means that the job has ended, unless the user says otherwise.
    ended: ClassVar[IfEnded] = "ok"
    operator_extra_links = (FineTuningJobLink(), TrainingLink())
    ui_color = "#fff2cc"
    goal: ClassVar[Goal]

    def __init__(
        self,
        *,
        job_id: str,
        conn_id: str = "openai_default",
        deferrable: bool = True,
        poll_interval: float | timedelta = 10,
        timeout: float | timedelta = 60 * 60,
        if_ended: IfEnded | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.if_ended = self.ended if if_ended is None else if_ended
        choice("if_ended", self.if_ended, get_args(IfEnded))
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.poll_interval = interval("poll_interval", poll_interval)
        self.timeout = seconds("timeout", timeout)

    def execute(self, context: Context) -> Any:
        """Ask for the state and wait until the job is in it; return the job id."""
        job_id = required("job_id", self.job_id)
        with self.client_closed():
            endpoint = self.hook.endpoint
            if self.goal in endpoint.cannot:
                raise InvalidRequest(
                    f"{endpoint.title} cannot {self.goal} a job; nothing was sent to it. Fine-tuning job {job_id} is "
                    "as it was."
                )
            self.push_link(context, job_id)
            watch = self.watch(job_id, time.time() + self.timeout, until=self.awaited())
            self.hold_to_execution_timeout(context, watch)
            return self.wait(context, watch)

    def awaited(self) -> Collection[str]:
        """Return the statuses at which there is something to do."""
        return worth_waking(self.goal)

    def conclude(self, context: Context, watch: JobWatch, job: Job | None, decision: Decision) -> Any:
        """Take the next step towards the goal; return the job id once it is reached."""
        if job is None or decision.kind is Kind.TIMEOUT:
            raise FineTuningJobTimeout(decision.reason)
        if next_step(self.goal, job.status) is Step.ASK:
            job = self._ask(watch, job)
        step = next_step(self.goal, job.status)
        if step is Step.NEVER and self.if_ended == "fail":
            raise RequestRefused(
                f"Cannot {self.goal} fine-tuning job {job.id}: it has already ended, as {job.status}. If that is fine, "
                "set if_ended='ok'."
            )
        if step is Step.NEVER:
            self.log.info("Fine-tuning job %s has already ended, as %s: nothing to %s", job.id, job.status, self.goal)
            return job.id
        if step is Step.THERE:
            return job.id
        so_far = f"Asked to {self.goal} fine-tuning job {job.id}, which is still {job.status}."
        if watch.end_time is not None and time.time() >= watch.end_time:
            raise FineTuningJobTimeout(f"{so_far} The time to wait for it is over.")
        raise NotYet(so_far)

    def _ask(self, watch: JobWatch, job: Job) -> Job:
        """Ask the endpoint, and return the job as it is then: its status tells what came of it, not the answer."""
        from airflow_provider_finetune.hooks.fine_tuning import explained

        refused: RequestRefused | None = None
        try:
            with explained(f"{self.goal} fine-tuning job {job.id}"):
                getattr(self.hook, f"{self.goal}_job")(job.id)
        except RequestRefused as error:
            refused = error
        except EndpointUnreachable as error:
            self.log.warning("%s Looking what came of it.", error)
        if self.goal == "cancel" and refused is None:
            watch.if_gone = "cancelled"  # there it was, and some endpoints forget a job that they have cancelled
        now, _ = watch.look()
        now = now or job
        if refused is not None and next_step(self.goal, now.status) is Step.ASK:
            raise refused
        return now


class PauseFineTuningJobOperator(_JobGoalOperator):
    """Pauses a job and waits until it is paused; it writes a checkpoint first.

    A job that is paused already is fine; one that is still queued is paused as soon as it runs. Returns the job id.

    :param job_id: the job (templated).
    :param conn_id: the Airflow connection, of type ``openai`` (templated).
    :param deferrable: wait in the triggerer, without holding a worker.
    :param poll_interval: seconds, at least 0.1, between two looks at the job.
    :param timeout: seconds to wait, an hour by default.
    :param if_ended: what to do when the job has already succeeded, failed or been cancelled: ``"ok"``, the default for
        pausing, since such a job costs nothing more; or ``"fail"``.
    :raises RequestRefused: the job has ended and ``if_ended`` is ``"fail"``, it is not known, or the endpoint cannot
        pause jobs.
    :raises FineTuningJobTimeout: the job did not get there in time.
    """

    goal = "pause"


class ResumeFineTuningJobOperator(_JobGoalOperator):
    """Resumes a paused job, which goes on from its checkpoint. A job that is not paused is fine. Returns the job id.

    Arguments and errors are those of :class:`PauseFineTuningJobOperator`, but ``if_ended`` is ``"fail"`` by default: a
    job that has ended does not train on.
    """

    goal = "resume"
    ended = "fail"


class CancelFineTuningJobOperator(_JobGoalOperator):
    """Cancels a job. One that is cancelled already is fine. Returns the job id.

    Arguments and errors are those of :class:`PauseFineTuningJobOperator`. ``if_ended`` is ``"ok"`` by default, so that
    a clean-up task is green whatever became of the job.
    """

    goal = "cancel"
