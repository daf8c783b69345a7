"""Looking at one job from a worker."""

from __future__ import annotations

import time
from copy import copy
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, explained, fault_of
from airflow_provider_finetune.hooks.pages import payload
from airflow_provider_finetune.hooks.progress import EVENTS_SECONDS, WatchedProgress
from airflow_provider_finetune.jobs.checkpoints import checkpoint_rows
from airflow_provider_finetune.jobs.events import TOO_LONG_A_LOG, TOO_MANY_EVENTS, LogVolume, Unseen
from airflow_provider_finetune.jobs.fault import FaultKind
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.outcome import outcome
from airflow_provider_finetune.jobs.status import TERMINAL, Decision, Kind, OnPaused, consider

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection

    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.jobs.fault import Fault

#: How often, and for how long, the checkpoints of a job that has succeeded are asked for; its model is there already.
CHECKPOINTS_TRIES = 5
CHECKPOINTS_SECONDS = 60.0


class JobWatch:
    """Looks at one job from a worker, and logs what is new about it.

    :param end_time: when the wait ends, epoch seconds; None leaves the time-out to somebody else.
    :param until: statuses that end the wait beside the terminal ones.
    """

    def __init__(
        self,
        hook: FineTuningHook,
        job_id: str,
        log: logging.Logger,
        *,
        end_time: float | None,
        on_paused: OnPaused = "wait",
        until: Collection[str] = (),
        unseen: Unseen | None = None,
    ) -> None:
        self.hook = _asking_once(hook)
        self.job_id = job_id
        self.log = log
        self.end_time = end_time
        #: What sets the end: ``timeout`` or ``execution_timeout``.
        self.limit = "timeout"
        self.on_paused = on_paused
        self.until = until
        self.unseen = unseen or Unseen()
        #: When it was first seen that the job has succeeded, epoch seconds.
        self.succeeded_at: float | None = None
        #: What it means that the endpoint does not know the job any more: the status that it has then.
        self.if_gone: str | None = None
        #: Until when, epoch seconds, the endpoint may not know the job yet: it has only just been created.
        self.known_by = 0.0
        self.told: set[str] = set()
        self.progress = WatchedProgress(self.hook, job_id, self.unseen)
        self.out_of_contact = False
        self.volume = LogVolume()

    def look(self) -> tuple[Job | None, Decision]:
        """Return the job as it is now and what that means. While the endpoint cannot be reached: no job, wait.

        :raises RequestRefused: the endpoint does not know the job, or refuses the key.
        """
        try:
            job = self._retrieve()
        except RequestRefused:
            if time.time() >= self.known_by:
                raise
            return None, Decision(Kind.WAIT)
        except EndpointUnreachable as error:
            if not self.out_of_contact:
                self.log.warning("%s Waiting through it.", error)
            self.out_of_contact = True
            if self.end_time is not None and time.time() >= self.end_time:
                return None, Decision(
                    Kind.TIMEOUT, f"{error} The time to wait for the job is over; it was not cancelled."
                )
            return None, Decision(Kind.WAIT)
        if self.out_of_contact:
            self.log.info("The endpoint answers again.")
        self.out_of_contact = False
        decision = consider(self, job, time.time())
        # Only now: however slow the events are, they do not change what has been decided.
        self.log_events(job)
        if job.status not in self.told:
            self.told.add(job.status)
            self.log.info("Fine-tuning job %s is %s", job.id, job.told())
        return job, decision

    def is_alive(self) -> bool:
        """Return whether the job has not ended, as far as the endpoint can be asked; log nothing about it."""
        try:
            with explained(f"retrieve fine-tuning job {self.job_id}", reading=True):
                return Job.from_api(payload(self.hook.retrieve_job(self.job_id))).status not in TERMINAL
        except RequestRefused:
            return False
        except EndpointUnreachable:
            return True

    def _retrieve(self) -> Job:
        with explained(f"retrieve fine-tuning job {self.job_id}", reading=True):
            try:
                return Job.from_api(payload(self.hook.retrieve_job(self.job_id)))
            except SDK_ERRORS as error:
                if self.if_gone is None or fault_of(error).status != 404:
                    raise
                return Job(self.job_id, self.if_gone)

    def log_events(self, job: Job) -> None:
        """Log the events that have happened since the last time: a courtesy, which no wait depends on."""
        self.unseen.about = job.names
        unseen = self.unseen.afresh()
        try:
            with explained(f"list the events of fine-tuning job {self.job_id}"):
                self.hook.list_events(self.job_id, unseen=unseen, seconds=EVENTS_SECONDS)
        except (RequestRefused, EndpointUnreachable) as error:
            self.log.debug("%s", error)
        events = unseen.in_order()
        self.progress.saw(job)
        self.progress.known.saw_events(events)
        if unseen.is_full:
            self.log.warning("%s", TOO_MANY_EVENTS)
        for event in events:
            if self.volume.takes(event, time.monotonic()):
                self.log.log(event.level, "%s", event.message)
            elif not self.volume.is_told:
                self.volume.is_told = True
                self.log.warning("%s", TOO_LONG_A_LOG)
            self.unseen.saw(event)

    def resume(self) -> None:
        """Ask for the paused job to go on. What came of it, the next look tells."""
        self.log.info("Fine-tuning job %s is paused; resuming it", self.job_id)
        try:
            with explained(f"resume fine-tuning job {self.job_id}"):
                self.hook.resume_job(self.job_id)
        except (RequestRefused, EndpointUnreachable) as error:
            self.log.warning("%s", error)

    def outcome(self, job: Job) -> dict[str, Any]:
        """Return the outcome of a finished job, with its checkpoints, if they can be had within a few attempts."""
        return outcome(job, self._checkpoints())

    def _checkpoints(self) -> list[dict[str, Any]]:
        endpoint = self.hook.endpoint
        if "checkpoints" in endpoint.cannot:
            self.log.info("Going on without checkpoints: %s does not list them", endpoint.title)
            return []
        until = time.time() + CHECKPOINTS_SECONDS
        if self.end_time is not None:
            until = min(until, self.end_time)
        for attempt in range(1, CHECKPOINTS_TRIES + 1):
            try:
                return checkpoint_rows(map(payload, self.hook.list_checkpoints(self.job_id)))
            except SDK_ERRORS as error:
                fault = fault_of(error).when_reading()
            pause = 2.0 ** (attempt - 1) if fault.retry_after is None else fault.retry_after
            if fault.kind is FaultKind.REFUSED or attempt == CHECKPOINTS_TRIES or time.time() + pause >= until:
                break
            self.log.info("%s Trying again in %.1f s.", self._no_checkpoints(fault), pause)
            time.sleep(pause)
        self.log.warning("Going on without checkpoints. %s", self._no_checkpoints(fault))
        return []

    def _no_checkpoints(self, fault: Fault) -> str:
        return fault.explain(f"list the checkpoints of fine-tuning job {self.job_id}")


def _asking_once(hook: FineTuningHook) -> FineTuningHook:
    """Return the hook with the SDK's own retries off: a wait looks again anyway, and has better things to do meanwhile.

    It shares the connections of the other, which closes them.
    """
    once = copy(hook)
    vars(once).pop("_quick", None)
    once.conn = hook.conn.with_options(max_retries=0)
    return once
