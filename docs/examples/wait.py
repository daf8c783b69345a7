from airflow.providers.common.compat.sdk import dag

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"file": "file-..."})
def wait():
    create = CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file="{{ params.file }}")
    # [sensors]
    deferred = FineTuningJobSensor(task_id="deferred", job_id=create.output)
    rescheduled = FineTuningJobSensor(
        task_id="rescheduled", job_id=create.output, deferrable=False, mode="reschedule", poll_interval=300
    )
    # [sensors]
    return deferred, rescheduled


wait()
