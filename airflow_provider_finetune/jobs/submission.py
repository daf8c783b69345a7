"""Creating a job exactly once: the whole protocol as a generator that asks for one action at a time.

A create request cannot be made idempotent: the API has no idempotency key, an answer can be lost, and a worker can die
or stall between any two steps. What the API offers is metadata. Every job carries its submission's key, and whoever is
not certain that no such job exists looks for it in the job list.

One assumption: **a created job shows in the list within** ``list_lag`` **seconds of the end of the request that created
it.** From it follows, for attempts (tries of one task, possibly overlapping because an older one is not really dead):

- An attempt that is not the first watches the list for ``list_lag`` before it creates. So whatever an earlier attempt
  created before this one began is seen and taken over.
- An attempt *in doubt* watches the list for ``list_lag`` after its own create. So it sees every job older than its
  own, and takes the oldest. In doubt is every attempt but a first try whose answer came within ``list_lag`` of its
  start: no later attempt can have created anything by then, since it would still be watching. The ordinary first try
  thus pays one look, and no waiting; should the look fail, it goes on all the same.
- A found job is trusted when it has been in sight for ``list_lag``: by then every older one would be in sight too.

So all attempts agree on the oldest job, and only jobs that nobody took are cancelled. What no client can prevent: an
attempt that outlives its successor, creates then, and dies before it can look; its job carries our metadata, but nobody
is left to look for it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.identity import FINGERPRINT_KEY
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

IfExists = Literal["reuse", "fail", "new"]

#: Tries of one create, or of one look at the list, before the attempt gives up and leaves it to Airflow's retry.
MAX_TRIES = 4
#: A rate limit that asks for more patience than this, in seconds, is left to Airflow's retry too.
MAX_PATIENCE = 300.0
#: A job in one of these is not gone on with: it has ended without a model, or will.
DEAD = (TERMINAL - {"succeeded"}) | {"cancelling"}


@dataclass(frozen=True, slots=True)
class Recall:
    """Asks the task state store for the record of an earlier attempt. Answer: the record or None."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Asks the task state store to keep the record. Answer: ignored."""

    record: dict[str, str]


@dataclass(frozen=True, slots=True)
class Search:
    """Asks the endpoint for this submission's jobs, newest first. Answer: list of jobs, or a fault."""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Asks the endpoint for one job. Answer: the job, or a fault."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Create:
    """Asks the endpoint to create the job, once. Answer: the job, or a fault."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Asks for a superfluous job to be cancelled. Answer: the job as it is then, or a fault."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Asks to wait. Answer: ignored."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Tells people something. Answer: ignored."""

    message: str
    warning: bool = False


