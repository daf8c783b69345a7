"""Random schedules of crashes, lost answers, lagging lists and overlapping attempts, over the pure protocol.

Endpoints keep all, some or none of the marks of a job, refuse one, show no list or strange times, and have jobs of
others beside ours. A person who is asked which job is the task's knows it.

Replay a failing schedule with ``SUBMISSION_SEED=<seed> pytest tests/jobs/test_submission_simulation.py``.
"""

from __future__ import annotations

import heapq
import os
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.jobs.actions import Cancel, Create, Note, Recall, Remember, Retrieve, Search, Sleep
from airflow_provider_finetune.jobs.attempt import Attempt, SubmissionFault, Submitted
from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.identity import FINGERPRINT_KEY, SUBMISSION_KEY, Marks
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.submission import submit

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEDULES = 20_000
#: Where nothing tells of a job and there is no list to look at, nobody tries for ever.
MOST_TRIES = 30
LOST, BUSY = Fault(FaultKind.LOST, status=None), Fault(FaultKind.BUSY, status=429, retry_after=1.0)


MARKS = Marks("s", "f", "model", "file-1", seed=7, derived=True)
REFUSED = {
    mark: Fault(FaultKind.REFUSED, 400, param=mark, message=f"Unknown field {mark}") for mark in ("metadata", "seed")
}


@dataclass(frozen=True)
class Habits:
    """How an endpoint differs: what it keeps and refuses, what its list shows, and how it tells the time."""

    keeps: frozenset[str] = frozenset({"metadata", "seed"})
    refuses: frozenset[str] = frozenset()
    list: str = "whole"
    time: str = "seconds"

    @classmethod
    def draw(cls, dice: random.Random) -> Habits:
        if dice.random() < 0.4:
            return cls()
        return cls(
            frozenset(dice.choice([["metadata", "seed"], ["metadata"], ["seed"], ["seed"], []])),
            frozenset(dice.choice([[], [], ["metadata"], ["seed"], ["metadata", "seed"]])),
            dice.choice(["whole", "whole", "whole", "empty", "missing"]),
            dice.choice(["seconds", "seconds", "milliseconds", "none", "equal"]),
        )

    @property
    def tell_jobs_apart(self) -> bool:
        return bool(self.keeps - self.refuses) and self.list == "whole"


@dataclass
class Endpoint:
    """A server whose list lags by up to ``lag`` seconds, a different time for each job and each look."""

    lag: float
    random: random.Random
    habits: Habits = field(default_factory=Habits)
    jobs: list[Job] = field(default_factory=list)
    created_at: dict[str, float] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)

    def create(self, now: float, without: frozenset[str] = frozenset()) -> Job | Fault:
        if refused := sorted(self.habits.refuses - without):
            return REFUSED[refused[0]]
        kept = self.habits.keeps - without
        metadata = {SUBMISSION_KEY: "s", FINGERPRINT_KEY: "f"} if "metadata" in kept else None
        return self.add(now, metadata=metadata, seed=MARKS.seed if "seed" in kept else None)

    def add(self, now: float, **marks: Any) -> Job:
        times = {"seconds": int(now) + 1_000_000, "milliseconds": (int(now) + 1_000_000) * 1000, "equal": 1_000_000}
        answer = {"id": f"ftjob-{len(self.jobs)}", "status": "running", "created_at": times.get(self.habits.time)}
        job = Job.from_api({**answer, "model": "model", "training_file": "file-1", **marks})
        self.jobs.append(job)
        self.created_at[job.id] = now
        return job

    def add_of_others(self, now: float) -> None:
        """Somebody else trains on the same file: by another provider, another task, or by hand."""
        seed = self.random.choice([8, 9, None]) if "seed" in self.habits.keeps else None
        self.foreign.add(self.add(now, seed=seed).id)

    def visible(self, now: float) -> list[Job] | Fault:
        if self.habits.list == "missing":
            return Fault(FaultKind.REFUSED, 404)
        if self.habits.list == "empty":
            return []
        return [
            job
            for job in reversed(self.jobs)
            if now >= self.created_at[job.id] + self.lag or self.random.random() < 0.3
        ]

    def set_status(self, job_id: str, status: str, now: float) -> Job:
        index = next(i for i, job in enumerate(self.jobs) if job.id == job_id)
        if self.jobs[index].status not in ("failed", "cancelled"):
            self.jobs[index] = replace(self.jobs[index], status=status, finished_at=int(now) + 1_000_000)
        return self.jobs[index]


