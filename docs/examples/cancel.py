from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.job import CancelFineTuningJobOperator, CreateFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"file": "file-..."})
def cancel():
    create = CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file="{{ params.file }}")

    @task
    def release(job_id: str) -> None:
        raise ValueError(f"the release is off, and job {job_id} is not needed any more")

    # [cancel]
    wait = FineTuningJobSensor(task_id="wait", job_id=create.output, cancel_on_kill=True)
    clean_up = CancelFineTuningJobOperator(task_id="clean_up", job_id=create.output, trigger_rule="one_failed")
    # [cancel]
    release(create.output) >> wait >> clean_up


cancel()
