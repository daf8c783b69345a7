"""The wait for an endpoint that runs one job at a time, in the triggerer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_finetune.jobs.events import Unseen
from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class EndpointFreeTrigger(BaseTrigger):
    """Fires once, when the job that holds an endpoint has ended or is gone, or when the time to wait is over.

    The event is ``{"job_id", "event", "end_time"}`` with ``event`` one of ``free`` and ``timeout``. The job is somebody
    else's: nothing of it is logged, and it is never cancelled. The arguments are stored in Airflow's database: their
    names are kept.

    :param conn_id: the Airflow connection.
    :param job_id: the job that holds the endpoint.
    :param poll_interval: seconds between two looks.
    :param end_time: when to stop waiting, epoch seconds.
    """

    def __init__(self, conn_id: str, job_id: str, poll_interval: float, end_time: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.job_id = job_id
        self.poll_interval = poll_interval
        self.end_time = end_time

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return (
            "airflow_provider_finetune.triggers.endpoint.EndpointFreeTrigger",
            {
                "conn_id": self.conn_id,
                "job_id": self.job_id,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once."""
        why = "free" if await self._is_free() else "timeout"
        event = {"job_id": self.job_id, "event": why, "end_time": self.end_time}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _is_free(self) -> bool:
        from airflow_provider_finetune.triggers.poller import waiting

        waits = waiting(self.conn_id, self.job_id, poll_interval=self.poll_interval, unseen=Unseen())
        async with waits as wait:
            try:
                async with asyncio.timeout(max(0.0, self.end_time - time.time())):
                    while True:
                        update = await wait.updates.get()
                        # A job that the endpoint does not know any more does not hold it either.
                        if update.refused or (update.job is not None and update.job.status in TERMINAL):
                            return True
            except TimeoutError:
                return False
