"""Pausing, resuming and cancelling: what to do next, from the job's status alone.

How a server words its refusal to pause a job that is not running is not documented, so the words are never read: the
job is read back, and its status decides.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from airflow_provider_finetune.jobs.status import KNOWN, TERMINAL

Goal = Literal["pause", "resume", "cancel"]


class Step(StrEnum):
    """What to do next on the way to a goal."""

    THERE = "there"
    ASK = "ask"
    WAIT = "wait"
    NEVER = "never"


#: A job in one of these is on its way, or cannot be paused yet.
_WAIT_TO_PAUSE = frozenset({"validating_files", "queued", "pending", "pausing", "resuming", "cancelling"})


def next_step(goal: Goal, status: str) -> Step:
    """Return what to do about a job of this status; safe to ask again at any time, whoever changed the job meanwhile.

    A status that nobody has heard of is neither paused nor over.
    """
    if goal == "cancel":
        if status == "cancelled":
            return Step.THERE
        return Step.NEVER if status in TERMINAL else Step.WAIT if status == "cancelling" else Step.ASK
    if status in TERMINAL:
        return Step.NEVER
    if goal == "pause":
        if status == "paused":
            return Step.THERE
        return Step.WAIT if status in _WAIT_TO_PAUSE else Step.ASK
    if status == "paused":
        return Step.ASK
    return Step.WAIT if status in ("pausing", "cancelling") else Step.THERE


def worth_waking(goal: Goal) -> list[str]:
    """Return the statuses at which a wait for the goal has something to do."""
    return sorted(status for status in KNOWN if next_step(goal, status) is not Step.WAIT)


def goes_on(job_id: str, conn_id: str) -> str:
    """Return what to tell a person who killed a task whose job is not cancelled with it."""
    return (
        f"The task was killed by a person; fine-tuning job {job_id} goes on, and may cost money.\n"
        f"To cancel it: FineTuningHook({conn_id!r}).cancel_job({job_id!r}), or CancelFineTuningJobOperator in a DAG. "
        "With cancel_on_kill=True, killing this task cancels it."
    )
