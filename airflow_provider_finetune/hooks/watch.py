"""Looking at one job from a worker."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import explained, payload
from airflow_provider_finetune.jobs.checkpoints import checkpoint_rows
from airflow_provider_finetune.jobs.events import Event, Unseen
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.outcome import outcome
from airflow_provider_finetune.jobs.status import KNOWN, TERMINAL, Decision, Kind, OnPaused, decide

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection

    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook


#: For how long after a job's end its checkpoints are worth waiting for; its model is there all the same.
CHECKPOINTS_SECONDS = 3600


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
        self.hook = hook
        self.job_id = job_id
        self.log = log
        self.end_time = end_time
        self.on_paused = on_paused
        self.until = until
        self.unseen = unseen or Unseen()
        #: Until when, epoch seconds, the endpoint may not know the job yet: it has only just been created.
        self.known_by = 0.0
        self.told: set[str] = set()
        self.out_of_contact = False

    def look(self) -> tuple[Job | None, Decision]:
        """Return the job as it is now and what that means. While the endpoint cannot be reached: no job, wait.

        :raises RequestRefused: the endpoint does not know the job, or refuses the key.
        """
        try:
            with explained(f"retrieve fine-tuning job {self.job_id}", reading=True):
                job = Job.from_api(payload(self.hook.retrieve_job(self.job_id)))
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
        self.log_events()
        if job.status not in self.told:
            self.told.add(job.status)
            known = "" if job.status in KNOWN else " - a status this version does not know; waiting on"
            self.log.info("Fine-tuning job %s is %s%s", job.id, job.status, known)
        return job, decide(job, now=time.time(), end_time=self.end_time, on_paused=self.on_paused, until=self.until)

    def is_alive(self) -> bool:
        """Return whether the job has not ended, as far as the endpoint can be asked; log nothing about it."""
        try:
            with explained(f"retrieve fine-tuning job {self.job_id}", reading=True):
                return Job.from_api(payload(self.hook.retrieve_job(self.job_id))).status not in TERMINAL
        except RequestRefused:
            return False
        except EndpointUnreachable:
            return True

    def log_events(self) -> None:
        """Log the events that have happened since the last time: a courtesy, which no wait depends on."""
        unseen = Unseen(self.unseen.last_id, self.unseen.last_created_at)
        try:
            with explained(f"list the events of fine-tuning job {self.job_id}"):
                events = self.hook.list_events(self.job_id, unseen=unseen)
        except (RequestRefused, EndpointUnreachable) as error:
            self.log.debug("%s", error)
            return
        for event in map(Event.from_api, map(payload, events)):
            self.log.log(event.level, "%s", event.message)
            self.unseen.last_id, self.unseen.last_created_at = event.id, event.created_at

    def resume(self) -> None:
        """Ask for the paused job to go on. What came of it, the next look tells."""
        self.log.info("Fine-tuning job %s is paused; resuming it", self.job_id)
        try:
            with explained(f"resume fine-tuning job {self.job_id}"):
                self.hook.resume_job(self.job_id)
        except (RequestRefused, EndpointUnreachable) as error:
            self.log.warning("%s", error)

    def outcome(self, job: Job) -> dict[str, Any]:
        """Return the outcome of a finished job, its checkpoints fetched.

        :raises EndpointUnreachable: they could not be fetched just now, and the job has ended within the last hour.
        """
        try:
            with explained(f"list the checkpoints of fine-tuning job {self.job_id}"):
                checkpoints = self.hook.list_checkpoints(self.job_id)
        except (RequestRefused, EndpointUnreachable) as error:
            recent = abs(time.time() - (job.finished_at or 0)) < CHECKPOINTS_SECONDS
            if recent and isinstance(error, EndpointUnreachable):
                raise
            self.log.warning("Going on without checkpoints: %s", error)
            checkpoints = []
        return outcome(job, checkpoint_rows(map(payload, checkpoints)))