@dataclass
class Try:
    """One attempt: the generator, how it fares, and whether a crash may hit it."""

    number: int
    protocol: object
    crash_chance: float
    taken: str | None = None
    ended: bool = False
    crashed_at: float | None = None
    last_create: float | None = None


class Simulation:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lag = self.random.choice([0.0, 2.0, 10.0])
        self.has_store = self.random.random() < 0.5
        self.lossy = self.random.choice([0.0, 0.1, 0.4])
        self.stalls = self.random.choice([0.0, 0.1, 0.3])
        # A request may be carried out after its sender has given up, or died; the rest of the lag is the list's.
        self.late_effect = self.random.choice([0.0, 0.5, 0.9])
        self.endpoint = Endpoint(self.lag * (1 - self.late_effect), self.random, Habits.draw(self.random))
        # Where all times are equal, nothing tells the duplicate of a failed job from its successor.
        timeless = self.endpoint.habits.time == "equal"
        self.jobs_fail = 0.0 if timeless else self.random.choice([0.0, 0.0, 0.1])
        self.crowded = self.random.choice([0.0, 0.0, 0.5])
        self.known_to_a_person: dict[str, Any] = {}
        self.store: dict[str, str] | None = None
        self.now = 0.0
        self.queue: list[tuple[float, int, object]] = []
        self.tries: list[Try] = []
        self.planned = self.random.randint(1, 4)
        self.crash_chance = self.random.choice([0.0, 0.05, 0.2])

    def at(self, time: float, what: object) -> None:
        heapq.heappush(self.queue, (time, self.random.getrandbits(62), what))

    def delay(self) -> float:
        """How long a step takes: mostly a moment, at times long enough to outlive a successor."""
        return self.random.uniform(0, 60) if self.random.random() < self.stalls else self.random.uniform(0.01, 0.5)

    def run(self) -> None:
        self.start_try()
        while self.queue:
            self.now, _, what = heapq.heappop(self.queue)
            what()

    def start_try(self) -> None:
        number = len(self.tries) + 1
        last = number >= self.planned
        while number < 5 and self.random.random() < self.crowded:
            self.at(self.now + self.random.uniform(-5, 30), lambda: self.endpoint.add_of_others(self.now))
        attempt = Attempt(
            MARKS,
            first=number == 1,
            started=self.now,
            list_lag=self.lag,
            epoch=self.now + 1_000_000,
            since=1_000_000,
            has_store=self.has_store,
            **self.known_to_a_person,
        )
        this = Try(number, submit(attempt, lambda: self.now), 0.0 if last else self.crash_chance)
        self.tries.append(this)
        # Between the start of a task and its first step, a worker may stall as well.
        self.at(self.now + self.delay(), lambda: self.resume(this, None))
        if not last and self.random.random() < 0.3:  # declared dead while it lives
            self.at(self.now + self.random.uniform(0.1, 40), lambda: self.start_next(this))

    def start_next(self, after: Try) -> None:
        if self.tries[-1] is after and self.tries[-1].taken is None:
            self.start_try()

    def crashes(self, this: Try) -> bool:
        if self.random.random() >= this.crash_chance:
            return False
        this.ended, this.crashed_at = True, self.now
        if self.tries[-1] is this:
            self.at(self.now + self.random.uniform(0.01, 20), lambda: self.start_next(this))
        return True

    def step(self, this: Try, answer: object) -> None:
        try:
            action = this.protocol.send(answer)
        except StopIteration as stop:
            submitted: Submitted = stop.value
            this.taken, this.ended = submitted.job.id, True
            return
        except SubmissionFault as fault:
            self.ask_a_person(fault)
            this.ended, this.crashed_at = True, self.now  # Airflow tries again, unless it has already
            if self.tries[-1] is this and len(self.tries) < MOST_TRIES:
                self.planned = max(self.planned, len(self.tries) + 1)
                self.at(self.now + self.random.uniform(0.01, 20), lambda: self.start_next(this))
            return
        if isinstance(action, Sleep):
            self.at(self.now + action.seconds, lambda: self.resume(this, None))
        else:
            self.at(self.now + self.delay(), lambda: self.arrive(this, action))

    def ask_a_person(self, fault: SubmissionFault) -> None:
        """Whoever reads the message names the task's job among the candidates, or says that it is none of them."""
        candidates = {job.id for job in fault.candidates}
        alive = {job.id for job in self.endpoint.jobs if job.status == "running"} - self.endpoint.foreign
        if ours := sorted(candidates & alive):
            self.known_to_a_person = {"existing_job_id": ours[0]}
        else:
            strangers = self.known_to_a_person.get("foreign_job_ids", frozenset())
            self.known_to_a_person = {"foreign_job_ids": strangers | candidates}

    def arrive(self, this: Try, action: object) -> None:
        """The request reaches the server, or not; then the answer comes back, or not."""
        if isinstance(action, Create) and self.random.random() < self.crash_chance + self.lossy / 4:
            # On its way when the worker dies, or when it gives up on the answer.
            later = self.now + self.random.uniform(0, self.lag * self.late_effect)
            this.last_create = later
            self.at(later, lambda: self.effect(this, action))
            if not self.crashes(this):
                self.at(self.now, lambda: self.resume(this, LOST))
            return
        if self.crashes(this):
            return
        remote = isinstance(action, (Search, Retrieve, Create, Cancel))
        if remote and self.random.random() < self.lossy / 2:
            answer = self.random.choice([LOST, BUSY])
        else:
            answer = self.effect(this, action)
            if remote and self.random.random() < self.lossy / 2:
                answer = LOST
        self.at(self.now + (0.0 if isinstance(action, (Note,)) else self.delay()), lambda: self.resume(this, answer))

    def resume(self, this: Try, answer: object) -> None:
        if not self.crashes(this):
            self.step(this, answer)

    def effect(self, this: Try, action: object) -> object:
        if isinstance(action, Recall):
            return self.store
        if isinstance(action, Remember):
            self.store = dict(action.record) if self.has_store else None
        elif isinstance(action, Search):
            return self.endpoint.visible(self.now)
        elif isinstance(action, Retrieve):
            return next(job for job in self.endpoint.jobs if job.id == action.job_id)
        elif isinstance(action, Create):
            this.last_create = self.now
            job = self.endpoint.create(self.now, action.without)
            if isinstance(job, Fault):
                return job
            if self.random.random() < self.jobs_fail:
                self.at(
                    self.now + self.random.uniform(0, 60), lambda: self.endpoint.set_status(job.id, "failed", self.now)
                )
            return job
        elif isinstance(action, Cancel):
            return self.endpoint.set_status(action.job_id, "cancelled", self.now)
        return None

    def overlapping(self) -> bool:
        """Whether an attempt was still alive when its successor began."""
        return any(this.crashed_at is None or this.crashed_at > self.began[this.number + 1] for this in self.tries[:-1])

    def left_behind(self) -> bool:
        """Whether an attempt outlived its successor, created then, and died or lost contact before it could look.

        No client can prevent that one (documented).
        """
        return any(
            this.crashed_at is not None
            and this.last_create is not None
            and this is not self.tries[-1]
            and any(later.number > this.number and later.ended and later.taken for later in self.tries)
            and not any(
                later.number > this.number and self.began[later.number] > this.crashed_at for later in self.tries
            )
            for this in self.tries
        )


