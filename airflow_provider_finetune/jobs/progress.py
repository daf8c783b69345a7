"""How far a job has come: what the XCom ``progress`` of a task that waits for it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.payload import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_finetune.jobs.events import Event
    from airflow_provider_finetune.jobs.job import Job

MEASURED = ("step", "total_steps", "train_loss", "valid_loss", "full_valid_loss")


def progressed(so_far: dict[str, Any], job: Job | None, events: Iterable[Event] = ()) -> dict[str, Any]:
    """Return the progress with what is new: ``{status, estimated_finish, step, total_steps, train_loss, …}``.

    :param so_far: the progress up to now.
    :param job: the job as it is now; None where only events are new.
    :param events: new events, in the order in which they happened.
    """
    progress = dict(so_far)
    if job is not None:
        progress |= {"status": job.status, "estimated_finish": job.estimated_finish}
    for event in events:
        data = event.data or {}
        progress |= {name: data[name] for name in MEASURED if number(data.get(name)) is not None}
    return progress
