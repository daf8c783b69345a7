"""One poller for all waits of a process on one connection: one client, one budget, one round for many jobs.

It lives in the triggerer's event loop, which belongs to everybody: it never blocks, it delivers only what changed, and
it closes its client when the last wait ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import random
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_finetune.exceptions import RequestRefused
from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.jobs.events import Event, Unseen
from airflow_provider_finetune.jobs.fault import Fault, FaultKind
from airflow_provider_finetune.jobs.job import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Poller]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Update:
    """What a wait hears: a new state, new events, trouble with the endpoint, or a refusal that ends it."""

    job: Job | None = None
    events: tuple[Event, ...] = ()
    note: str | None = None
    refused: str | None = None


@dataclass(slots=True, eq=False)
class Wait:
    """One wait on one job. ``unseen`` is where its log of events stands."""

    job_id: str
    unseen: Unseen
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
    wait = Wait(job_id, unseen)
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
        self.budget = polling.Budget(requests_per_minute())
        self.back_off = polling.BackOff()
        self.can_list = True
        self.client: AsyncOpenAI | None = None
        self.key_has_worked = False
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
        with suppress(ValueError):
            self.event_turns.remove(wait)
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
                await self._fetch_events(polling.events_allowed(self.budget, requests, started - last))
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
        wanted = polling.due(self.watched.values(), time.monotonic())
        plan = polling.look(wanted, can_list=self.can_list)
        requests, answer = 0, None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration as stop:
                self.can_list = stop.value
                return requests
            answer = None
            if isinstance(step, polling.Seen):
                self._tell(step, jitter)
                continue
            if isinstance(step, polling.Retrieve) and step.job_id not in self.watched:
                answer = Fault(FaultKind.LOST)  # nobody waits for it any more
                continue
            requests += 1
            answer = await self._ask(step)
            if isinstance(answer, Fault) and self._is_down(answer, step, jitter):
                return requests

    def _is_down(self, fault: Fault, step: polling.ListPage | polling.Retrieve, jitter: float) -> bool:
        """Return whether the fault is the whole endpoint's, having backed off for all its jobs at once."""
        one_of_many = isinstance(step, polling.Retrieve) and len(self.watched) > 1
        if fault.kind is FaultKind.REFUSED or not self.back_off.failed(
            fault, time.monotonic(), jitter, one_of_many=one_of_many
        ):
            return False
        if self.back_off.failures == 1:
            self._note(f"{fault.explain('look at the fine-tuning jobs')} Waiting through it until the deadline.")
        return True

    def _tell(self, seen: polling.Seen, jitter: float) -> None:
        watched = self.watched.get(seen.job_id)
        if watched is None:
            return
        if seen.job is None:
            watched.unseen(time.monotonic(), jitter)
            if seen.fault is not None and seen.fault.kind is FaultKind.REFUSED:
                refused = seen.fault.explain(f"retrieve fine-tuning job {seen.job_id}")
                self._deliver(seen.job_id, Update(refused=refused))
            return
        news = polling.worth_telling(watched.job, seen.job)
        watched.seen(seen.job, time.monotonic(), time.time(), jitter)
        if news:
            self._deliver(seen.job_id, Update(job=seen.job))

    def _deliver(self, job_id: str, update: Update) -> None:
        for wait in self.waits.get(job_id, ()):
            wait.updates.put_nowait(update)

    def _note(self, note: str) -> None:
        for job_id in self.waits:
            self._deliver(job_id, Update(note=note))

    # -- events

    async def _fetch_events(self, how_many: int) -> None:
        """Fetch the new events of some jobs, those first that have waited longest for it."""
        for _ in range(min(how_many, len(self.event_turns))):
            if not self.event_turns or self.back_off.failures:
                return
            wait = self.event_turns[0]
            self.event_turns.rotate(-1)
            watched = self.watched.get(wait.job_id)
            if watched is None or watched.job is None:
                continue
            await self._fetch_events_of(wait)

    async def _fetch_events_of(self, wait: Wait) -> None:
        after: str | None = None
        unseen = Unseen(wait.unseen.last_id, wait.unseen.last_created_at)
        while True:
            answer = await self._ask_for(
                lambda client, after=after: client.fine_tuning.jobs.with_raw_response.list_events(
                    wait.job_id, limit=polling.PAGE, **_after(after)
                )
            )
            if isinstance(answer, Fault):
                return  # progress is a courtesy; the status decides
            page = [item for item in answer.get("data") or () if isinstance(item, dict)]
            if not unseen.add(page) or not answer.get("has_more"):
                break
            after = page[-1].get("id")
        if events := unseen.in_order():
            wait.unseen.last_id, wait.unseen.last_created_at = events[-1].id, events[-1].created_at
            wait.updates.put_nowait(Update(events=tuple(events)))

    # -- requests

    async def _ask(self, step: polling.ListPage | polling.Retrieve) -> Any:
        if isinstance(step, polling.Retrieve):
            answer = await self._ask_for(lambda client: client.fine_tuning.jobs.with_raw_response.retrieve(step.job_id))
            return answer if isinstance(answer, Fault) else Job.from_api(answer)
        answer = await self._ask_for(
            lambda client: client.fine_tuning.jobs.with_raw_response.list(limit=polling.PAGE, **_after(step.after))
        )
        if isinstance(answer, Fault):
            return answer
        return _jobs(answer.get("data") or ()), bool(answer.get("has_more"))

    async def _ask_for(self, request: Any) -> Any:
        """Carry out one request within the budget; return the decoded answer, or a fault."""
        # Only this poller's one task asks, so that nobody else spends what it has waited for.
        await asyncio.sleep(self.budget.wait(time.monotonic()))
        self.budget.spend(time.monotonic())
        try:
            client = self.client or await self._open_client()
        except Exception as error:  # noqa: BLE001 - sorted out there
            return _unusable(error)
        from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, fault_of

        try:
            response = await request(client)
            # The raw answer, undecoded by the SDK: thousands of typed models a minute would cost whole CPU seconds.
            answer = response.http_response.json()
        except SDK_ERRORS as error:
            fault = fault_of(error)
            if fault.status == 401 and self.key_has_worked:
                # The key may have been changed in the connection since.
                await self._forget_client()
                return await self._ask_for(request)
            return fault
        if not isinstance(answer, dict):
            return Fault(FaultKind.LOST, message="the answer is not JSON as the API describes it")
        self.key_has_worked = True
        if self.back_off.succeeded():
            self._note("The endpoint answers again.")
        return answer

    async def _open_client(self) -> AsyncOpenAI:
        # In a thread: importing the SDK takes a second, which the event loop does not have.
        hooks = await asyncio.to_thread(importlib.import_module, "airflow_provider_finetune.hooks.fine_tuning")
        client: AsyncOpenAI = await hooks.FineTuningHook(conn_id=self.conn_id).aget_conn()
        # The SDK's default of 600 s would let one hanging request hold up every job.
        seconds = REQUEST_SECONDS if client.timeout == hooks.openai.DEFAULT_TIMEOUT else client.timeout
        self.client = client.with_options(max_retries=0, timeout=seconds)
        return self.client

    async def _forget_client(self) -> None:
        client, self.client, self.key_has_worked = self.client, None, False
        if client is not None:
            await client.close()


def requests_per_minute() -> int:
    """Return how many requests a connection may get in a minute: ``[finetune] requests_per_minute``, 300 by default."""
    from airflow.providers.common.compat.sdk import conf

    return max(1, int(conf.getint("finetune", "requests_per_minute", fallback=300)))


def _unusable(error: Exception) -> Fault:
    """Return the fault of a connection that gave no client: missing or wrong for good, or not to be had just now."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    wrong = isinstance(error, (AirflowNotFoundException, RequestRefused))
    return (
        Fault(FaultKind.REFUSED, message=str(error)) if wrong else Fault(FaultKind.LOST, message=type(error).__name__)
    )


def _jobs(items: Iterable[Any]) -> list[Job]:
    return [Job.from_api(item) for item in items if isinstance(item, dict) and item.get("id")]


def _after(job_id: str | None) -> dict[str, str]:
    return {"after": job_id} if job_id else {}
