"""The worker's part in showing how far a job is: the XComs ``metrics``, ``events`` and ``progress`` of its task."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.progress import CURSOR, KEYS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.progress import WatchedProgress

log = logging.getLogger(__name__)

#: Where a sensor that is rescheduled keeps what it has shown: Airflow clears its XComs before each poke.
_STORED = "fine_tuning_progress"


def show(
    context: Context,
    progress: WatchedProgress,
    *,
    whole: bool = False,
    at_once: bool = False,
    rescheduled: bool = False,
) -> None:
    """Set the XComs that have changed: a courtesy, which never fails the task.

    :param whole: the wait is over; what is missing is asked for.
    :param at_once: whenever that was done last; else it is done every half a minute.
    :param rescheduled: each poke is a process of its own, and begins without XComs.
    """
    if progress.job is None or not (whole or at_once or time.monotonic() >= progress.known.next_at):
        return
    store: Any = context.get("task_state_store") if rescheduled else None
    try:
        if not progress.is_whole:
            shown = store.get(_STORED) if store is not None else _xcoms(context["ti"])
            if whole or shown:
                progress.catch_up(shown or {})
        news = progress.known.news(time.monotonic())
        if not progress.is_whole:  # nobody must take it for whole who takes up from here
            news = {"progress": {name: value for name, value in news["progress"].items() if name not in CURSOR}}
        for key, value in news.items():
            context["ti"].xcom_push(key=key, value=value)
        if store is not None and progress.is_whole:
            store.set(_STORED, progress.known.xcoms())
    except Exception as error:  # noqa: BLE001 - whatever the XCom backend makes of it, the job is what counts
        log.warning("How far the job is cannot be shown: %s", type(error).__name__)


def _xcoms(ti: Any) -> dict[str, Any]:
    """Return what was shown while the task was deferred, or before."""
    shown = {key: ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index) for key in KEYS}
    return {key: value for key, value in shown.items() if value is not None}
