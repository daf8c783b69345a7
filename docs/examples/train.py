from airflow.providers.common.compat.sdk import dag

from airflow_provider_finetune.jobs.request import SupervisedHyperparameters, SupervisedMethod
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"train": "train.jsonl", "valid": "valid.jsonl"})
def train():
    check = ValidateDatasetOperator(
        task_id="check",
        path="{{ params.train }}",
        validation_path="{{ params.valid }}",
        n_epochs=3,
        price_per_million_tokens=25.0,
        max_cost=10,
    )
    upload = UploadDatasetOperator(task_id="upload", path="{{ params.train }}")
    upload_valid = UploadDatasetOperator(task_id="upload_valid", path="{{ params.valid }}", min_examples=1)
    # [create]
    create = CreateFineTuningJobOperator(
        task_id="create",
        model=MODEL,
        training_file=upload.output,
        validation_file=upload_valid.output,
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=3)),
        suffix="support-bot",
        wait_for_completion=True,
    )
    # [create]
    check >> [upload, upload_valid]
    return create


train()
