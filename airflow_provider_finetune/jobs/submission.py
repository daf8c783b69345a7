"""Creating a job exactly once: the whole protocol as a generator that asks for one action at a time.

A create request cannot be made idempotent: the API has no idempotency key, an answer can be lost, and a worker can die
or stall between any two steps. What the API offers are fields that a job keeps. Every job carries its submission's key
in the metadata, and a seed derived from it, and whoever is not certain that no such job exists looks for it in the job
list. Where an endpoint keeps neither, nothing tells a job of this submission from a similar one: then the attempt ends
unsettled, with the names of the jobs it may be, and creates nothing.

One assumption: **a created job shows in the list within** ``list_lag`` **seconds of the end of the request that created
it.** From it follows, for attempts (executions of one task, which overlap when an older one is not really dead):

- An attempt that is not the first watches the list for ``list_lag`` before it creates. So whatever an earlier attempt
  created before this one began is seen and taken over.
- An attempt *in doubt* watches the list for ``list_lag`` after its own create. So it sees every job older than its
  own, and takes the oldest. In doubt is every attempt but a first attempt whose answer came within ``list_lag`` of its
  start: no later attempt can have created anything by then, since it would still be watching. An ordinary first
  attempt thus pays one look, and no waiting; should the look fail, it goes on all the same.
- A found job is trusted when it has been in sight for ``list_lag``: by then every older one would be in sight too.

So all attempts agree on the oldest job, and only jobs that nobody took are cancelled. What no client can prevent: an
attempt that outlives its successor, creates then, and dies before it can look; its job carries our metadata, but nobody
is left to look for it.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.actions import (
    Action,
    Cancel,
    Create,
    Note,
    Recall,
    Remember,
    Retrieve,
    Search,
    Sleep,
)
from airflow_provider_finetune.jobs.attempt import Attempt, Occupied, SubmissionFault, Submitted
from airflow_provider_finetune.jobs.comparison import changed_fields
from airflow_provider_finetune.jobs.duplicates import DEAD, newest_first, without_duplicates
from airflow_provider_finetune.jobs.fault import Fault, FaultKind, has_no_list, is_occupied
from airflow_provider_finetune.jobs.identity import Match, keeps_metadata, recognise
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable

#: Tries of one create, or of one look at the list, before the attempt gives up and leaves it to Airflow's retry.
MAX_TRIES = 4
#: A rate limit that asks for more patience than this, in seconds, is left to Airflow's retry too.
MAX_PATIENCE = 300.0
#: How far the endpoint's clock may be from ours, in seconds, where only the time tells which jobs came before.
CLOCK_SKEW = 300.0
#: What it means that an endpoint keeps nothing of what a job could be known by.
UNMARKED = (
    "Nothing there tells this task's job from a similar one. Should an answer get lost, the task fails and names the "
    "jobs it may be; only Airflow's task state store (3.3 and later) spares a retry that, once it knows the job."
)


class _NotRead(SubmissionFault):
    """The endpoint could not be read."""


Protocol = Generator[Action, Any, Submitted]


def submit(attempt: Attempt, clock: Callable[[], float]) -> Protocol:
    """Create the job of a submission, or find the one that exists; return it.

    :param attempt: who asks.
    :param clock: the current time in seconds; must not jump.
    :raises SubmissionFault: the endpoint refused, or what became of a request could not be found out.
    :raises Occupied: nothing was created, because another job is running.
    """
    return (yield from _Run(attempt, clock).run())


class _Run:
    def __init__(self, attempt: Attempt, clock: Callable[[], float]) -> None:
        self.attempt = attempt
        self.clock = clock
        self.lag = attempt.list_lag
        self.marks = attempt.marks
        #: The marks that the endpoint refuses.
        self.without: frozenset[str] = frozenset()
        self.metadata_is_kept = attempt.metadata_is_kept
        self.first_seen: dict[str, float] = {}
        self.buried: set[str] = set()
        self.told: set[str] = set()
        self.cancelled: set[str] = set()
        self.uncertain = not attempt.first
        #: From when on, epoch seconds, a job may exist of which this attempt does not know; None while none can.
        self.since = None if attempt.first or attempt.has_store else attempt.since
        #: Jobs without a mark that are somebody else's for certain, and those that may be this submission's.
        self.not_ours = set(attempt.foreign_job_ids)
        self.has_looked_before = False
        self.doubtful: tuple[Job, ...] = ()
        #: Jobs that carry this submission's metadata and train something else.
        self.strange: list[Job] = []
        #: Jobs of others that were alive at the last look.
        self.others: list[Job] = []
        self.taken_over = False

    def run(self) -> Protocol:
        record: dict[str, str] = (yield Recall()) or {}
        named = self.attempt.existing_job_id or (record.get("job_id") if record.get("named") else None)
        if named and (submitted := (yield from self._take_named(named))):
            return submitted
        remembered = yield from self._recall(record)
        if self.uncertain:
            yield Note(
                f"An earlier attempt of this task may have created a fine-tuning job: looking for it for {self.lag:g} "
                "s, as long as a new job may be missing from the endpoint's list."
            )
        found = yield from self._watch(self.clock() + (self.lag if self.uncertain else 0.0), known=remembered)
        if found is not None and found.status in DEAD:
            found = None  # it ended while this attempt looked on: cleared while deferred, for example
        for _ in range(MAX_TRIES):
            if found is not None:
                return (yield from self._take(found))
            try:
                created = yield from self._create()
            except (SubmissionFault, Occupied):
                if self.since is None:  # refused: a later attempt need not look for anything
                    yield from self._remember(None)
                raise
            if isinstance(created, Submitted):
                return created
            yield from self._remember(created)
            yield from self._check_marks(created)
            in_doubt = self.uncertain or self.clock() - self.attempt.started >= self.lag
            if in_doubt:
                yield Note(
                    f"Created fine-tuning job {created.id}; looking for {self.lag:g} s whether another attempt of this "
                    "task has created one too."
                )
            try:
                found = yield from self._watch(self.clock() + (self.lag if in_doubt else 0.0), known=created)
            except _NotRead as unread:
                if in_doubt and not has_no_list(unread.fault):
                    raise
                yield Note(f"Could not {unread.doing}; going on with {created.id}, which has just been created.")
                found = created
            if found is not None and found.id == created.id:
                return Submitted(created, created=True)
            self.uncertain = self.taken_over = True
        raise SubmissionFault("settle on one fine-tuning job: others keep creating and ending", unsettled=True)

    # -- looking

    def _recall(self, record: dict[str, str]) -> Generator[Action, Any, Job | None]:
        """Return the job that an earlier attempt has remembered, or take up what it was about to do."""
        job_id = record.get("job_id")
        if record.get("submission") != self.marks.submission or record.get("fingerprint") != self.marks.fingerprint:
            if job_id:
                self.not_ours.add(job_id)
                if record.get("submission") == self.marks.submission:
                    earlier = yield Retrieve(job_id)
                    yield from self._tell_changed(job_id, earlier if isinstance(earlier, Job) else None)
            return None
        if "since" in record:
            self.since = float(record["since"])
            for mark in sorted({"metadata", "seed"} - set(record["marks"].split())):
                self._leave_out(mark)
        if job_id is None:
            return None
        doing = f"retrieve fine-tuning job {job_id}"
        job: Job | None = yield from self._ask(Retrieve(job_id), doing, missing_ok=True)
        return None if job is None or job.status in DEAD else job

    def _watch(self, until: float, *, known: Job | None = None) -> Generator[Action, Any, Job | None]:
        """Look at the list until ``until``; return the oldest job, which others would take too, and cancel the rest.

        :param known: a job that is known to exist, whether or not the list shows it.
        """
        while True:
            asked = self.clock()
            listed = yield from self._list()
            jobs = yield from self._same_request(listed, known)
            now = self.clock()
            if known is None:
                self.buried |= {job.id for job in jobs if job.status in DEAD}
            rightful = without_duplicates(jobs, known, self.buried)
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

    def _list(self) -> Generator[Action, Any, list[Job]]:
        since = self._epoch() if self.since is None else self.since
        search = Search(unmarked=not self.metadata_is_kept, since=since - CLOCK_SKEW)
        try:
            listed: list[Job] = yield from self._ask(search, "look for the job in the endpoint's list")
        except _NotRead as unread:
            if self.since is not None or not has_no_list(unread.fault):
                raise
            return []  # an endpoint without a list: nothing can be there yet, so the first job is created all the same
        return listed

    def _same_request(self, listed: list[Job], known: Job | None) -> Generator[Action, Any, list[Job]]:
        """Return this submission's jobs for this very request, oldest first."""
        jobs: list[Job] = []
        doubtful: list[Job] = []
        strange: list[Job] = []
        self.others = []
        for job in sorted(listed, key=newest_first):
            match = recognise(job, self.marks)
            if match is Match.OURS or (known is not None and job.id == known.id):
                jobs.append(job)
            elif job.status not in TERMINAL | DEAD:
                self.others.append(job)
                if match is Match.CHANGED:
                    yield from self._tell_changed(job.id, job)
            if match in (Match.DOUBTFUL, Match.STRANGE) and job not in jobs and job.status not in DEAD:
                (doubtful if match is Match.DOUBTFUL else strange).append(job)
        self._sort_out(doubtful, strange)
        if known is not None and all(job.id != known.id for job in jobs):
            jobs.insert(sum(newest_first(job) < newest_first(known) for job in jobs), known)
        return jobs[::-1]

    def _sort_out(self, doubtful: list[Job], strange: list[Job]) -> None:
        """Tell the jobs that may be this submission's from those that cannot, though neither shows a mark."""
        if self.since is None:
            self.has_looked_before = True
            self.not_ours |= {job.id for job in (*doubtful, *strange)}
        self.strange = [job for job in strange if job.id not in self.not_ours]
        # Only where nobody has looked before does the endpoint's time have to tell what was there already.
        begin = 0.0 if self.has_looked_before else (self.since or 0.0) - CLOCK_SKEW
        unknown = (job for job in doubtful if job.id not in self.not_ours and not self.metadata_is_kept)
        self.doubtful = tuple(job for job in unknown if job.created_at is None or job.created_at >= begin)

    def _tell_changed(self, job_id: str, job: Job | None) -> Generator[Action, Any, None]:
        """Say in what the request differs from that of an earlier job: by name, for a value may be secret."""
        if job_id in self.told:
            return
        self.told.add(job_id)
        request = self.attempt.request
        changed = changed_fields(request, job) if request is not None and job is not None else []
        what = f"it differs in {', '.join(changed)}" if changed else "the endpoint does not show in what"
        costs = job is not None and job.status not in TERMINAL | DEAD
        yield Note(
            f"The request has changed since {job_id} was created for this task: {what}. {job_id} is left as it is, and "
            f"the changed request gets a job of its own.{' Cancel the older one if nobody needs it.' if costs else ''}",
            warning=True,
        )

    # -- acting

    def _create(self) -> Generator[Action, Any, Job | Submitted]:
        doing = "create the fine-tuning job"
        tries = 0
        while True:
            if self.doubtful:
                raise SubmissionFault("tell which job is this task's", unsettled=True, candidates=self.doubtful)
            if self.strange:
                raise SubmissionFault(self._who_is(self.strange[0]))
            began = self._epoch()
            yield from self._remember(None, since=began)
            answer = yield Create(self.without)
            if isinstance(answer, Job):
                self.since = self.since or began
                return answer
            fault: Fault = answer
            patience = 0.0
            if (mark := self._refused_mark(fault)) is not None:
                yield Note(f"{fault.explain(doing)} {self._leave_out(mark)}", warning=True)
            elif fault.kind is FaultKind.REFUSED:
                raise SubmissionFault(doing, fault)
            else:
                tries += 1
                if is_occupied(fault, one_at_a_time=self.attempt.one_at_a_time):
                    fault = replace(fault, kind=FaultKind.BUSY)
                    if ours := (yield from self._look_for_room()):
                        return ours
                if fault.kind is FaultKind.LOST:
                    self.since = self.since or began
                    patience = self.lag
                    yield Note(f"{fault.explain(doing)} It may exist all the same; looking for it.", warning=True)
                else:
                    yield from self._back_off(fault, doing, tries)
            # Even after a clean refusal another attempt may have come in between: no create without a look just before.
            found = yield from self._watch(self.clock() + patience)
            if found is not None:
                self.taken_over = True
                return (yield from self._take(found))
            if tries == MAX_TRIES and not self.doubtful:
                raise SubmissionFault(doing, fault, unsettled=fault.kind is FaultKind.LOST)

    def _who_is(self, job: Job) -> str:
        return (
            f"Fine-tuning job {job.id} carries the metadata of this task, but trains {job.model} on "
            f"{job.training_file}, where {self.marks.model} on {self.marks.training_file} was asked for. Nothing was "
            f"created, and nothing cancelled.\nIf it is this task's job all the same, set existing_job_id={job.id!r}; "
            f"if it is somebody else's, set foreign_job_ids={[job.id]!r}. Then clear the task."
        )

    def _back_off(self, fault: Fault, doing: str, tries: int) -> Generator[Action, Any, None]:
        wait = fault.retry_after if fault.retry_after is not None else 2.0**tries
        if tries == MAX_TRIES or wait > MAX_PATIENCE:
            raise SubmissionFault(doing, fault)
        yield Note(f"{fault.explain(doing)} Trying again in {wait:.0f} s.")
        yield Sleep(wait)

    def _look_for_room(self) -> Generator[Action, Any, Submitted | None]:
        """Find out who holds the endpoint: this submission's own job, which is taken, or somebody else's.

        :raises Occupied: it is somebody else's.
        """
        self.metadata_is_kept = False  # all jobs are to be seen
        found = yield from self._watch(self.clock())
        if found is not None:
            self.taken_over = True
            return (yield from self._take(found))
        if self.others and self.since is None:
            # The job that was created first is the one that runs.
            raise Occupied(self.others[-1])
        return None

    def _refused_mark(self, fault: Fault) -> str | None:
        """Return the mark of ours that the endpoint refuses; None when the refusal is about something else."""
        if fault.status not in (400, 422):
            return None
        said = f"{fault.param} {fault.message}".lower()
        ours = {"metadata", "seed"} if self.marks.derived else {"metadata"}
        return next((mark for mark in sorted(ours - self.without) if re.search(rf"\b{mark}\b", said)), None)

    def _leave_out(self, mark: str) -> str:
        """Go on without a mark that the endpoint refuses; return what that costs, for people."""
        self.without |= {mark}
        if mark == "seed":
            self.marks = self.marks._replace(seed=None, derived=False)
        left = f"Asking again without the provider's {mark}. "
        if "metadata" not in self.without:
            return left + "Another run of the same task trains with another seed."
        if self.marks.derived:
            return left + f"A retry knows the job by its seed, {self.marks.seed}."
        return left + UNMARKED

    def _take(self, job: Job) -> Protocol:
        # A job that turned up after our own create belongs to this attempt, even if its answer was lost.
        if self.attempt.if_exists == "fail" and not self.taken_over:
            raise SubmissionFault(
                f"This task already has fine-tuning job {job.id} ({job.status}) and if_exists is 'fail'. "
                "Use if_exists='reuse' to go on with it, or 'new' to create another when the task is cleared."
            )
        going_on = f"Going on with fine-tuning job {job.id} ({job.status}), created earlier for this task."
        if self.attempt.if_exists == "reuse" and not self.taken_over:
            going_on += "\nFor a new job, set if_exists='new' and clear the task."
        yield Note(going_on)
        yield from self._remember(job)
        return Submitted(job, created=False)

    def _take_named(self, job_id: str) -> Generator[Action, Any, Submitted | None]:
        """Return the job that the user says is this submission's; None when it has ended without a model."""
        doing = f"retrieve fine-tuning job {job_id}, the existing_job_id"
        job: Job | None = yield from self._ask(Retrieve(job_id), doing, missing_ok=True)
        if job is None:
            raise SubmissionFault(f"existing_job_id is {job_id}, which the endpoint does not know.")
        if job.training_file and job.training_file != self.marks.training_file:
            raise SubmissionFault(
                f"existing_job_id is {job_id}, which trains on {job.training_file} and not on "
                f"{self.marks.training_file}. Name a job of this request, or none."
            )
        if job.status in DEAD:
            self.not_ours.add(job_id)
            yield Note(f"{job_id}, the existing_job_id, is {job.status}; going on without it.", warning=True)
            return None
        yield Note(f"Going on with fine-tuning job {job_id} ({job.status}), the existing_job_id.")
        yield from self._remember(job, named="yes")
        return Submitted(job, created=False)

    def _check_marks(self, created: Job) -> Generator[Action, Any, None]:
        """Say so when the endpoint has not kept all that the job would be found by."""
        if recognise(created, self.marks) is Match.STRANGE:
            yield Note(
                f"Asked for {self.marks.model} on {self.marks.training_file}, the endpoint shows {created.id} as "
                f"{created.model} on {created.training_file}.",
                warning=True,
            )
            # Then it does so with all of this submission's jobs.
            self.marks = self.marks._replace(model=created.model or "", training_file=created.training_file or "")
        if keeps_metadata(created, self.marks):
            self.metadata_is_kept = True
            return
        if recognise(created, self.marks) is Match.OURS:
            yield Note(
                f"The endpoint does not keep the metadata of {created.id}; a retry knows the job by its seed, "
                f"{created.seed}."
            )
        elif self.marks.derived or "metadata" not in self.without:  # else it has been said already
            yield Note(f"The endpoint does not keep the metadata of {created.id}. {UNMARKED}", warning=True)
            if self.marks.derived:  # what it shows for a seed is not what it was asked for
                self.marks = self.marks._replace(seed=None, derived=False)

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
                raise SubmissionFault(f"cancel the duplicate fine-tuning job {job.id}", answer, unsettled=True)
            self.cancelled.add(job.id)

    def _remember(
        self, job: Job | None, *, since: float | None = None, named: str | None = None
    ) -> Generator[Action, Any, None]:
        """Keep what a later attempt has to know: the job, or from when on one may exist, and with what marks."""
        record = {"submission": self.marks.submission, "fingerprint": self.marks.fingerprint}
        if job is not None:
            record["job_id"] = job.id
        if since is not None:
            record["since"] = str(int(since if self.since is None else self.since))
            record["marks"] = " ".join(sorted({"metadata", "seed"} - self.without))
        if named is not None:
            record["named"] = named
        yield Remember(record)

    def _epoch(self) -> float:
        return self.attempt.epoch + self.clock() - self.attempt.started

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
        raise _NotRead(doing, answer, unsettled=self.since is not None)
