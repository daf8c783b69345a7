from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.jobs.request import SupervisedHyperparameters, SupervisedMethod
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

@dag(schedule=None, params={"data": "train.jsonl"})
def fine_tune():
    upload = UploadDatasetOperator(task_id="upload", path="{{ params.data }}")
    create = CreateFineTuningJobOperator(
        task_id="create", model="gpt-4.1-mini-2025-04-14", training_file=upload.output,
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=3)))
    wait = FineTuningJobSensor(task_id="wait", job_id=create.output)

    @task
    def deploy(model: str, best: dict):
        print(f"{model} is ready; its best checkpoint is {best['model']}")
    deploy(wait.output["fine_tuned_model"], wait.output["best_checkpoint"])
fine_tune()
