from airflow.providers.common.compat.sdk import Asset, dag, task

from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"
TICKETS = Asset("support-tickets")


@dag(schedule=None)
def export_tickets():
    @task(outlets=[TICKETS])
    def export() -> None:
        """Write train.jsonl from the tickets of the week."""

    export()


@dag(schedule=[TICKETS], params={"data": "train.jsonl"})
def retrain_on_data():
    upload = UploadDatasetOperator(task_id="upload", path="{{ params.data }}")
    CreateFineTuningJobOperator(task_id="train", model=MODEL, training_file=upload.output, wait_for_completion=True)


export_tickets()
retrain_on_data()
