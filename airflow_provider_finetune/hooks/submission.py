"""Carries out the submission protocol: turns its actions into calls of the API and of Airflow's task state store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import EndpointOccupied, RequestRefused, SubmissionUnsettled
from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, error_for, fault_of, not_the_apis, payload
from airflow_provider_finetune.jobs import actions
from airflow_provider_finetune.jobs.attempt import Attempt, Occupied, SubmissionFault, Submitted
from airflow_provider_finetune.jobs.identity import SUBMISSION_KEY, Match, recognise
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.status import TERMINAL
from airflow_provider_finetune.jobs.submission import submit

if TYPE_CHECKING:
    import logging

    from airflow_provider_finetune.exceptions import FineTuningError
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.jobs.fault import Fault

STORE_KEY = "fine_tuning_job"


class JobSubmission:
    """Brings one request to exactly one job.

    :param hook: the endpoint.
    :param body: arguments of ``jobs.create``, as the user gives them.
    :param own: arguments that the provider adds to know the job again, by name: ``metadata`` (the user's pairs among
        them) and ``seed``. One that the endpoint refuses is left out.
    :param attempt: who asks.
    :param store: Airflow's task state store (3.3 and later), or None.
    """

    def __init__(
        self,
        hook: FineTuningHook,
        body: dict[str, Any],
        own: dict[str, Any],
        attempt: Attempt,
        store: Any | None,
        log: logging.Logger,
    ) -> None:
        self.hook = hook
        self.body = body
        self.own = own
        self.attempt = attempt
        self.store = store
        self.log = log
        #: Set when the task is being stopped, by whomever: nothing is created from then on.
        self.stopping = False
        #: Set when a person has killed the task: whatever turns up is cancelled.
        self.abandoned = False
        self._may_be_creating = False
        self._known: list[str] = []

    def run(self) -> Submitted:
        """Return the one job of the submission.

        :raises RequestRefused: the endpoint refused, or ``if_exists`` is ``"fail"`` and there is a job.
        :raises EndpointUnreachable: nothing was created; a retry may create the job.
        :raises SubmissionUnsettled: something may have been created; a retry finds out, or a person.
        :raises EndpointOccupied: nothing was created; a retry may, once the job that holds the endpoint has ended.
        """
        steps = submit(self.attempt, time.monotonic)
        answer: object = None
        try:
            while True:
                answer = self._carry_out(steps.send(answer))
        except StopIteration as stop:
            submitted: Submitted = stop.value
            self._known.append(submitted.job.id)
            return submitted
        except SubmissionFault as fault:
            raise _error(fault, self.hook) from None
        except Occupied as occupied:
            raise EndpointOccupied(
                "The endpoint runs one fine-tuning job at a time, and another one is running: nothing was created.",
                occupied.job.id,
            ) from None

    def _carry_out(self, action: actions.Action) -> object:
        match action:
            case actions.Recall():
                return self.store.get(STORE_KEY) if self.store is not None else None
            case actions.Remember(record):
                if self.store is not None:
                    self.store.set(STORE_KEY, record)
            case actions.Note(message, warning):
                (self.log.warning if warning else self.log.info)("%s", message)
            case actions.Sleep(seconds):
                time.sleep(seconds)
            case _:
                return self._ask(action)
        return None

    def _ask(self, action: actions.Search | actions.Retrieve | actions.Create | actions.Cancel) -> object:
        try:
            match action:
                case actions.Search(unmarked, since):
                    return self._search(self.hook, unmarked, since)
                case actions.Retrieve(job_id):
                    return _job(self.hook.retrieve_job(job_id))
                case actions.Create(without):
                    return self._create(without)
                case actions.Cancel(job_id):
                    return self._cancel(job_id)
        except SDK_ERRORS as error:
            return fault_of(error)

    def _search(self, hook: FineTuningHook, unmarked: bool, since: float) -> list[Job]:
        """Return this submission's jobs by their metadata, and, where asked for, all others of that time."""
        found = hook.list_jobs({SUBMISSION_KEY: self.attempt.marks.submission})
        if unmarked:
            found = [*hook.list_jobs(since=since), *found]
        jobs = {job.id: job for job in map(Job.from_api, map(payload, found)) if job.id}
        return list(jobs.values())

    def _cancel(self, job_id: str) -> Job | Fault:
        """Cancel a job; whatever the answer, the job's status tells what came of it."""
        fault: Fault | None = None
        try:
            self.hook.cancel_job(job_id)
        except SDK_ERRORS as error:
            fault = fault_of(error)
        job = _job(self.hook.retrieve_job(job_id))
        return fault if fault is not None and job.status not in TERMINAL else job

    def abandon(self, hook: FineTuningHook) -> None:
        """Cancel the jobs of this submission, and one that is being created right now as soon as it shows.

        :param hook: a hook of the calling thread's own; an interrupted call may hold the other one's client.
        """
        self.stopping = self.abandoned = True
        until = time.monotonic() + self.attempt.list_lag
        cancelled: set[str] = set()
        while True:
            wanted = list(self._known)
            try:
                found = self._search(hook, unmarked=not self.attempt.metadata_is_kept, since=self.attempt.epoch)
                ours = (job for job in found if recognise(job, self.attempt.marks) is Match.OURS)
                wanted += [job.id for job in ours if job.status not in TERMINAL]
            except SDK_ERRORS as error:
                self.log.warning("%s", fault_of(error).explain("look for jobs to cancel"))
            for job_id in dict.fromkeys(wanted):
                if job_id not in cancelled and self._cancel_abandoned(hook, job_id):
                    cancelled.add(job_id)
            if not self._may_be_creating or time.monotonic() >= until:
                return
            time.sleep(0.5)

    def _create(self, without: frozenset[str]) -> Job:
        if self.stopping:
            raise SubmissionUnsettled("The task is being stopped; it creates no job any more.")
        self._may_be_creating = True  # and for good, if whatever ends this call is not an answer
        own = {name: value for name, value in self.own.items() if name not in without}
        job = _job(self.hook.create_job(**self.body | own))
        self._known.append(job.id)
        self._may_be_creating = False
        if self.abandoned:
            self._cancel_abandoned(self.hook, job.id)
            raise SubmissionUnsettled(f"The task was killed by a person while it created fine-tuning job {job.id}.")
        return job

    def _cancel_abandoned(self, hook: FineTuningHook, job_id: str) -> bool:
        self.log.warning("The task was killed by a person; cancelling fine-tuning job %s", job_id)
        try:
            hook.cancel_job(job_id)
        except SDK_ERRORS as error:
            self.log.warning("%s", fault_of(error).explain(f"cancel fine-tuning job {job_id}"))
            return False
        return True


