from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"file": "file-..."})
def sweep():
    # [sweep]
    trained = CreateFineTuningJobOperator.partial(
        task_id="train", model=MODEL, training_file="{{ params.file }}", wait_for_completion=True
    ).expand(hyperparameters=[{"n_epochs": 1}, {"n_epochs": 2}, {"n_epochs": 4}])

    @task
    def best(outcomes: list[dict]) -> str:
        losses = {one["fine_tuned_model"]: one["best_checkpoint"]["train_loss"] for one in outcomes}
        return min(losses, key=losses.get)

    best(trained.output)
    # [sweep]


sweep()
