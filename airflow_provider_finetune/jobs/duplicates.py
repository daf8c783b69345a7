"""Which of a submission's jobs is the one to go on with, and which are duplicates of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_finetune.jobs.job import Job

#: A job in one of these is not gone on with: it has ended without a model, or will.
DEAD = (TERMINAL - {"succeeded"}) | {"cancelling"}


def newest_first(job: Job) -> int:
    # Within one second only the order of the list tells which is older; sorting by this keeps it.
    return -(job.created_at or 0)


def without_duplicates(jobs: list[Job], own: Job | None, buried: Collection[str]) -> list[Job]:
    """Return the jobs without the duplicates: those created while a rightful one was alive.

    Whoever sees both alive cancels the duplicate, so one that has outlived the rightful job is not safe to take either.

    :param jobs: the jobs of one request, oldest first.
    :param own: the job that this attempt has created.
    :param buried: the jobs that were dead before: whatever the server says of the time at which they ended.
    """
    rightful: list[Job] = []
    for job in jobs:
        before = rightful[-1] if rightful else None
        if before is None or (before.status in DEAD and _ended_before(before, job, own, buried)):
            rightful.append(job)
    return rightful


def _ended_before(before: Job, job: Job, own: Job | None, buried: Collection[str]) -> bool:
    if own is not None and job.id == own.id and before.id in buried:
        return True
    if job.created_at is None:
        return True  # nothing tells; better to go on with the job than to pay for another one
    # A cancelled job may be wound down, and stamped, long after it was seen to be cancelled.
    return before.status != "failed" or (before.finished_at or 0) <= job.created_at
