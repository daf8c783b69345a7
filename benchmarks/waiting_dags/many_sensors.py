"""As many sensors as there are jobs in the run's conf."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_finetune.sensors.job import FineTuningJobSensor

with DAG("many_sensors", schedule=None, max_active_tasks=1000):

    @task
    def jobs() -> list[str]:
        return get_current_context()["dag_run"].conf["jobs"]

    FineTuningJobSensor.partial(
        task_id="wait", poll_interval=5, timeout=3600, retries=2, retry_delay=timedelta(seconds=5)
    ).expand(job_id=jobs())
