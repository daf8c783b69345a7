"""The wait on a fine-tuning job, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_finetune.jobs.events import TOO_LONG_A_LOG, Event, LogVolume, Unseen
from airflow_provider_finetune.jobs.goal import goes_on
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.status import Kind, OnPaused, consider
from airflow_provider_finetune.triggers.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_finetune.triggers.poller import Update


class FineTuningJobTrigger(BaseTrigger):
    """Fires once, when the job has ended or there is something to do about it on a worker.

    The event is ``{"job_id", "event", "status", "message", "end_time", "last_event_id", "last_event_at",
    "last_event_marks", "succeeded_at", "if_gone", "limit", "progress"}`` with ``event`` one of ``ended``, ``reached``,
    ``resume``, ``failed``, ``timeout``, ``refused``. It says why the worker is woken; the worker looks at the job
    itself. The arguments are stored in Airflow's database: their names are kept.

    :param conn_id: the Airflow connection.
    :param job_id: the job.
    :param poll_interval: seconds between two looks.
    :param end_time: when to stop waiting, epoch seconds. A restart of the triggerer does not move it.
    :param on_paused: what a paused job means: ``wait``, ``resume`` or ``fail``.
    :param until: statuses that end the wait beside succeeded, failed and cancelled.
    :param last_event_id: id of the last event that the task's log shows.
    :param last_event_at: its time, epoch seconds.
    :param cancel_on_kill: cancel the job when a person marks the deferred task failed or success, or clears it
        (Airflow 3.3 and later).
    :param last_event_marks: which events of that second the task's log shows, for endpoints whose ids change.
    :param succeeded_at: when it was first seen that the job has succeeded, epoch seconds.
    :param if_gone: the status that the job has if the endpoint does not know it any more; None makes that an error.
    :param limit: what sets ``end_time``, for the log: ``timeout`` or ``execution_timeout``.
    """

    def __init__(
        self,
        conn_id: str,
        job_id: str,
        poll_interval: float,
        end_time: float,
        on_paused: OnPaused = "wait",
        until: list[str] | None = None,
        last_event_id: str | None = None,
        last_event_at: int = 0,
        cancel_on_kill: bool = False,
        last_event_marks: list[str] | None = None,
        succeeded_at: float | None = None,
        if_gone: str | None = None,
        limit: str = "timeout",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.on_paused = on_paused
        self.until = until or []
        self.unseen = Unseen(last_event_id, last_event_at, tuple(last_event_marks or ()))
        self.cancel_on_kill = cancel_on_kill
        self.succeeded_at = succeeded_at
        self.if_gone = if_gone
        self.limit = limit
        self.progress = Progress(self)
        self.volume = LogVolume()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return (
            "airflow_provider_finetune.triggers.job.FineTuningJobTrigger",
            {
                "conn_id": self.conn_id,
                "job_id": self.job_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "on_paused": self.on_paused,
                "until": self.until,
                "last_event_id": self.unseen.last_id,
                "last_event_at": self.unseen.last_created_at,
                "cancel_on_kill": self.cancel_on_kill,
                "last_event_marks": list(self.unseen.marks),
                "succeeded_at": self.succeeded_at,
                "if_gone": self.if_gone,
                "limit": self.limit,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; log the job's events meanwhile; fire once."""
        yield await self._wait()

    async def _wait(self) -> TriggerEvent:
        from airflow_provider_finetune.triggers.poller import waiting

        told: set[str] = set()
        waits = waiting(self.conn_id, self.job_id, poll_interval=self.poll_interval, unseen=self.unseen)
        with closing(self.progress) as progress:
            async with waits as wait:
                while True:
                    try:
                        async with asyncio.timeout(max(0.0, self.end_time - time.time())):
                            update = await wait.updates.get()
                    except TimeoutError:
                        self.log.warning("The time to wait for %s is over: %s", self.job_id, self.limit)
                        return self._event("timeout", None, "the time to wait is over")
                    progress.note(update)
                    if event := self._consider(update, told):
                        return event
                    progress.show()
                    await asyncio.sleep(0)  # many updates at once must not keep the event loop from the others

    def _consider(self, update: Update, told: set[str]) -> TriggerEvent | None:
        """Log what is new; return the event to fire, if any."""
        if update.note:
            self.log.warning("%s", update.note)
        for event in update.events:
            self._show(event)
        job = update.job
        if update.gone and self.if_gone is not None:
            job = Job(self.job_id, self.if_gone)
        elif update.refused:
            return self._event("refused", None, update.refused)
        if job is None:
            return None
        if job.status not in told:
            told.add(job.status)
            self.log.info("Fine-tuning job %s is %s", job.id, job.told())
        decision = consider(self, job, time.time())
        if decision.kind is Kind.WAIT:
            return None
        return self._event(_EVENTS[decision.kind], job, decision.reason)

    def _show(self, event: Event) -> None:
        if self.volume.takes(event, time.monotonic()):
            self.log.log(event.level, "%s", event.message)
        elif not self.volume.is_told:
            self.volume.is_told = True
            self.log.warning("%s", TOO_LONG_A_LOG)
        # Only what the log shows counts as seen: the worker takes up from there.
        self.unseen.saw(event)

    def _event(self, why: str, job: Job | None, message: str) -> TriggerEvent:
        return TriggerEvent(  # type: ignore[no-untyped-call]
            {
                "job_id": self.job_id,
                "event": why,
                "status": job.status if job else None,
                "message": message,
                "end_time": self.end_time,
                "last_event_id": self.unseen.last_id,
                "last_event_at": self.unseen.last_created_at,
                "last_event_marks": list(self.unseen.marks),
                "succeeded_at": self.succeeded_at,
                "if_gone": self.if_gone,
                "limit": self.limit,
                "progress": self.progress.known.progress(),
            }
        )

    async def on_kill(self) -> None:
        """Cancel the job when a person kills the deferred task and ``cancel_on_kill`` is set; else say it goes on."""
        if not self.cancel_on_kill:
            self.log.warning("%s", goes_on(self.job_id, self.conn_id))
            return
        from airflow_provider_finetune.triggers.client import borrowed_client

        self.log.info("The task was killed by a person; cancelling fine-tuning job %s", self.job_id)
        async with borrowed_client(self.conn_id) as client:
            from airflow_provider_finetune.hooks.fine_tuning import explained

            with explained(f"cancel fine-tuning job {self.job_id}"):
                # Airflow grants half a minute.
                await client.with_options(max_retries=2, timeout=8).fine_tuning.jobs.cancel(self.job_id)


_EVENTS = {
    Kind.SUCCEEDED: "ended",
    Kind.FAILED: "failed",
    Kind.REACHED: "reached",
    Kind.RESUME: "resume",
    Kind.TIMEOUT: "timeout",
}
