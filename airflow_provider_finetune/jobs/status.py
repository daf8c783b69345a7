"""What a job's state means: the one function that poke, reschedule, trigger and resumed task all ask."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_provider_finetune.jobs.job import Job, JobError

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
KNOWN = TERMINAL | {"validating_files", "queued", "running", "pausing", "paused", "resuming", "pending", "cancelling"}

OnPaused = Literal["wait", "resume", "fail"]

#: A job may show "succeeded" shortly before its model's name; longer than this, the name is not coming.
MODEL_NAME_GRACE_SECONDS = 120

#: Error codes of a failed job that the same request would meet again.
HOPELESS_CODES = frozenset(
    {
        "billing_hard_limit_reached",
        "exceeded_quota",
        "insufficient_quota",
        "invalid_file_format",
        "invalid_n_examples",
        "invalid_training_file",
        "invalid_validation_file",
        "model_not_available",
        "training_not_available",
    }
)
#: Vendors name their safety checks differently, but all of them by these words.
SAFETY_WORDS = ("content_policy", "moderation", "safety", "unsafe")


class Kind(StrEnum):
    """What to do next about a job."""

    WAIT = "wait"
    RESUME = "resume"
    REACHED = "reached"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"


class Decision(NamedTuple):
    """What a job's state means for whoever waits on it.

    ``reason`` is for people: what happened, and what to do about it. ``retry_helps`` tells whether another job from the
    same request has a chance.
    """

    kind: Kind
    reason: str = ""
    retry_helps: bool = True


class Waiting(Protocol):
    """A wait on a job: what it was asked for, and what it remembers from one look to the next.

    ``succeeded_at`` is when it first saw that the job has succeeded, epoch seconds. ``if_gone`` is the status of the
    job if the endpoint does not know it any more; None makes that an error.
    """

    succeeded_at: float | None
    if_gone: str | None

    @property
    def end_time(self) -> float | None: ...
    @property
    def on_paused(self) -> OnPaused: ...
    @property
    def until(self) -> Collection[str]: ...


def consider(wait: Waiting, job: Job, now: float) -> Decision:
    """Return what the state of the job means for the wait, which remembers what it has seen.

    :param now: the current time, epoch seconds.
    """
    if job.status == "succeeded" and wait.succeeded_at is None:
        wait.succeeded_at = now
    if job.status == "cancelling":
        wait.if_gone = "cancelled"
    return decide(
        job,
        now=now,
        end_time=wait.end_time,
        on_paused=wait.on_paused,
        until=wait.until,
        succeeded_at=wait.succeeded_at,
    )


def decide(
    job: Job,
    *,
    now: float,
    end_time: float | None,
    on_paused: OnPaused = "wait",
    until: Collection[str] = (),
    succeeded_at: float | None = None,
) -> Decision:
    """Return what the state of ``job`` means for a wait.

    :param now: the current time, epoch seconds.
    :param end_time: when the wait ends, epoch seconds; None waits for ever.
    :param on_paused: what a paused job means: go on waiting, resume it, or fail.
    :param until: statuses that end this wait beside the terminal ones.
    :param succeeded_at: when this wait first saw that the job has succeeded, epoch seconds; None for just now.
    """
    if job.status in until:
        return Decision(Kind.REACHED)
    if job.status == "succeeded":
        return _succeeded(job, now, end_time, now if succeeded_at is None else succeeded_at)
    if job.status == "failed":
        return Decision(Kind.FAILED, _why_failed(job), retry_helps=not is_hopeless(job.error))
    if job.status == "cancelled":
        return Decision(
            Kind.FAILED,
            f"Fine-tuning job {job.id} was cancelled{_said(job)}. Clear the task that created it to start a new one.",
            retry_helps=False,
        )
    if end_time is not None and now >= end_time:
        return Decision(
            Kind.TIMEOUT,
            f"Fine-tuning job {job.id} is still {job.status!r} and the time to wait for it is over. "
            "The job was not cancelled; raise the timeout and clear the task to go on waiting for the same job.",
        )
    if job.status == "paused" and on_paused == "resume":
        return Decision(Kind.RESUME)
    if job.status == "paused" and on_paused == "fail":
        return Decision(
            Kind.FAILED,
            f"Fine-tuning job {job.id} is paused and on_paused is 'fail'. Resume the job "
            "(ResumeFineTuningJobOperator), then clear this task.",
        )
    # Whatever else a server calls it, it is not over: OpenAI, Azure and others keep adding statuses.
    return Decision(Kind.WAIT)


def is_hopeless(error: JobError | None) -> bool:
    """Return whether a job with this error would fail again, so that an Airflow retry only costs."""
    if error is None:
        return False
    # A failure that points at a file is about the data, whatever its code is called.
    return (
        error.code in HOPELESS_CODES
        or error.param in ("training_file", "validation_file")
        or any(word in (error.code or "") for word in SAFETY_WORDS)
    )


def _succeeded(job: Job, now: float, end_time: float | None, seen_at: float) -> Decision:
    if job.fine_tuned_model:
        return Decision(Kind.SUCCEEDED)
    # Whichever is earlier: not every endpoint tells when a job has finished, and not by every clock.
    since = min(seen_at, job.finished_at or seen_at)
    if now < since + MODEL_NAME_GRACE_SECONDS:
        if end_time is None or now < end_time:
            return Decision(Kind.WAIT)
        return Decision(
            Kind.TIMEOUT,
            f"Fine-tuning job {job.id} succeeded, does not name its model yet, and the time to wait is over. Clear the "
            "task to look again.",
        )
    return Decision(
        Kind.FAILED,
        f"Fine-tuning job {job.id} succeeded but has no model: the vendor probably blocked it after its safety "
        "evaluation. The job's events say why; change the training data before you train again.",
        retry_helps=False,
    )


_REMEDIES = {
    "invalid_n_examples": "Add examples: the API wants at least 10.",
    "invalid_training_file": "Check the file with ValidateDatasetOperator or `finetune-dataset check`.",
    "file_not_found": "Clear the task that uploads the file, together with those behind it.",
    "invalid_validation_file": "Check the file with ValidateDatasetOperator or `finetune-dataset check`.",
    "insufficient_quota": "Add credit or raise the limit of the organisation, then clear the task.",
    "exceeded_quota": "Add credit or raise the limit of the organisation, then clear the task.",
}


def _why_failed(job: Job) -> str:
    error = job.error
    if error is None:
        return f"Fine-tuning job {job.id} failed{_said(job)} and the server gives no reason; its events may."
    remedy = _REMEDIES.get(
        error.code or "",
        "Mend the cause before you train again."
        if is_hopeless(error)
        else "The cause is on the server's side; a retry may help.",
    )
    where = f", param {error.param}" if error.param else ""
    said = error.message or "no message"
    return f"Fine-tuning job {job.id} failed{_said(job)}: {said} (code {error.code}{where}).\n{remedy}"


def _said(job: Job) -> str:
    return f" (the endpoint says {job.said})" if job.said else ""