def check(seed: int) -> tuple[int, int]:
    """Run one schedule; return how many jobs were created and how many attempts were made."""
    simulation = Simulation(seed)
    simulation.began = {}
    start = simulation.start_try

    def start_and_note() -> None:
        simulation.began[len(simulation.tries) + 1] = simulation.now
        start()

    simulation.start_try = start_and_note
    simulation.run()
    endpoint = simulation.endpoint
    where = (
        f"seed {seed}: {endpoint.habits} {[(t.number, t.taken, t.crashed_at) for t in simulation.tries]} "
        f"{endpoint.jobs} foreign: {endpoint.foreign}"
    )
    jobs = {job.id: job.status for job in endpoint.jobs}
    live = [job_id for job_id, status in jobs.items() if status == "running" and job_id not in endpoint.foreign]
    taken = [this.taken for this in simulation.tries if this.taken]
    assert all(jobs[job_id] != "cancelled" for job_id in endpoint.foreign), f"a foreign job was cancelled; {where}"
    assert not endpoint.foreign & set(taken), f"a foreign job was taken; {where}"
    assert all(jobs[job_id] != "cancelled" for job_id in taken), f"a job was cancelled that a task waits for; {where}"
    # Without any mark, the time tells what was there before an earlier attempt; and nobody can help against overlaps.
    alone = not simulation.overlapping() and endpoint.habits.list == "whole" and endpoint.habits.time != "equal"
    if endpoint.habits.tell_jobs_apart or alone:
        assert simulation.tries[-1].taken, where
        if jobs[taken[-1]] == "running" and not simulation.left_behind():
            assert live == [simulation.tries[-1].taken], f"not exactly one live job; {where}"
        if not any(status == "failed" for status in jobs.values()):
            assert len(set(taken)) == 1, f"attempts disagree; {where}"
    return len(jobs), len(simulation.tries)


