"""Train at night only: jobs are paused for the day and resumed for the night, wherever they came from.

Three DAGs that know nothing of each other but a piece of metadata. ``train_at_night`` creates a job that carries it,
and waits; a paused job is nothing to worry about. ``pause_for_the_day`` and ``resume_for_the_night`` look for all
unfinished jobs that carry it. Pausing writes a checkpoint first; resuming goes on from there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.job import (
    CreateFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

AT_NIGHT = {"train": "at-night"}
TAGS = ["fine-tuning", "example"]
DAILY: dict[str, Any] = {"start_date": datetime(2026, 1, 1, tzinfo=UTC), "is_paused_upon_creation": True}


@task
def night_jobs(statuses: list[str]) -> list[str]:
    """Return the ids of the jobs that train at night and have one of the statuses."""
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

    return [job.id for job in FineTuningHook().list_jobs(metadata=AT_NIGHT) if job.status in statuses]


@dag(schedule=None, catchup=False, params={"training_file": "file-..."}, doc_md=__doc__, tags=TAGS)
def train_at_night() -> None:
    create = CreateFineTuningJobOperator(
        task_id="create",
        model="gpt-4.1-mini-2025-04-14",
        training_file="{{ params.training_file }}",
        metadata=AT_NIGHT,
    )
    FineTuningJobSensor(task_id="wait", job_id=create.output, on_paused="wait")


@dag(schedule="0 7 * * *", catchup=False, doc_md=__doc__, tags=TAGS, **DAILY)
def pause_for_the_day() -> None:
    jobs = night_jobs(["validating_files", "queued", "running", "resuming"])
    PauseFineTuningJobOperator.partial(task_id="pause").expand(job_id=jobs)


@dag(schedule="0 19 * * *", catchup=False, doc_md=__doc__, tags=TAGS, **DAILY)
def resume_for_the_night() -> None:
    jobs = night_jobs(["pausing", "paused"])
    ResumeFineTuningJobOperator.partial(task_id="resume").expand(job_id=jobs)


train_at_night()
pause_for_the_day()
resume_for_the_night()
