"""Hours of waiting in a second: the real poller and SDK; only time, and the network below the SDK, are not real."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import openai
import pytest

from airflow_provider_finetune.hooks.bounds import bounded
from airflow_provider_finetune.jobs.events import Unseen
from airflow_provider_finetune.triggers import poller

MINUTE, HOUR = 60.0, 3600.0
NO_LIST = httpx.Response(404, json={"error": {"message": "no such route"}})
NO_EVENTS = httpx.Response(200, json={"data": [], "has_more": False})
Answer = Callable[[str], Awaitable[httpx.Response]]


class Clock(selectors.DefaultSelector):
    """Time passes when nothing else happens, and at once."""

    now = 1_000_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock = clock

    def time(self) -> float:
        return self.clock.now


@dataclass
class World:
    """Waits on jobs, at an endpoint that answers as the test says."""

    clock: Clock
    requests: list[tuple[float, str]] = field(default_factory=list)
    heard: dict[str, list[tuple[float, poller.Update]]] = field(default_factory=dict)
    answer: Answer | None = None

    def wait(self, answer: Answer, hours: float, **poll_intervals: float) -> None:
        """Wait for some time on all these jobs."""
        self.answer = answer
        start = self.clock.now

        async def waits() -> None:
            await asyncio.gather(*(self._wait(job, every, hours) for job, every in poll_intervals.items()))

        with asyncio.Runner(loop_factory=lambda: Loop(self.clock)) as runner:
            runner.run(waits())
        self.requests = [(at - start, path) for at, path in self.requests]
        self.heard = {job: [(at - start, update) for at, update in heard] for job, heard in self.heard.items()}

    async def _wait(self, job: str, poll_interval: float, hours: float) -> None:
        heard = self.heard.setdefault(job, [])
        async with poller.waiting("endpoint", job, poll_interval=poll_interval, unseen=Unseen()) as wait:
            try:
                async with asyncio.timeout(hours * HOUR):
                    while True:
                        update = await wait.updates.get()
                        heard.append((self.clock.now, update))
            except TimeoutError:
                return

    def gaps(self, path: str) -> list[float]:
        """Return the seconds between two requests for a path."""
        times = [at for at, asked in self.requests if asked == path]
        return [later - earlier for earlier, later in pairwise(times)]

    def notes(self, job: str) -> list[tuple[float, str]]:
        return [(at, update.note) for at, update in self.heard[job] if update.note]

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/v1/fine_tuning/jobs")
        self.requests.append((self.clock.now, path))
        assert self.answer is not None
        return await self.answer(path)


def client(handle: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> openai.AsyncOpenAI:
    transport = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return bounded(
        openai.AsyncOpenAI(api_key="none", base_url="http://endpoint/v1", max_retries=0, http_client=transport)
    )


@pytest.fixture(scope="module", autouse=True)
def _first_request() -> None:
    """The SDK finds out about its platform in a thread, for which virtual time does not wait."""

    async def handle(_: httpx.Request) -> httpx.Response:
        return NO_EVENTS

    async def ask() -> None:
        async with client(handle) as one:
            await one.fine_tuning.jobs.list()

    asyncio.run(ask())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(Clock())

    async def open_client(_: str) -> openai.AsyncOpenAI:
        return client(world.handle)

    monkeypatch.setattr(poller, "open_client", open_client)
    monkeypatch.setattr(time, "monotonic", lambda: world.clock.now)
    monkeypatch.setattr(time, "time", lambda: world.clock.now)
    return world


def running(job: str) -> httpx.Response:
    return httpx.Response(200, json={"id": job, "status": "running", "created_at": 1000})


def test_jobs_that_hang_hold_up_no_other_for_longer_than_one_request(world: World) -> None:
    async def answer(path: str) -> httpx.Response:
        if path.startswith("/hangs"):
            await asyncio.sleep(30)  # of virtual time, as long as the poller lets a request take
            raise httpx.ReadTimeout("no answer")
        return NO_LIST if not path else NO_EVENTS if path.endswith("/events") else running(path.removeprefix("/"))

    world.wait(answer, 3, **{f"hangs-{n}": MINUTE for n in range(30)}, good=MINUTE)
    assert max(world.gaps("/good")[5:]) < 1.1 * MINUTE + 30 + 1


class Trickle(httpx.AsyncByteStream):
    """A byte a second, for hours: each of them is in time."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(1)


def trickle(content_type: str = "application/json") -> httpx.Response:
    return httpx.Response(200, headers={"content-type": content_type}, stream=Trickle())


def test_an_answer_that_trickles_holds_up_no_other_for_longer_than_one_request(world: World) -> None:
    async def answer(path: str) -> httpx.Response:
        if path == "/trickles":
            return trickle()
        return NO_LIST if not path else NO_EVENTS if path.endswith("/events") else running(path.removeprefix("/"))

    world.wait(answer, 3, trickles=MINUTE, good=MINUTE)
    assert max(world.gaps("/good")[5:]) < 1.1 * MINUTE + 30 + 1
    assert [("no whole answer within 30 s" in note) for _, note in world.notes("trickles")] == [True]


