"""Live progress of deferred tasks: the XCom ``progress``, where the Airflow version lets a trigger set one."""

from __future__ import annotations

import asyncio
import contextvars
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_finetune.jobs.progress import progressed

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_finetune.triggers.poller import Update

#: Each task's progress is set at most this often.
EVERY_SECONDS = 30.0
#: All tasks together set theirs at most this often: each setting costs the triggerer a request and a transaction.
PAUSE_SECONDS = 0.5

_writers: WeakKeyDictionary[asyncio.AbstractEventLoop, Writer] = WeakKeyDictionary()


class Progress:
    """Keeps the XCom ``progress`` of a trigger's task up to date: status, step, total steps, losses, estimated finish.

    A courtesy: it holds up nothing, and when it cannot be set, the wait goes on without it.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self.trigger = trigger
        self.state: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}
        self.next_at = 0.0
        self.works = getattr(trigger, "task_instance", None) is not None

    def note(self, update: Update) -> dict[str, Any]:
        """Take note of an update; return the progress with it."""
        self.state = progressed(self.state, update.job, update.events)
        return self.state

    def show(self) -> None:
        """Set the XCom as soon as its turn comes, if there is something new."""
        if self.works and self.state != self.shown:
            _writers.setdefault(asyncio.get_running_loop(), Writer()).add(self)

    def close(self) -> None:
        """Set nothing any more."""
        self.works = False
        if writer := _writers.get(asyncio.get_running_loop()):
            writer.remove(self)

    async def write(self) -> None:
        """Set the XCom."""
        from asgiref.sync import sync_to_async

        self.shown = dict(self.state)
        self.next_at = time.monotonic() + EVERY_SECONDS
        try:
            # Before Airflow 3.3, a thread that asgiref did not start must not talk to the triggerer's supervisor.
            await sync_to_async(self._set, thread_sensitive=False)(self.shown)
        except Exception as error:  # noqa: BLE001 - whatever Airflow's version makes of it, progress is not the wait
            self.works = False
            self.trigger.log.debug("Progress cannot be shown here: %s", type(error).__name__)

    def _set(self, value: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.trigger.task_instance
        XCom.set(
            key="progress", value=value, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
        )


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
            progress = min(self.waiting, key=lambda waiting: waiting.next_at)
            if (pause := progress.next_at - time.monotonic()) > 0:
                await asyncio.sleep(min(pause, 1.0))  # not longer: another may come to wait that need not
                continue
            del self.waiting[progress]
            await progress.write()
            await asyncio.sleep(PAUSE_SECONDS)
