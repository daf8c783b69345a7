"""Live progress of a deferred task: the XCom ``progress``, where the Airflow version lets a trigger set one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    from airflow_provider_finetune.triggers.poller import Update

EVERY_SECONDS = 30.0
LOSSES = ("train_loss", "valid_loss", "full_valid_loss")


class Progress:
    """Keeps the XCom ``progress`` of a trigger's task up to date: status, step, total steps, losses, estimated finish.

    A courtesy: when it cannot be set, the wait goes on without it.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self.trigger = trigger
        self.state: dict[str, Any] = {}
        self.next_at = 0.0
        self.works = getattr(trigger, "task_instance", None) is not None

    async def show(self, update: Update) -> None:
        """Take note of an update; set the XCom when something has changed and the last time is 30 s ago."""
        before = dict(self.state)
        if update.job is not None:
            self.state |= {"status": update.job.status, "estimated_finish": update.job.estimated_finish}
        for event in update.events:
            data = event.data or {}
            self.state |= {name: data[name] for name in ("step", "total_steps", *LOSSES) if data.get(name) is not None}
        if not self.works or self.state == before or time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + EVERY_SECONDS
        try:
            await asyncio.to_thread(self._set, dict(self.state))
        except Exception as error:  # noqa: BLE001 - whatever Airflow's version makes of it, progress is not the wait
            self.works = False
            self.trigger.log.debug("Progress cannot be shown here: %s", type(error).__name__)

    def _set(self, value: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.xcom import XCom

        ti: Any = self.trigger.task_instance
        XCom.set(
            key="progress", value=value, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
        )
