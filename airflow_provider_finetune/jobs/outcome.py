"""What a finished job hands to the tasks behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.checkpoints import best_checkpoint
from airflow_provider_finetune.jobs.payload import storable

if TYPE_CHECKING:
    from airflow_provider_finetune.jobs.job import Job

#: The hyperparameters of a job are a dozen numbers and words; an XCom stays small.
MOST_VALUES = 200
LONGEST_VALUE = 500


def outcome(job: Job, checkpoints: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the outcome of a job as small, plain JSON: the ``return_value`` of a task that waited for it.

    :param job: the finished job.
    :param checkpoints: its checkpoints, as :func:`.checkpoints.checkpoint_rows` gives them.
    """
    known: dict[str, Any] = {
        "job_id": job.id,
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "checkpoints": checkpoints,
        "best_checkpoint": best_checkpoint(checkpoints),
        "trained_tokens": job.trained_tokens,
        "hyperparameters": storable(job.trained_with(), most_values=MOST_VALUES, longest=LONGEST_VALUE) or None,
        "result_files": list(job.result_files),
        "created_at": job.created_at,
        "finished_at": job.finished_at,
    }
    cleaned: dict[str, Any] = storable(known)  # a job that is paid for does not fail for what is odd about its answer
    return cleaned
