"""Watching many jobs with few requests: when to look, at what, and what an answer means for the others.

Everything here is a decision; the clock is passed in and requests are carried out elsewhere. Times are seconds of one
clock that does not jump, except where "epoch" is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from airflow_provider_finetune.jobs.job import Job

PAGE = 100
#: Jobs due within this share of their interval are looked at together: one page costs as much as one job.
TOGETHER = 0.25
MAX_BACK_OFF = 60.0
WINDOW = 10.0
#: An endpoint whose list could not be read is asked for it again after so many seconds; sooner if it was only busy.
LIST_AGAIN = 3600.0
BUSY_LIST_AGAIN = 600.0


def interval(job: Job | None, poll_interval: float, epoch: float) -> float:
    """Return how long to wait before the next look at a job, in seconds.

    Sooner near its estimated finish, less often when it has been waiting in the queue for hours.

    :param job: the job as last seen; None when it has not been seen yet.
    :param poll_interval: what the user asked for, seconds.
    :param epoch: the current time, epoch seconds.
    """
    if job is None:
        return poll_interval
    if job.status == "running" and job.estimated_finish is not None:
        left = job.estimated_finish - epoch
        if 0 < left < poll_interval:
            return max(left, poll_interval / 4)
    if job.status == "queued" and job.created_at is not None:
        hours = (epoch - job.created_at) / 3600
        return poll_interval * min(max(1.0, hours), 4.0)
    return poll_interval


@dataclass(slots=True)
class Budget:
    """How many requests one endpoint gets: never more than ``per_minute`` in any minute.

    Kept as a tenth-minute window, so that a burst cannot use up a whole minute and stall what is urgent.
    """

    per_minute: int
    _sent: deque[float] = field(default_factory=deque)

    @property
    def per_window(self) -> int:
        return max(1, int(self.per_minute * WINDOW / 60))

    def wait(self, now: float) -> float:
        """Return how many seconds to wait before the next request may go out; 0 when it may now."""
        while self._sent and self._sent[0] + self.window <= now:
            self._sent.popleft()
        if len(self._sent) < self.per_window:
            return 0.0
        # Not the oldest: a sleep that ends a hair early leaves more of them than fit.
        return self._sent[-self.per_window] + self.window - now

    def spend(self, now: float) -> None:
        """Note that a request goes out."""
        self._sent.append(now)

    @property
    def window(self) -> float:
        """Length of the window in seconds: longer where not even one request fits into a tenth of a minute.

        A little longer still, since requests do not all take the same time to arrive.
        """
        return max(WINDOW, 60 / self.per_minute) + 0.1


def events_allowed(budget: Budget, status_requests: int, seconds: float) -> int:
    """Return how many jobs' events may be fetched after a round: status comes first, events get a share of the rest.

    :param status_requests: how many requests the round took.
    :param seconds: how long the round and the pause before it took.
    """
    return max(2, int(budget.per_minute / 60 * seconds / 4) - status_requests)


@dataclass(slots=True)
class BackOff:
    """Trouble with an endpoint, for all its jobs at once.

    :param failures: how many times in a row the endpoint has been found in trouble.
    :param until: when to ask again.
    """

    failures: int = 0
    until: float = 0.0
    _suspect: bool = False

    def failed(self, fault: Fault, now: float, jitter: float, *, one_of_many: bool, again: bool = False) -> bool:
        """Note a failed request; return whether the endpoint is in trouble, rather than a single job.

        :param jitter: a random number between 0 and 1.
        :param one_of_many: whether the request was about one job while others are watched too.
        :param again: whether that job could not be read the last time either, and others could since.
        """
        is_of_one = fault.kind is FaultKind.LOST and fault.retry_after is None and one_of_many and not self.failures
        if is_of_one and (again or not self._suspect):
            # Jobs that the server chokes on must not hold up the others; two in a row that it did not are the endpoint.
            self._suspect = self._suspect or not again
            return False
        self.failures += 1
        pause = min(MAX_BACK_OFF, 2.0 ** min(self.failures, 10)) * (0.5 + jitter / 2)
        self.until = now + max(pause, fault.retry_after or 0.0)
        return True

    def succeeded(self) -> bool:
        """Note a success; return whether it ends the trouble."""
        ended = self.failures > 0
        self.failures, self.until, self._suspect = 0, 0.0, False
        return ended


@dataclass(frozen=True, slots=True)
class ListPage:
    """Asks for a page of the job list, newest first. Answer: ``(jobs, has_more)`` or a fault.

    ``doubted``: the endpoint is known to answer, so that a fault is the list's own.
    """

    after: str | None = None
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Asks for one job. Answer: the job, or a fault."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Tells what a round found out about one job: what it is like now, or why it cannot be known."""

    job_id: str
    job: Job | None = None
    fault: Fault | None = None


