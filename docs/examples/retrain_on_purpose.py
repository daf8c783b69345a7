from airflow.providers.common.compat.sdk import dag

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule="@weekly", catchup=False, params={"file": "file-..."})
def retrain_on_purpose():
    CreateFineTuningJobOperator(
        task_id="train", model=MODEL, training_file="{{ params.file }}", if_exists="new", wait_for_completion=True
    )


retrain_on_purpose()