ODD_EVENTS: dict[str, Callable[[], httpx.Response]] = {
    "a job": lambda: running("good"),
    "an error that calls itself a success": lambda: httpx.Response(200, json={"error": {"message": "no"}}),
    "an error": lambda: httpx.Response(500, json={"error": {"message": "no"}}),
    "a refusal of the key": lambda: httpx.Response(401, json={"error": {"message": "no"}}),
    "never any": lambda: httpx.Response(429, json={"error": {"message": "no"}}, headers={"retry-after": "3600"}),
    "a stream": lambda: trickle("text/event-stream"),
    "a trickle": trickle,
    "a page of HTML": lambda: httpx.Response(200, html="<html>Please log in</html>"),
    "no objects": lambda: httpx.Response(200, json={"data": ["a", None, 1], "has_more": True}),
    "a text": lambda: httpx.Response(200, json="ok"),
    "nothing": lambda: httpx.Response(204),
}


@pytest.mark.parametrize("events", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_whatever_a_gateway_answers_instead_of_events_disturbs_no_wait(
    world: World, events: Callable[[], httpx.Response]
) -> None:
    async def answer(path: str) -> httpx.Response:
        if path.endswith("/events"):
            return events()
        return NO_LIST if not path else running(path.removeprefix("/"))

    world.wait(answer, 5, good=MINUTE, other=MINUTE)
    gaps = world.gaps("/good")
    assert len(gaps) > 200
    late = [gap for gap in gaps if gap > 1.1 * MINUTE + 10 + 1]
    # The first time, an endpoint that is busy may be busy with everything; but not for an hour.
    assert max(gaps) < 3 * MINUTE
    assert len(late) <= (events is ODD_EVENTS["never any"])
    assert len(world.notes("good")) <= 2 * (events is ODD_EVENTS["never any"])


def test_a_list_of_jobs_that_is_called_jobs_is_read(world: World) -> None:
    async def answer(path: str) -> httpx.Response:
        jobs = [{"id": f"job-{n}", "status": "RUNNING"} for n in range(9)]
        return NO_EVENTS if path.endswith("/events") else httpx.Response(200, json={"jobs": jobs})

    world.wait(answer, 1, **{f"job-{n}": MINUTE for n in range(9)})
    assert {path for _, path in world.requests if not path.endswith("/events")} == {""}


@pytest.mark.parametrize(("waits", "seconds"), [(100, 2.0), (300, 0.9), (1000, 3.0)])
def test_slow_events_never_hold_up_the_looks_at_the_jobs(world: World, waits: int, seconds: float) -> None:
    jobs = [{"id": f"job-{n}", "status": "running", "created_at": 1000} for n in range(waits)]

    async def answer(path: str) -> httpx.Response:
        if path.endswith("/events"):
            await asyncio.sleep(seconds)
            return NO_EVENTS
        return httpx.Response(200, json={"data": jobs, "has_more": False})

    world.wait(answer, 1, **{job["id"]: MINUTE for job in jobs})
    assert max(world.gaps("")) < 1.1 * MINUTE + 3 * seconds + 1
    assert world.gaps("/job-0/events"), "but each has its turn"


@pytest.mark.parametrize("other", [{"bad": MINUTE}, {"seldom": 2 * HOUR}], ids=["one is bad", "one is seldom due"])
def test_an_outage_is_noticed_and_waited_through_whoever_waits_beside(world: World, other: dict[str, float]) -> None:
    async def answer(path: str) -> httpx.Response:
        if start + 600 < world.clock.now < start + HOUR:
            return httpx.Response(503, json={"error": {"message": "down"}}, headers={"retry-after": "1200"})
        if path == "/bad":
            return httpx.Response(500, json={"error": {"message": "odd"}})
        return NO_LIST if not path else NO_EVENTS if path.endswith("/events") else running(path.removeprefix("/"))

    start = world.clock.now
    world.wait(answer, 2, good=MINUTE, **other)
    during = [at for at, path in world.requests if 600 < at < HOUR and path == "/good"]
    assert len(during) <= 3, "an outage that says when to come back is not asked every minute"
    told = [note for at, note in world.notes("good") if at > 600]
    assert len(told) == 2
    assert "Waiting through it" in told[0]
    assert told[1] == "The endpoint answers again."
    assert max(gap for gap in world.gaps("/good")[-20:]) < 1.1 * MINUTE + 1


def test_a_job_that_cannot_be_read_says_so_once_in_its_own_log_only(world: World) -> None:
    async def answer(path: str) -> httpx.Response:
        if path == "/bad":
            return httpx.Response(500, json={"error": {"message": "odd"}})
        return NO_LIST if not path else NO_EVENTS if path.endswith("/events") else running(path.removeprefix("/"))

    world.wait(answer, 2, good=MINUTE, bad=MINUTE)
    assert [("odd" in note, "less and less often" in note) for _, note in world.notes("bad")] == [(True, True)]
    assert world.notes("good") == []


def test_events_take_turns_even_where_few_requests_are_left_for_them(world: World) -> None:
    async def answer(path: str) -> httpx.Response:
        if path.endswith("/events"):
            event = {"id": f"event of {path}", "created_at": 1000, "message": path}
            return httpx.Response(200, json={"data": [event], "has_more": False})
        jobs = [{"id": f"job-{n}", "status": "running", "created_at": 1000} for n in range(7)]
        return httpx.Response(200, json={"data": jobs, "has_more": False})

    world.wait(answer, 0.1, **{f"job-{n}": 1.0 for n in range(7)})
    for job, heard in world.heard.items():
        assert [event.message for _, update in heard for event in update.events] == [f"/{job}/events"]