Action = Recall | Remember | Search | Retrieve | Create | Cancel | Sleep | Note


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the protocol must know of the attempt that runs it. Times are seconds of the clock that is passed in.

    :param submission: key of the submission.
    :param fingerprint: fingerprint of the request.
    :param first: whether no other attempt can have run before this one began.
    :param started: when the attempt began.
    :param list_lag: how long after its creation a job may be missing from the list.
    """

    submission: str
    fingerprint: str
    first: bool
    started: float
    list_lag: float = 10.0
    if_exists: IfExists = "reuse"


@dataclass(frozen=True, slots=True)
class Submitted:
    """The one job of a submission. ``created`` tells whether this attempt created it."""

    job: Job
    created: bool


class SubmissionFault(Exception):
    """The submission could not be settled.

    :param doing: what failed.
    :param fault: why; None when an existing job stands in the way.
    :param unsettled: whether a job may exist that is not known.
    """

    def __init__(self, doing: str, fault: Fault | None = None, *, unsettled: bool = False) -> None:
        super().__init__(doing)
        self.doing = doing
        self.fault = fault
        self.unsettled = unsettled


class _NotRead(SubmissionFault):
    """The endpoint could not be read."""


Protocol = Generator[Action, Any, Submitted]


def submit(attempt: Attempt, clock: Callable[[], float]) -> Protocol:
    """Bring the submission to exactly one job; return it.

    :param attempt: who asks.
    :param clock: the current time in seconds; must not jump.
    :raises SubmissionFault: the endpoint refused, or what became of a request could not be found out.
    """
    return (yield from _Run(attempt, clock).run())


def _newest_first(job: Job) -> int:
    # Within one second only the order of the list tells which is older; sorting by this keeps it.
    return -(job.created_at or 0)


def _rightful(jobs: list[Job], own: Job | None, buried: Collection[str]) -> list[Job]:
    """Return the jobs without the doubles: those created while a rightful one was alive.

    Whoever sees both alive cancels the double, so one that has outlived the rightful job is not safe to take either.

    :param jobs: the jobs of one request, oldest first.
    :param own: the job that this attempt has created.
    :param buried: the jobs that were dead before: whatever the server says of the time at which they ended.
    """
    rightful: list[Job] = []
    for job in jobs:
        before = rightful[-1] if rightful else None
        if before is None or (before.status in DEAD and _ended_before(before, job, own, buried)):
            rightful.append(job)
    return rightful


def _ended_before(before: Job, job: Job, own: Job | None, buried: Collection[str]) -> bool:
    if own is not None and job.id == own.id and before.id in buried:
        return True
    # A cancelled job may be wound down, and stamped, long after it was seen to be cancelled.
    return before.status != "failed" or (before.finished_at or 0) <= (job.created_at or 0)


class _Run:
    def __init__(self, attempt: Attempt, clock: Callable[[], float]) -> None:
        self.attempt = attempt
        self.clock = clock
        self.lag = attempt.list_lag
        self.first_seen: dict[str, float] = {}
        self.buried: set[str] = set()
        self.told: set[str] = set()
        self.cancelled: set[str] = set()
        self.uncertain = not attempt.first
        self.may_exist = not attempt.first
        self.taken_over = False

    def run(self) -> Protocol:
        remembered = yield from self._recall()
        found = yield from self._watch(self.clock() + (self.lag if self.uncertain else 0.0), known=remembered)
        if found is not None and found.status in DEAD:
            found = None  # it ended while this attempt looked on: cleared while deferred, for example
        for _ in range(MAX_TRIES):
            if found is not None:
                return (yield from self._take(found))
            created = yield from self._create()
            if isinstance(created, Submitted):
                return created
            yield from self._check_metadata(created)
            in_doubt = self.uncertain or self.clock() - self.attempt.started >= self.lag
            try:
                found = yield from self._watch(self.clock() + (self.lag if in_doubt else 0.0), known=created)
            except _NotRead as unread:
                if in_doubt:
                    raise
                yield Note(f"Could not {unread.doing}; going on with {created.id}, which has just been created.")
                found = created
            if found is not None and found.id == created.id:
                yield from self._remember(created)
                return Submitted(created, created=True)
            self.uncertain = self.taken_over = True
        raise SubmissionFault("settle on one fine-tuning job: others keep creating and ending", unsettled=True)

    # -- looking

    def _recall(self) -> Generator[Action, Any, Job | None]:
        record = yield Recall()
        if not record or record.get("submission") != self.attempt.submission:
            return None
        if record.get("fingerprint") != self.attempt.fingerprint:
            yield from self._tell_changed(record["job_id"])
            return None
        job: Job | None = yield from self._ask(
            Retrieve(record["job_id"]), f"retrieve fine-tuning job {record['job_id']}", missing_ok=True
        )
        if job is None or job.status in DEAD:
            return None
        return job

    def _watch(self, until: float, *, known: Job | None = None) -> Generator[Action, Any, Job | None]:
        """Look at the list until ``until``; return the oldest job, which others would take too, and cancel the rest.

        :param known: a job that is known to exist, whether or not the list shows it.
        """
        while True:
            asked = self.clock()
            listed = yield from self._ask(Search(), "look for the job in the endpoint's list")
            jobs = yield from self._same_request(listed, known)
            now = self.clock()
            if known is None:
                self.buried |= {job.id for job in jobs if job.status in DEAD}
            rightful = _rightful(jobs, known, self.buried)
            oldest = rightful[-1] if rightful and rightful[-1].status not in DEAD else None
            if oldest is not None and (known is None or oldest.id != known.id):
                # Older jobs than one that has only just come into sight may be about to follow.
                until = max(until, self.first_seen.setdefault(oldest.id, now) + self.lag)
            if known is not None and oldest is not None and (known.created_at or 0) > (oldest.created_at or 0):
                # At once: whoever has outlived a successor may be about to be killed, before the watch ends.
                yield from self._cancel_but(oldest, [job for job in jobs if job.id == known.id])
            # An answer that was slow to come shows the list as it was some time after the question, no later.
            if asked >= until:
                break
            yield Sleep(max(0.0, min(max(self.lag / 4, 0.5), until - now)))
        yield from self._cancel_but(oldest, jobs)
        if oldest is None and known is not None:
            # A job that has ended already is this submission's job all the same: its failure is the answer.
            return next((job for job in rightful if job.id == known.id), None)
        return oldest

    def _same_request(self, listed: list[Job], known: Job | None) -> Generator[Action, Any, list[Job]]:
        """Return this submission's jobs for this very request, oldest first."""
        jobs: list[Job] = []
        for job in sorted(listed, key=_newest_first):
            if (job.metadata or {}).get(FINGERPRINT_KEY) == self.attempt.fingerprint:
                jobs.append(job)
            elif job.status not in DEAD:
                yield from self._tell_changed(job.id)
        if known is not None and all(job.id != known.id for job in jobs):
            jobs.insert(sum(_newest_first(job) < _newest_first(known) for job in jobs), known)
        return jobs[::-1]

    def _tell_changed(self, job_id: str) -> Generator[Action, Any, None]:
        if job_id not in self.told:
            self.told.add(job_id)
            yield Note(
                f"The request has changed since {job_id} was created for this task; {job_id} is left as it is, and the "
                "changed request gets a job of its own.",
                warning=True,
            )

    # -- acting

    def _create(self) -> Generator[Action, Any, Job | Submitted]:
        doing = "create the fine-tuning job"
        for number in range(1, MAX_TRIES + 1):
            self.may_exist = True
            answer = yield Create()
            if isinstance(answer, Job):
                return answer
            fault: Fault = answer
            if fault.kind is FaultKind.REFUSED:
                raise SubmissionFault(doing, fault)
            if fault.kind is FaultKind.LOST:
                yield Note(f"{fault.explain(doing)} It may exist all the same; looking for it.", warning=True)
                wait = self.lag
            else:
                wait = fault.retry_after if fault.retry_after is not None else 2.0**number
                if number == MAX_TRIES or wait > MAX_PATIENCE:
                    break
                yield Note(f"{fault.explain(doing)} Trying again in {wait:.0f} s.")
                yield Sleep(wait)
                wait = 0.0
            # Even after a clean refusal another attempt may have come in between: no create without a look just before.
            found = yield from self._watch(self.clock() + wait)
            if found is not None:
                self.taken_over = True
                return (yield from self._take(found))
        raise SubmissionFault(doing, fault, unsettled=fault.kind is FaultKind.LOST)

    def _take(self, job: Job) -> Protocol:
        # A job that turned up after our own create belongs to this try, even if its answer was lost.
        if self.attempt.if_exists == "fail" and not self.taken_over:
            raise SubmissionFault(
                f"This task already has fine-tuning job {job.id} ({job.status}) and if_exists is 'fail'. "
                "Use if_exists='reuse' to go on with it, or 'new' to create another when the task is cleared."
            )
        yield Note(f"Going on with fine-tuning job {job.id} ({job.status}), created earlier for this task.")
        yield from self._remember(job)
        return Submitted(job, created=False)

    def _check_metadata(self, created: Job) -> Generator[Action, Any, None]:
        """Warn, and remember the job at once, when the endpoint has not kept what it would be found by."""
        if (created.metadata or {}).get(FINGERPRINT_KEY) != self.attempt.fingerprint:
            yield Note(
                f"The endpoint does not keep the metadata of {created.id}. If this task is tried again, only Airflow's "
                "task state store (3.3 and later) tells of the job; without it, another try creates another job.",
                warning=True,
            )
            yield from self._remember(created)

    def _cancel_but(self, rightful: Job | None, jobs: list[Job]) -> Generator[Action, Any, None]:
        for job in jobs:
            if job is rightful or job.status in TERMINAL | DEAD or job.id in self.cancelled:
                continue
            yield Note(f"Cancelling {job.id}: another attempt created a job for this task earlier.", warning=True)
            answer = yield Cancel(job.id)
            if isinstance(answer, Fault) and answer.status == 404:  # gone, or not there yet
                yield Sleep(self.lag)
                answer = yield Cancel(job.id)
            if isinstance(answer, Fault) and answer.status != 404:
                raise SubmissionFault(f"cancel the superfluous fine-tuning job {job.id}", answer, unsettled=True)
            self.cancelled.add(job.id)

    def _remember(self, job: Job) -> Generator[Action, Any, None]:
        yield Remember(
            {"submission": self.attempt.submission, "fingerprint": self.attempt.fingerprint, "job_id": job.id}
        )

    def _ask(self, action: Action, doing: str, *, missing_ok: bool = False) -> Generator[Action, Any, Any]:
        """Return the answer to a reading action, trying again for a while: "could not read" is not "absent"."""
        for number in range(1, MAX_TRIES + 1):
            answer = yield action
            if not isinstance(answer, Fault):
                return answer
            if missing_ok and answer.status == 404:
                return None
            if answer.kind is FaultKind.REFUSED:
                break
            if number < MAX_TRIES:
                yield Sleep(min(2.0**number if answer.retry_after is None else answer.retry_after, MAX_PATIENCE))
        raise _NotRead(doing, answer, unsettled=self.may_exist)
