"""Ten tasks that train at once."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator


@dag(schedule=None)
def ten_at_once() -> None:
    """Create ten jobs; the conf of the run names the training file."""
    CreateFineTuningJobOperator.partial(
        task_id="create",
        model="gpt-4.1-mini-2025-04-14",
        training_file="{{ dag_run.conf['file'] }}",
        poll_interval=5,
        # Airflow 3.3 at times fails a task that is deferred again and again: an event of its executor comes late.
        retries=3,
        retry_delay=timedelta(seconds=1),
        list_lag=2,
    ).expand(hyperparameters=[{"n_epochs": n} for n in range(1, 11)])


ten_at_once()