def _job(answer: Any) -> Job:
    """Return the job that an answer shows.

    :raises openai.APIError: it shows none; what became of the request is not known then.
    """
    job = Job.from_api(payload(answer))
    if not job.id:
        raise not_the_apis()
    return job


def _error(failed: SubmissionFault, hook: FineTuningHook) -> FineTuningError:
    if failed.candidates:
        return SubmissionUnsettled(_which(failed.candidates))
    if failed.unsettled:
        why = failed.fault.explain(failed.doing) if failed.fault else f"Could not {failed.doing}."
        return SubmissionUnsettled(
            f"{why} A job may exist all the same: a retry of this task looks for it first, and does not pay twice."
        )
    if failed.fault is None:
        return RequestRefused(failed.doing)
    return error_for(failed.fault, failed.doing, hook.endpoint)


def _which(candidates: tuple[Job, ...]) -> str:
    listed = ", ".join(
        f"{job.id} ({job.status}"
        + (f", created {datetime.fromtimestamp(job.created_at, UTC):%Y-%m-%d %H:%M:%S} UTC)" if job.created_at else ")")
        for job in candidates
    )
    ids = [job.id for job in candidates]
    return (
        "A create request of this task may have taken effect, and the endpoint keeps nothing that tells whose job is "
        f"whose. These may be it, or somebody else's: {listed}. Nothing was cancelled, and nothing more was created.\n"
        f"If one of them is this task's, set existing_job_id={ids[0]!r} and clear the task: it goes on with that job.\n"
        f"If none is, set foreign_job_ids={ids!r} and clear the task: it creates a job."
    )
