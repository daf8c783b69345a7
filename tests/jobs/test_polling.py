"""Watching many jobs with few requests; the clock is a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.polling import BackOff, Budget, ListPage, Retrieve, Seen, Watched, interval, look

LOST, BUSY = Fault(FaultKind.LOST, status=500), Fault(FaultKind.BUSY, status=429)
NOT_FOUND, BAD_KEY, NO_ROUTE = (Fault(FaultKind.REFUSED, status=status) for status in (404, 401, 405))


# -- the budget


@given(
    per_minute=st.integers(1, 600),
    pauses=st.lists(st.floats(0, 30) | st.just(0.0), min_size=1, max_size=200),
)
@example(per_minute=1, pauses=[0.0, 1.253090728605958, 0.0])
def test_no_minute_ever_sees_more_requests_than_the_budget(per_minute: int, pauses: list[float]) -> None:
    budget, now, sent = Budget(per_minute), 0.0, []
    for pause in pauses:
        now += pause
        now += budget.wait(now)
        budget.spend(now)
        sent.append(now)
    for first, later in zip(sent, sent[per_minute:], strict=False):
        assert later - first > 60 - 1e-6


@given(st.integers(1, 600))
def test_a_budget_is_used_up_to_most_of_what_it_allows(per_minute: int) -> None:
    budget, now, sent = Budget(per_minute), 0.0, 0
    while now < 600:
        now += budget.wait(now)
        budget.spend(now)
        sent += 1
    assert sent > 10 * per_minute / 2


def test_with_little_to_do_nothing_is_held_back() -> None:
    budget = Budget(300)
    assert [budget.wait(now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]


@given(st.integers(1, 1000), st.integers(0, 100), st.floats(0, 3600))
def test_events_get_a_quarter_of_the_time_at_most_and_never_nothing(
    per_minute: int, requests: int, seconds: float
) -> None:
    allowed = polling.events_allowed(Budget(per_minute), requests, seconds)
    assert 2 <= allowed <= max(2, per_minute / 60 * seconds / 4)


# -- the back-off


def test_the_first_lost_answer_about_one_of_many_is_that_jobs_trouble_and_the_second_the_endpoints() -> None:
    back_off = BackOff()
    assert not back_off.failed(LOST, 100.0, 1.0, one_of_many=True)
    assert back_off.until == 0.0
    assert back_off.failed(LOST, 100.0, 1.0, one_of_many=True)
    assert back_off.until > 100.0


def test_jobs_that_could_not_be_read_before_are_not_the_endpoints_trouble_however_many() -> None:
    back_off = BackOff()
    assert not any(back_off.failed(LOST, 100.0, 1.0, one_of_many=True, again=True) for _ in range(3))
    assert not back_off.failed(LOST, 100.0, 1.0, one_of_many=True)
    assert back_off.failed(LOST, 100.0, 1.0, one_of_many=True)
    assert back_off.failed(LOST, 100.0, 1.0, one_of_many=True, again=True), "once it is known, all are its trouble"


def test_a_lost_answer_that_says_when_to_come_back_is_the_endpoints_trouble_at_once() -> None:
    back_off = BackOff()
    assert back_off.failed(Fault(FaultKind.LOST, 503, retry_after=20.0), 100.0, 0.0, one_of_many=True)
    assert back_off.until == 120.0


def test_the_only_job_that_cannot_be_read_again_is_the_endpoints_trouble() -> None:
    assert BackOff().failed(LOST, 0.0, 0.5, one_of_many=False, again=True)


@pytest.mark.parametrize(("fault", "one_of_many"), [(LOST, False), (BUSY, True), (BUSY, False)])
def test_a_lost_list_and_a_rate_limit_are_the_endpoints_trouble_at_once(fault: Fault, one_of_many: bool) -> None:
    assert BackOff().failed(fault, 0.0, 0.5, one_of_many=one_of_many)


def test_retry_after_is_waited_for() -> None:
    back_off = BackOff()
    back_off.failed(Fault(FaultKind.BUSY, 429, retry_after=90.0), 1000.0, 0.0, one_of_many=False)
    assert back_off.until == 1090.0


def test_the_pauses_grow_to_a_minute_and_no_further() -> None:
    back_off = BackOff()
    pauses = []
    for _ in range(12):
        back_off.failed(LOST, 0.0, 1.0, one_of_many=False)
        pauses.append(back_off.until)
    assert pauses == sorted(pauses)
    assert pauses[0] == 2.0
    assert pauses[-1] == polling.MAX_BACK_OFF


def test_a_success_ends_the_trouble_and_says_so_once() -> None:
    back_off = BackOff()
    assert not back_off.succeeded()
    back_off.failed(LOST, 0.0, 1.0, one_of_many=False)
    assert back_off.succeeded()
    assert not back_off.succeeded()
    assert (back_off.failures, back_off.until) == (0, 0.0)


def test_a_success_between_two_lost_answers_makes_neither_the_endpoints() -> None:
    back_off = BackOff()
    for _ in range(3):
        assert not back_off.failed(LOST, 0.0, 1.0, one_of_many=True)
        back_off.succeeded()


# -- when to look

EPOCH = 1_700_000_000.0


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        (None, 60),
        (Job("j", "running"), 60),
        (Job("j", "running", estimated_finish=int(EPOCH) + 600), 60),
        (Job("j", "running", estimated_finish=int(EPOCH) + 40), 40),
        (Job("j", "running", estimated_finish=int(EPOCH) + 1), 15),
        (Job("j", "running", estimated_finish=int(EPOCH) - 5), 60),
        (Job("j", "queued"), 60),
        (Job("j", "queued", created_at=int(EPOCH) - 60), 60),
        (Job("j", "queued", created_at=int(EPOCH) - 2 * 3600), 120),
        (Job("j", "queued", created_at=int(EPOCH) - 48 * 3600), 240),
        (Job("j", "queued", created_at=int(EPOCH) + 3600), 60),
        (Job("j", "odd", estimated_finish=int(EPOCH) + 5), 60),
    ],
)
def test_a_job_near_its_end_is_looked_at_sooner_and_one_long_in_the_queue_less_often(
    job: Job | None, seconds: float
) -> None:
    assert interval(job, 60, EPOCH) == pytest.approx(seconds)


def watched(job_id: str, *, due: float = 0.0, created_at: int | None = None, failures: int = 0) -> Watched:
    job = None if created_at is None else Job(job_id, "running", created_at=created_at)
    return Watched(job_id, 60.0, due, job, failures)


def test_nothing_is_looked_at_before_something_is_due() -> None:
    assert polling.due([watched("a", due=10.0), watched("b", due=11.0)], 9.9) == []


def test_what_is_due_soon_is_looked_at_together_with_what_is_due_now() -> None:
    jobs = [watched("now", due=10.0), watched("soon", due=24.0), watched("later", due=26.0)]
    assert [one.job_id for one in polling.due(jobs, 10.0)] == ["now", "soon"]


def test_a_job_that_cannot_be_read_is_looked_at_less_and_less_often_but_always_again() -> None:
    one = watched("a")
    dues = []
    for _ in range(6):
        one.unseen(0.0, 0.5)
        dues.append(one.due)
    assert dues == [60.0, 120.0, 240.0, 480.0, 480.0, 480.0]
    one.seen(Job("a", "running"), 0.0, EPOCH, 0.5)
    assert (one.due, one.failures) == (60.0, 0)


@given(st.floats(0, 1))
def test_rounds_are_spread_by_a_tenth_either_way(jitter: float) -> None:
    one = watched("a")
    one.seen(Job("a", "running"), 1000.0, EPOCH, jitter)
    assert 1054 <= one.due <= 1066


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (None, Job("j", "running"), True),
        (Job("j", "running"), Job("j", "running"), False),
        (Job("j", "queued"), Job("j", "running"), True),
        (Job("j", "running"), Job("j", "running", estimated_finish=5), True),
        (Job("j", "running"), Job("j", "running", trained_tokens=5), False),
        (Job("j", "succeeded"), Job("j", "succeeded"), True),
    ],
)
def test_who_waits_hears_what_changed_and_every_end(before: Job | None, now: Job, told: bool) -> None:
    assert polling.worth_telling(before, now) is told


# -- at what to look


@dataclass
class Endpoint:
    """Answers the requests of a round, and counts them. ``jobs`` are newest first, as the list has them."""

    jobs: list[Job]
    list_fault: Fault | None = None
    faults: dict[str, Fault] = field(default_factory=dict)
    ignores_after: bool = False
    unlisted: frozenset[str] = frozenset()
    page: int = polling.PAGE
    asked: list[ListPage | Retrieve] = field(default_factory=list)

    def answer(self, step: ListPage | Retrieve) -> object:
        self.asked.append(step)
        if isinstance(step, Retrieve):
            found = next((job for job in self.jobs if job.id == step.job_id), None)
            return self.faults.get(step.job_id) or found or NOT_FOUND
        if self.list_fault:
            return self.list_fault
        listed = [job for job in self.jobs if job.id not in self.unlisted]
        ids = [job.id for job in listed]
        start = 0 if step.after is None or self.ignores_after else ids.index(step.after) + 1
        return listed[start : start + self.page], start + self.page < len(listed)

    def look(self, wanted: list[Watched], *, can_list: bool = True) -> tuple[dict[str, Seen], bool]:
        """Run a round; return what it told about each job, and whether the endpoint can list."""
        told, hold = self.play(look(wanted, can_list=can_list))
        return told, can_list and not hold

    def play(self, steps: polling.Round) -> tuple[dict[str, Seen], float]:
        """Answer a round; return what it told about each job, and for how long the list is not worth asking for."""
        told: dict[str, Seen] = {}
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                return told, stop.value
            answer = None
            if isinstance(step, Seen):
                told[step.job_id] = step
            else:
                answer = self.answer(step)

    @property
    def pages(self) -> int:
        return sum(isinstance(step, ListPage) for step in self.asked)


def running(count: int) -> list[Job]:
    """That many jobs, newest first."""
    return [Job(f"j{n}", "running", created_at=1_000 + n) for n in reversed(range(count))]


def test_no_request_when_nothing_is_wanted() -> None:
    endpoint = Endpoint(running(5))
    assert endpoint.look([]) == ({}, True)
    assert endpoint.asked == []


def test_one_job_is_retrieved_and_no_list_asked_for() -> None:
    endpoint = Endpoint(running(5))
    told, _ = endpoint.look([watched("j2")])
    assert endpoint.asked == [Retrieve("j2")]
    assert told["j2"].job == endpoint.jobs[2]


@pytest.mark.parametrize(("count", "requests"), [(2, 1), (100, 1), (101, 2), (1000, 10)])
def test_many_jobs_take_as_many_requests_as_they_fill_pages(count: int, requests: int) -> None:
    endpoint = Endpoint(running(count))
    told, _ = endpoint.look([watched(job.id) for job in endpoint.jobs])
    assert len(told) == count
    assert len(endpoint.asked) == requests


def test_the_list_is_read_no_deeper_than_the_oldest_wanted_job() -> None:
    endpoint = Endpoint(running(5_000))
    told, _ = endpoint.look([watched(job.id, created_at=job.created_at) for job in endpoint.jobs[:150]])
    assert len(told) >= 150
    assert endpoint.asked == [ListPage(), ListPage(endpoint.jobs[99].id)]


def test_a_few_jobs_deep_in_a_long_list_are_retrieved_instead() -> None:
    endpoint = Endpoint(running(100_000))
    told, _ = endpoint.look([watched(f"j{n}") for n in range(5)])
    assert {f"j{n}" for n in range(5)} <= told.keys()
    assert len(endpoint.asked) <= 8


def test_a_job_that_the_list_does_not_show_is_retrieved() -> None:
    endpoint = Endpoint(running(10), unlisted=frozenset({"j3"}))
    told, _ = endpoint.look([watched(job.id) for job in endpoint.jobs])
    assert endpoint.asked == [ListPage(), Retrieve("j3")]
    assert told["j3"].job is not None


def test_an_unknown_job_is_told_so_and_the_others_are_not_disturbed() -> None:
    endpoint = Endpoint(running(10))
    told, can_list = endpoint.look([*(watched(job.id) for job in endpoint.jobs), watched("nobody")])
    assert told["nobody"].fault == NOT_FOUND
    assert all(told[job.id].job == job for job in endpoint.jobs)
    assert can_list


def test_a_page_tells_of_jobs_that_were_not_due_too() -> None:
    endpoint = Endpoint(running(10))
    told, _ = endpoint.look([watched("j1"), watched("j2")])
    assert len(told) == 10


@pytest.mark.parametrize("fault", [NOT_FOUND, NO_ROUTE, Fault(FaultKind.REFUSED, status=403)])
def test_an_endpoint_that_cannot_list_is_asked_job_by_job_and_not_for_its_list_again(fault: Fault) -> None:
    endpoint = Endpoint(running(3), list_fault=fault)
    wanted = [watched(job.id) for job in endpoint.jobs]
    told, can_list = endpoint.look(wanted)
    assert len(told) == 3
    assert not can_list
    endpoint.asked.clear()
    endpoint.look(wanted, can_list=can_list)
    assert endpoint.asked == [Retrieve("j2"), Retrieve("j1"), Retrieve("j0")]


def test_a_refused_key_is_told_to_all_with_one_request() -> None:
    endpoint = Endpoint(running(50), list_fault=BAD_KEY)
    told, can_list = endpoint.look([watched(job.id) for job in endpoint.jobs])
    assert len(endpoint.asked) == 1
    assert {seen.fault for seen in told.values()} == {BAD_KEY}
    assert can_list


@pytest.mark.parametrize("fault", [LOST, BUSY])
def test_an_endpoint_in_trouble_is_not_asked_job_by_job(fault: Fault) -> None:
    endpoint = Endpoint(running(50), list_fault=fault)
    told, can_list = endpoint.look([watched(job.id) for job in endpoint.jobs])
    assert (told, can_list, len(endpoint.asked)) == ({}, True, 1)


def test_a_list_that_repeats_its_first_page_for_ever_is_left() -> None:
    endpoint = Endpoint(running(500), ignores_after=True)
    told, _ = endpoint.look([watched(f"j{n}") for n in (499, 10, 11)])
    assert {"j499", "j10", "j11"} <= told.keys()
    assert endpoint.pages <= 2


def test_an_empty_page_that_promises_more_is_left() -> None:
    endpoint = Endpoint([])
    endpoint.answer = lambda step: ([], True) if isinstance(step, ListPage) else NOT_FOUND  # type: ignore[method-assign]
    told, _ = endpoint.look([watched("a"), watched("b")])
    assert told.keys() == {"a", "b"}


def test_a_job_that_could_not_be_read_the_last_time_comes_last() -> None:
    endpoint = Endpoint(running(3), list_fault=NO_ROUTE)
    endpoint.look([watched("j0", failures=2), watched("j1"), watched("j2", failures=1)])
    assert endpoint.asked[1:] == [Retrieve("j1"), Retrieve("j2"), Retrieve("j0")]


@given(
    total=st.integers(0, 300),
    page=st.integers(1, 20),
    data=st.data(),
)
def test_every_wanted_job_is_told_with_about_a_request_each_at_most(total: int, page: int, data: st.DataObject) -> None:
    jobs = running(total)
    known = data.draw(st.booleans())
    wanted_ids = data.draw(st.lists(st.integers(0, total + 5), unique=True, max_size=60))
    wanted = [watched(f"j{n}", created_at=1_000 + n if known else None) for n in wanted_ids]
    endpoint = Endpoint(jobs, page=page)
    told, _ = endpoint.look(wanted)
    assert {one.job_id for one in wanted} <= told.keys()
    assert len(endpoint.asked) <= len(wanted) + len(wanted) // 4 + 1
    assert all(earlier != later for earlier, later in pairwise(endpoint.asked))


@pytest.mark.parametrize(("fault", "hold"), [(BUSY, polling.BUSY_LIST_AGAIN), (LOST, polling.LIST_AGAIN)])
def test_a_list_that_fails_while_single_jobs_can_be_read_is_left_alone_and_all_are_read_one_by_one(
    fault: Fault, hold: float
) -> None:
    endpoint = Endpoint([Job(f"j{n}", "running") for n in range(5)], list_fault=fault)
    told, held = endpoint.play(look([watched(job.id) for job in endpoint.jobs], in_trouble=True))
    assert told.keys() == {job.id for job in endpoint.jobs}
    assert endpoint.pages == 1
    assert held == hold


def test_an_endpoint_in_trouble_is_tried_with_the_job_that_has_waited_longest_of_those_that_could_be_read() -> None:
    wanted = [Watched("new", 60, due=9.0), Watched("old", 60, due=3.0), Watched("bad", 60, due=1.0, failures=1)]
    assert next(look(wanted, in_trouble=True)) == Retrieve("old")
