"""Live progress of deferred tasks: their XComs, where the Airflow version lets a trigger set one."""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_finetune.jobs.progress import KEYS, JobProgress

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_finetune.triggers.poller import Update

#: All tasks together set theirs at most this often: each setting costs the triggerer a request and a transaction.
PAUSE_SECONDS = 0.5

_writers: WeakKeyDictionary[asyncio.AbstractEventLoop, Writer] = WeakKeyDictionary()


class Progress:
    """Keeps the XComs ``metrics``, ``events`` and ``progress`` of a trigger's task up to date.

    A courtesy: it holds up nothing, and when they cannot be set, the wait goes on without them.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self.trigger = trigger
        self.known = JobProgress()
        self.is_recalled = False
        self.works = True

    def note(self, update: Update) -> None:
        """Take note of an update."""
        if update.job is not None:
            self.known.saw_job(update.job)
        self.known.saw_events(update.events)

    def show(self) -> None:
        """Set the XComs as soon as their turn comes, if there is something new."""
        # Airflow gives a trigger its task only after it has made it.
        is_a_tasks = getattr(self.trigger, "task_instance", None) is not None
        if self.works and is_a_tasks and self.known.changed:
            _writers.setdefault(asyncio.get_running_loop(), Writer()).add(self)

    def close(self) -> None:
        """Set nothing any more."""
        self.works = False
        if writer := _writers.get(asyncio.get_running_loop()):
            writer.remove(self)

    async def write(self) -> None:
        """Set the XComs."""
        from asgiref.sync import sync_to_async

        try:
            # Before Airflow 3.3, a thread that asgiref did not start must not talk to the triggerer's supervisor.
            if not self.is_recalled:
                # A worker has begun to show them, or a triggerer that was stopped.
                self.known.recall(await sync_to_async(self._get, thread_sensitive=False)())
                self.is_recalled = True
            if not self.works:  # closed meanwhile: from here on it is a worker that sets them
                return
            news = self.known.news(time.monotonic())
            await sync_to_async(self._set, thread_sensitive=False)(news)
        except Exception as error:  # noqa: BLE001 - whatever Airflow's version makes of it, progress is not the wait
            self.works = False
            self.trigger.log.debug("Progress cannot be shown here: %s", type(error).__name__)

    def _get(self) -> dict[str, Any]:
        from airflow.sdk.execution_time.xcom import XCom

        return {key: XCom.get_one(key=key, **self._task()) for key in KEYS}

    def _set(self, news: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        for key, value in news.items():
            XCom.set(key=key, value=value, **self._task())

    def _task(self) -> dict[str, Any]:
        ti: Any = self.trigger.task_instance
        return {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}


class Writer:
    """Sets the progress of all tasks of a triggerer, one after the other; lives as long as there is some to set."""

    def __init__(self) -> None:
        self.waiting: dict[Progress, None] = {}
        self.task: asyncio.Task[None] | None = None

    def add(self, progress: Progress) -> None:
        """Let the progress have its turn."""
        self.waiting[progress] = None
        if self.task is None or self.task.done():
            # An empty context: the task must not log into the trigger that happened to come first.
            self.task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    def remove(self, progress: Progress) -> None:
        """Let the progress go."""
        self.waiting.pop(progress, None)
        if not self.waiting and self.task is not None:
            self.task.cancel()
            self.task = None

    async def _run(self) -> None:
        while self.waiting:
            progress = min(self.waiting, key=lambda waiting: waiting.known.next_at)
            if (pause := progress.known.next_at - time.monotonic()) > 0:
                await asyncio.sleep(min(pause, 1.0))  # not longer: another may come to wait that need not
                continue
            del self.waiting[progress]
            await progress.write()
            await asyncio.sleep(PAUSE_SECONDS)