def test_every_schedule_ends_with_exactly_one_live_job_and_none_cancelled_that_a_task_waits_for() -> None:
    seeds = [int(os.environ["SUBMISSION_SEED"])] if "SUBMISSION_SEED" in os.environ else range(SCHEDULES)
    results = [check(seed) for seed in seeds]
    if len(results) > 1:
        # The schedules must be nasty enough to mean something.
        assert sum(jobs > 1 for jobs, _ in results) > SCHEDULES / 50
        assert sum(tries > 1 for _, tries in results) > SCHEDULES / 4


class Script:
    """Plays one attempt against an endpoint that answers as the test says; time passes in sleeps."""

    def __init__(self, *, first: bool = True, lag: float = 5.0, **answers: Callable[[Any], object]) -> None:
        self.now = 0.0
        self.answers = answers
        self.asked: list[tuple[float, Any]] = []
        attempt = Attempt(MARKS, first=first, started=0.0, list_lag=lag, metadata_is_kept=True)
        self.protocol = submit(attempt, lambda: self.now)

    def play(self) -> Submitted:
        answer: object = None
        while True:
            try:
                action = self.protocol.send(answer)
            except StopIteration as stop:
                return stop.value
            self.asked.append((self.now, action))
            if isinstance(action, Sleep):
                self.now += action.seconds
            answer = self.answers.get(type(action).__name__.lower(), lambda _: None)(action)

    def times(self, kind: type) -> list[float]:
        return [now for now, action in self.asked if isinstance(action, kind)]

    def kinds(self) -> list[type]:
        return [type(action) for _, action in self.asked]


def job(job_id: str, status: str = "running", *, at: int = 1_000_000, ended: int | None = None) -> Job:
    return Job(job_id, status, created_at=at, finished_at=ended, metadata={FINGERPRINT_KEY: "f"})


@pytest.mark.parametrize("lag", [1.0, 5.0])
def test_an_ordinary_first_try_creates_after_one_look_and_looks_once_more_without_waiting(lag: float) -> None:
    looks = iter([[], [job("a", "queued")]])
    script = Script(lag=lag, search=lambda _: next(looks), create=lambda _: job("a", "validating_files"))
    assert script.play().created
    assert script.kinds() == [Recall, Search, Remember, Create, Remember, Search]


def test_a_remembered_job_that_is_cancelled_while_a_retry_looks_on_is_replaced() -> None:
    # A person cleared a deferred task: the trigger cancels its job while the next try has begun already.
    record = {"submission": "s", "fingerprint": "f", "job_id": "a"}
    created: list[Job] = []

    def look(_: Any) -> list[Job]:
        return [*created, job("a") if script.now < 2 else job("a", "cancelled", ended=1_000_002)]

    script = Script(
        first=False,
        recall=lambda _: record,
        retrieve=lambda _: job("a"),
        search=look,
        create=lambda _: created.append(job("b", at=1_000_009)) or created[0],
    )
    assert script.play() == Submitted(created[0], created=True)


def test_whoever_outlived_its_successor_cancels_its_own_job_as_soon_as_it_sees_the_older_one() -> None:
    jobs: list[Job] = []

    def create(_: Any) -> Job:
        script.now += 100  # stalled on its way, while a retry created a job
        jobs[:] = [job("late", at=1_000_100), job("older", at=1_000_050)]
        return jobs[0]

    script = Script(search=lambda _: jobs, create=create, cancel=lambda _: job("late", "cancelled", at=1_000_100))
    assert script.play() == Submitted(jobs[1], created=False)
    assert script.times(Cancel) == [100.0]


def test_the_double_of_a_double_is_not_one() -> None:
    # "b" was created while "a" lived, and cancelled for it after "c", the rightful next one, was created.
    jobs = [
        job("c", at=1_000_101),
        job("b", "cancelled", at=1_000_084, ended=1_000_173),
        job("a", "failed", at=1_000_070, ended=1_000_097),
    ]
    script = Script(first=False, search=lambda _: jobs)
    assert script.play().job.id == "c"
    assert Cancel not in script.kinds()
