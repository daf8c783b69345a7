"""One poller for all waits of a process on one connection: one client, one budget, one round for many jobs.

It lives in the triggerer's event loop, which belongs to everybody: it never blocks, it delivers only what changed, and
it closes its client when the last wait ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.jobs.events import TOO_MANY_EVENTS
from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.payload import MOST_ITEMS, items, name
from airflow_provider_finetune.triggers.client import open_client, unusable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from openai import AsyncOpenAI

    from airflow_provider_finetune.jobs.events import Event, Unseen

log = logging.getLogger(__name__)

#: For events, which can wait: a slow list of events must not hold up the next look at the jobs.
EVENTS_SECONDS = 10.0
#: So many requests for events are made after each round, even where rounds follow each other without a pause.
LEAST_EVENTS = 2
#: How many waits are told something before the event loop gets its turn.
AT_ONCE = 25
#: After each item that is read in a thread: long enough for the event loop to do what has come up.
PAUSE_SECONDS = 0.002
#: Reading an answer that takes a second of the processor is followed by a rest of so many.
RESTS = 4.0
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()
_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, polling.Budget]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Update:
    """What a wait hears: a new state, new events, trouble with the endpoint, or a refusal that ends it.

    ``gone`` tells that it was refused because the endpoint does not know the job.
    """

    job: Job | None = None
    events: tuple[Event, ...] = ()
    note: str | None = None
    refused: str | None = None
    gone: bool = False


@dataclass(slots=True, eq=False)
class Wait:
    """One wait on one job.

    ``unseen`` is where the delivery of its events stands, ``older`` the event from which an unfinished reading of them
    goes on: there may be many pages, newest first.
    """

    job_id: str
    unseen: Unseen
    older: str | None = None
    is_told: bool = False
    updates: asyncio.Queue[Update] = field(default_factory=asyncio.Queue)


@asynccontextmanager
async def waiting(conn_id: str, job_id: str, *, poll_interval: float, unseen: Unseen) -> AsyncIterator[Wait]:
    """Wait on a job with everybody else who waits on the same connection.

    :param poll_interval: seconds between two looks at the job; the budget may stretch it.
    :param unseen: where the log of events stands; new ones are delivered from there.
    """
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get(conn_id)
    if poller is None:
        poller = pollers[conn_id] = Poller(conn_id)
    wait = Wait(job_id, unseen.afresh())
    poller.add(wait, poll_interval)
    try:
        yield wait
    finally:
        if poller.remove(wait):
            del pollers[conn_id]
            await poller.close()


class Poller:
    """Looks at all jobs of one connection that somebody waits for."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.waits: dict[str, list[Wait]] = {}
        self.watched: dict[str, polling.Watched] = {}
        # Kept for the next poller of the connection: a minute is a minute, whoever waits in it.
        budgets = _budgets.setdefault(asyncio.get_running_loop(), {})
        self.budget = budgets.setdefault(conn_id, polling.Budget(requests_per_minute()))
        self.back_off = polling.BackOff()
        self.is_told = False
        self.can_list = True
        self.list_again = 0.0
        self.events_again = 0.0
        self.events_busy = False
        self.client: AsyncOpenAI | None = None
        self.answered_at = 0.0
        #: Nothing is asked before: an endpoint whose answers are long to read does not get the whole processor.
        self.rests_until = 0.0
        self.event_turns: deque[Wait] = deque()
        self.changed = asyncio.Event()
        self.wakes_at = 0.0
        # An empty context: the task must not log into, or hold on to, the trigger that happened to come first.
        self.task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    def add(self, wait: Wait, poll_interval: float) -> None:
        """Take on a wait. Its first look comes after an interval: whoever waits has just looked."""
        self.waits.setdefault(wait.job_id, []).append(wait)
        watched = self.watched.get(wait.job_id)
        if watched is None:
            self.watched[wait.job_id] = polling.Watched(wait.job_id, poll_interval, time.monotonic() + poll_interval)
        else:
            watched.poll_interval = min(watched.poll_interval, poll_interval)
            watched.due = min(watched.due, time.monotonic() + poll_interval)
            watched.job = None  # the newcomer has heard nothing yet
        self.event_turns.append(wait)
        if self.watched[wait.job_id].due < self.wakes_at:
            self.changed.set()

    def remove(self, wait: Wait) -> bool:
        """Let a wait go; return whether it was the last."""
        waits = self.waits[wait.job_id]
        waits.remove(wait)
        if not waits:
            del self.waits[wait.job_id], self.watched[wait.job_id]
        return not self.waits

    async def close(self) -> None:
        """Stop looking, and close the client."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        await self._forget_client()

    # -- rounds

    async def _run(self) -> None:
        last = time.monotonic()
        while True:
            try:
                await self._until_due()
                started = time.monotonic()
                requests = await self._round()
                allowed = polling.events_allowed(self.budget, requests, started - last)
                # The endpoints have a budget each, but the processor of the triggerer is there once.
                await self._fetch_events(max(1, allowed // len(_pollers[asyncio.get_running_loop()])))
                last = started
            except Exception:
                # Waits must survive whatever this is; their deadlines bound it.
                log.exception(
                    "A round of looking at fine-tuning jobs failed; trying again in %s s", polling.MAX_BACK_OFF
                )
                await asyncio.sleep(polling.MAX_BACK_OFF)

    async def _until_due(self) -> None:
        while True:
            now = time.monotonic()
            next_due = min((one.due for one in self.watched.values()), default=now + 3600)
            pause = max(next_due, self.back_off.until) - now
            if pause <= 0:
                return
            self.changed.clear()
            self.wakes_at = now + pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.changed.wait()

    async def _round(self) -> int:
        """Look at what is due; return how many requests it took."""
        jitter = random.random()  # noqa: S311 - spreads load, guards nothing
        now = time.monotonic()
        self.can_list = self.can_list or now >= self.list_again
        wanted = polling.due(self.watched.values(), now)
        plan = polling.look(wanted, can_list=self.can_list, in_trouble=self.back_off.failures > 0)
        requests, told, answer = 0, 0, None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as stop:
                if stop.value:
                    self.can_list, self.list_again = False, time.monotonic() + stop.value
                return requests
            answer = None
            if isinstance(step, polling.Seen):
                self._tell(step, jitter)
                told += 1
                if told % AT_ONCE == 0:
                    await asyncio.sleep(0)
                continue
            if isinstance(step, polling.Retrieve) and step.job_id not in self.watched:
                answer = Fault(FaultKind.LOST)  # nobody waits for it any more
                continue
            watched = self.watched[step.job_id] if isinstance(step, polling.Retrieve) else None
            if watched is not None and watched.failures and self._is_due(but_failing=True):
                return requests  # jobs that can be read must not wait for one after the other that cannot
            requests += 1
            answer = await self._ask(step)
            if not isinstance(answer, Fault) or (isinstance(step, polling.ListPage) and step.doubted):
                continue
            again = watched is not None and 0 < watched.failed_at < self.answered_at
            one_of_many = watched is not None and len(self.watched) > 1
            if await self._is_down(answer, jitter, one_of_many=one_of_many, again=again):
                if watched is not None:
                    watched.passed_over(time.monotonic())
                return requests

    def _is_due(self, *, but_failing: bool = False) -> bool:
        """Return whether a job is to be looked at now; whether one is that could be read the last time."""
        now = time.monotonic()
        return any(one.due <= now for one in self.watched.values() if not (but_failing and one.failures))

    async def _is_down(self, fault: Fault, jitter: float, *, one_of_many: bool = False, again: bool = False) -> bool:
        """Return whether the fault is the whole endpoint's, having backed off for all its jobs at once."""
        if fault.kind is FaultKind.REFUSED or not self.back_off.failed(
            fault, time.monotonic(), jitter, one_of_many=one_of_many, again=again
        ):
            return False
        if self.back_off.failures == 1:
            await self._note(f"{fault.explain('look at the fine-tuning jobs')} Waiting through it until the deadline.")
        return True

    def _tell(self, seen: polling.Seen, jitter: float) -> None:
        watched = self.watched.get(seen.job_id)
        if watched is None:
            return
        if seen.job is None:
            watched.unseen(time.monotonic(), jitter)
            if seen.fault is not None:
                said = seen.fault.explain(f"retrieve fine-tuning job {seen.job_id}")
                if seen.fault.kind is FaultKind.REFUSED:
                    self._deliver(seen.job_id, Update(refused=said, gone=seen.fault.status == 404))
                elif watched.failures == 1:
                    self._deliver(seen.job_id, Update(note=f"{said} Looking at it less and less often."))
            return
        news = polling.worth_telling(watched.job, seen.job)
        watched.seen(seen.job, time.monotonic(), time.time(), jitter)
        if news:
            self._deliver(seen.job_id, Update(job=seen.job))

    def _deliver(self, job_id: str, update: Update) -> None:
        for wait in self.waits.get(job_id, ()):
            wait.updates.put_nowait(update)

    async def _note(self, note: str) -> None:
        for told, job_id in enumerate(list(self.waits)):
            self._deliver(job_id, Update(note=note))
            if told % AT_ONCE == 0:
                await asyncio.sleep(0)

    # -- events

    async def _fetch_events(self, requests: int) -> None:
        """Fetch new events with at most so many requests; the waits take turns, and leave off when a job is due."""
        asked = 0
        for _ in range(len(self.event_turns)):
            if self._leaves_off_events(asked, requests):
                return
            wait = self.event_turns.popleft()
            if not self._is_waiting(wait):
                continue
            self.event_turns.append(wait)
            more = self.watched[wait.job_id].job is not None
            while more:
                asked += 1
                more = await self._fetch_events_of(wait) and self._is_waiting(wait)
                more = more and not self._leaves_off_events(asked, requests)

    def _leaves_off_events(self, asked: int, requests: int) -> bool:
        if self.back_off.failures or time.monotonic() < self.events_again or asked >= requests:
            return True
        return asked >= LEAST_EVENTS and self._is_due()

    def _is_waiting(self, wait: Wait) -> bool:
        return wait in self.waits.get(wait.job_id, ())

    async def _fetch_events_of(self, wait: Wait) -> bool:
        """Fetch a page of a job's events; return whether there are more to fetch right away."""
        job = self.watched[wait.job_id].job
        wait.unseen.about = job.names if job else (wait.job_id,)
        answer = await self._ask_for(
            lambda client: client.fine_tuning.jobs.with_raw_response.list_events(
                wait.job_id, limit=polling.PAGE, timeout=EVENTS_SECONDS, **_after(wait.older)
            ),
            seconds=EVENTS_SECONDS,
            read=lambda answer: _add(wait.unseen, answer),
            key_is_fresh=True,  # or the looks at the jobs will tell
        )
        was_busy = self.events_busy
        self.events_busy = isinstance(answer, Fault) and answer.kind is FaultKind.BUSY
        if isinstance(answer, Fault):
            # Progress is a courtesy, the status decides; but an endpoint that is busy is busy for both, at least for a
            # moment, and unless it answers everything else meanwhile.
            if self.events_busy and not was_busy:
                moment = min(answer.retry_after or 0.0, polling.MAX_BACK_OFF)
                await self._is_down(replace(answer, retry_after=moment), random.random())  # noqa: S311
            elif answer.kind is FaultKind.REFUSED:
                wait.older, wait.unseen = None, wait.unseen.afresh()
            else:
                self.events_again = time.monotonic() + max(polling.MAX_BACK_OFF, answer.retry_after or 0.0)
            return False
        if answer:
            wait.older = answer
            return True
        if wait.unseen.is_full and not wait.is_told:
            wait.is_told = True
            wait.updates.put_nowait(Update(note=TOO_MANY_EVENTS))
        events = wait.unseen.in_order()
        wait.older = None
        for event in events:
            wait.unseen.saw(event)
        wait.unseen = wait.unseen.afresh()
        for n in range(0, len(events), AT_ONCE):
            wait.updates.put_nowait(Update(events=tuple(events[n : n + AT_ONCE])))
        return False

    # -- requests

    async def _ask(self, step: polling.ListPage | polling.Retrieve) -> Any:
        if isinstance(step, polling.Retrieve):
            return await self._ask_for(
                lambda client: client.fine_tuning.jobs.with_raw_response.retrieve(step.job_id),
                read=lambda answer: _job(answer, step.job_id),
            )
        return await self._ask_for(
            lambda client: client.fine_tuning.jobs.with_raw_response.list(limit=polling.PAGE, **_after(step.after)),
            read=self._page,
        )

    def _page(self, answer: dict[str, Any]) -> tuple[list[Job], bool]:
        """Return the jobs of a page, and whether there are more."""
        jobs = [Job.from_api(item) for item in items(answer)]
        if len(jobs) == MOST_ITEMS and not self.is_told:
            self.is_told = True
            log.warning("Of a page of fine-tuning jobs, the first %s are read: %s", MOST_ITEMS, self.conn_id)
        return [job for job in jobs if job.id], bool(answer.get("has_more"))

    async def _ask_for(
        self,
        request: Any,
        *,
        read: Callable[[dict[str, Any]], Any],
        seconds: float | None = None,
        key_is_fresh: bool = False,
    ) -> Any:
        """Carry out one request within the budget; return what is read in the answer, or a fault.

        :param read: makes of the decoded answer what is wanted of it; what it raises is a fault.
        :param seconds: for the whole of it, from opening a connection to the end of the answer; None for what the
            client was given.
        """
        # Only this poller's one task asks, so that nobody else spends what it has waited for.
        await asyncio.sleep(max(self.budget.wait(time.monotonic()), self.rests_until - time.monotonic()))
        self.budget.spend(time.monotonic())
        try:
            client = self.client = self.client or await open_client(self.conn_id)
        except Exception as error:  # noqa: BLE001 - sorted out there
            return unusable(error)
        from airflow_provider_finetune.hooks.bounds import REQUEST_SECONDS
        from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, fault_of

        if seconds is None:
            seconds = client.timeout if isinstance(client.timeout, (int, float)) else REQUEST_SECONDS
        try:
            # The client has bounds of its own, but not for a chain of redirects, nor for getting a token.
            async with asyncio.timeout(seconds):
                response = await request(client)
            # The raw answer, undecoded by the SDK: thousands of typed models a minute would cost whole CPU seconds.
            answer = await self._read(response.http_response, read)
        except SDK_ERRORS as error:
            fault = fault_of(error).when_reading()
            if fault.status == 401 and not key_is_fresh:
                # The key may have been changed in the connection since.
                await self._forget_client()
                return await self._ask_for(request, read=read, seconds=seconds, key_is_fresh=True)
            return fault
        except TimeoutError:
            return Fault(FaultKind.LOST, message=f"no whole answer within {seconds:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever the answer makes of the rules: it is one request's
            return Fault(FaultKind.LOST, message=type(error).__name__)
        self.answered_at = time.monotonic()
        if self.back_off.succeeded():
            await self._note("The endpoint answers again.")
        return answer

    async def _read(self, response: Any, read: Callable[[dict[str, Any]], Any]) -> Any:
        """Return what is read in an answer, without holding up the loop, and with a rest behind what was long."""

        def decoded() -> tuple[Any, float]:
            began = time.thread_time()
            answer = response.json()
            if not isinstance(answer, dict):
                raise not_the_apis()
            return read(answer), time.thread_time() - began

        from airflow_provider_finetune.hooks.fine_tuning import not_the_apis
        from airflow_provider_finetune.hooks.size import LONG

        if len(response.content) <= LONG:
            return decoded()[0]
        found, seconds = await asyncio.to_thread(decoded)
        self.rests_until = time.monotonic() + RESTS * seconds
        return found

    async def _forget_client(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()


def requests_per_minute() -> int:
    """Return how many requests a connection may get in a minute: ``[finetune] requests_per_minute``, 300 by default."""
    from airflow.providers.common.compat.sdk import conf

    return max(1, int(conf.getint("finetune", "requests_per_minute", fallback=300)))


def _job(answer: dict[str, Any], job_id: str) -> Job:
    """Return the job that an answer shows.

    :raises openai.APIError: it shows another one.
    """
    from airflow_provider_finetune.hooks.fine_tuning import about_it

    return about_it(Job.from_api(answer), job_id)


def _gently(page: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a page; in a thread, let go of the interpreter's lock behind each, for the event loop."""
    try:
        asyncio.get_running_loop()
        pause = 0.0
    except RuntimeError:  # in a thread
        pause = PAUSE_SECONDS
    for item in page:
        yield item
        if pause:
            time.sleep(pause)


def _add(unseen: Unseen, answer: dict[str, Any]) -> str | None:
    """Add a page of events to those that are unseen; return behind which one to go on, None when that is all."""
    page = items(answer)
    more = unseen.add(_gently(page)) and answer.get("has_more")
    return name(page[-1].get("id")) if more else None


def _after(job_id: str | None) -> dict[str, str]:
    return {"after": job_id} if job_id else {}
