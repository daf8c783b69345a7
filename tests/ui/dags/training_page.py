"""DAGs whose tasks the page "Training" is looked at for; the conf of a run names the training file."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

TRAINED = {
    # Airflow 3.3.2 sometimes takes a task for failed that goes on within a second of its deferral.
    "retries": 2,
    "retry_delay": timedelta(seconds=1),
    "model": "gpt-4.1-mini-2025-04-14",
    "training_file": "{{ dag_run.conf['file'] }}",
    "wait_for_completion": True,
    "poll_interval": 2,
    "list_lag": 1,
}


@dag(schedule=None)
def training_page() -> None:
    """Create a job and wait for it."""
    CreateFineTuningJobOperator(task_id="train", hyperparameters={"n_epochs": 3}, **TRAINED)


@dag(schedule=None)
def mapped_pages() -> None:
    """Create a job for each of two numbers of epochs."""
    CreateFineTuningJobOperator.partial(task_id="train", **TRAINED).expand(
        hyperparameters=[{"n_epochs": 1}, {"n_epochs": 50}]
    )


training_page()
mapped_pages()