@dataclass(slots=True)
class Watched:
    """A job that somebody waits for. ``created_at`` is epoch seconds, None as long as it is not known."""

    job_id: str
    poll_interval: float
    due: float
    job: Job | None = None
    failures: int = 0
    failed_at: float = 0.0

    def seen(self, job: Job, now: float, epoch: float, jitter: float) -> None:
        """Note the job's state and when to look again; the jitter, 0 to 1, is one for the whole round."""
        self.job = job
        self.failures = 0
        self.due = now + interval(job, self.poll_interval, epoch) * (0.9 + 0.2 * jitter)

    def unseen(self, now: float, jitter: float) -> None:
        """Note that this one job could not be read."""
        self.passed_over(now)
        self.due = now + self.poll_interval * min(2.0 ** (self.failures - 1), 8.0) * (0.9 + 0.2 * jitter)

    def passed_over(self, now: float) -> None:
        """Note that the endpoint seemed to be in trouble when this job was asked for: others come first next time.

        Else two jobs that the server chokes on would look like an outage for ever.
        """
        self.failures += 1
        self.failed_at = now

    @property
    def turn(self) -> tuple[int, float]:
        """Where the job stands in the queue of single retrievals: what could not be read comes last."""
        return self.failures, self.due


def due(watched: Iterable[Watched], now: float) -> list[Watched]:
    """Return the jobs to look at now: those that are due, and with them those that soon will be."""
    watched = list(watched)
    if not any(one.due <= now for one in watched):
        return []
    return [one for one in watched if one.due <= now + TOGETHER * one.poll_interval]


Round = Generator[ListPage | Retrieve | Seen, Any, float]


def look(wanted: Iterable[Watched], *, can_list: bool = True, in_trouble: bool = False) -> Round:
    """Look at the wanted jobs with the fewest requests; yield each request, and what it tells about each job.

    Pages of the list come first, no deeper than the oldest wanted job and only as long as they are worth their price;
    the rest is retrieved one by one. Jobs that a page shows without being wanted are told too: that is free.

    :param wanted: the jobs to look at.
    :param can_list: whether the endpoint can list jobs, as far as is known.
    :param in_trouble: whether the endpoint failed the last time. Then one job is retrieved first, which tells an
        endpoint that is down from one whose list alone is broken.
    :return: for how many seconds the list is not worth asking for.
    """
    left = {one.job_id: one for one in wanted}
    no_list = 0.0
    if in_trouble and can_list and len(left) > 1:
        job_id = min(left, key=lambda job_id: left[job_id].turn)
        answer = yield Retrieve(job_id)
        yield Seen(job_id, fault=answer) if isinstance(answer, Fault) else Seen(job_id, answer)
        if isinstance(answer, Fault) and answer.kind is not FaultKind.REFUSED:
            return no_list
        del left[job_id]
    after: str | None = None
    fruitless = 0
    while can_list and len(left) > 1:
        answer = yield ListPage(after, doubted=in_trouble)
        if isinstance(answer, Fault):
            if answer.kind is not FaultKind.REFUSED and not in_trouble:
                return no_list  # trouble of the whole endpoint: the back-off takes over
            if answer.kind is FaultKind.REFUSED and answer.status in (401, None):
                for job_id in left:
                    yield Seen(job_id, fault=answer)
                return no_list
            no_list = BUSY_LIST_AGAIN if answer.kind is FaultKind.BUSY else LIST_AGAIN
            break
        jobs, has_more = answer
        found = 0
        for job in jobs:
            found += left.pop(job.id, None) is not None
            yield Seen(job.id, job)
        fruitless += not found
        # Pages that find nothing may cost a quarter of what retrieving the rest would.
        if not has_more or not jobs or jobs[-1].id == after or fruitless > len(left) // 4:
            break
        if _is_past(jobs[-1], left.values()):
            break
        after = jobs[-1].id
    # A job that could not be read the last time comes last, so that it holds up nobody.
    for job_id in sorted(left, key=lambda job_id: left[job_id].turn):
        answer = yield Retrieve(job_id)
        yield Seen(job_id, fault=answer) if isinstance(answer, Fault) else Seen(job_id, answer)
    return no_list


def _is_past(last: Job, left: Iterable[Watched]) -> bool:
    """Return whether all that follows is older than every job still wanted."""
    return all(
        one.job is not None and one.job.created_at is not None and (last.created_at or 0) < one.job.created_at
        for one in left
    )


def worth_telling(before: Job | None, now: Job) -> bool:
    """Return whether whoever waits for the job should hear of its new state."""
    if before is None or now.status in TERMINAL:
        return True
    return (before.status, before.estimated_finish) != (now.status, now.estimated_finish)
