"""A DAG whose deferred task the page "Training" is looked at for."""

from __future__ import annotations

from airflow.sdk import dag

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator


@dag(schedule=None)
def training_page() -> None:
    """Create a job and wait for it; the conf of the run names the training file."""
    CreateFineTuningJobOperator(
        task_id="train",
        model="gpt-4.1-mini-2025-04-14",
        training_file="{{ dag_run.conf['file'] }}",
        hyperparameters={"n_epochs": 3},
        wait_for_completion=True,
        poll_interval=2,
        list_lag=1,
    )


training_page()
