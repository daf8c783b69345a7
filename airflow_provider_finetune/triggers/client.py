"""Opening the client that all waits of a triggerer share, without holding up the event loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow_provider_finetune.exceptions import RequestRefused
from airflow_provider_finetune.jobs.fault import Fault, FaultKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from openai import AsyncOpenAI

#: Where clients are opened, one at a time.
_opening = ThreadPoolExecutor(1, "finetune-client")


@dataclass(slots=True)
class _Loan:
    client: asyncio.Future[AsyncOpenAI]
    borrowers: int = 0


_loans: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Loan]] = WeakKeyDictionary()


async def open_client(conn_id: str) -> AsyncOpenAI:
    """Return a client for the connection, with the SDK's own retries off.

    :raises Exception: whatever keeps it from being opened; :func:`unusable` says what that means.
    """
    # Importing the SDK takes a second and reading the CA certificates a tenth, which the event loop does not have.
    in_thread = asyncio.get_running_loop().run_in_executor
    hooks = await in_thread(_opening, _import_hooks)
    hook = hooks.FineTuningHook(conn_id=conn_id)
    hook.answer_size = hooks.TRIGGERER
    client: AsyncOpenAI
    if _connections_anywhere():
        # Made in the thread: a wait may end before its turn comes.
        client = await in_thread(_opening, lambda: asyncio.run(hook.aget_conn()))
    else:
        client = await hook.aget_conn()
    # The SDK's default of 600 s would let one hanging request hold up every job.
    quick: AsyncOpenAI = hooks.for_short_answers(client)
    return quick.with_options(max_retries=0)


@asynccontextmanager
async def borrowed_client(conn_id: str) -> AsyncIterator[AsyncOpenAI]:
    """Give a client for the connection; all who want one at the same time get the same.

    For what does not belong to a wait: a killed run ends all its waits at once, and cancels all their jobs.
    """
    loans = _loans.setdefault(asyncio.get_running_loop(), {})
    loan = loans.get(conn_id)
    if loan is None:
        loan = loans[conn_id] = _Loan(asyncio.ensure_future(open_client(conn_id)))
    loan.borrowers += 1
    try:
        yield await asyncio.shield(loan.client)
    finally:
        loan.borrowers -= 1
        if not loan.borrowers:
            del loans[conn_id]
            loan.client.cancel()
            if loan.client.done() and not loan.client.cancelled() and loan.client.exception() is None:
                await loan.client.result().close()


def unusable(error: Exception) -> Fault:
    """Return the fault of a connection that gave no client: missing or wrong for good, or not to be had just now."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    wrong = isinstance(error, (AirflowNotFoundException, RequestRefused))
    return (
        Fault(FaultKind.REFUSED, message=str(error)) if wrong else Fault(FaultKind.LOST, message=type(error).__name__)
    )


def _import_hooks() -> Any:
    with _no_garbage_collection():
        importlib.import_module("openai.resources.fine_tuning")  # which the SDK would do in the first request
        return importlib.import_module("airflow_provider_finetune.hooks.fine_tuning")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking, again and again, over all that a large import makes: that stops every thread."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        # What has been made since counts as old from here on, without a walk over it.
        gc.freeze()
        gc.unfreeze()
        gc.enable()


def _connections_anywhere() -> bool:
    """Return whether a connection can be looked up in another event loop than the triggerer's: from Airflow 3.3.2."""
    from airflow.providers.common.compat.sdk import Connection

    return hasattr(Connection, "aextra_dejson")
