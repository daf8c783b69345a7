from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

ACCOUNT = (
    "https://management.azure.com/subscriptions/my-subscription/resourceGroups/my-group"
    "/providers/Microsoft.CognitiveServices/accounts/my-resource"
)


@dag(schedule=None, params={"data": "train.jsonl", "account": ACCOUNT})
def azure():
    # [train]
    check = ValidateDatasetOperator(task_id="check", path="{{ params.data }}", endpoint="azure")
    upload = UploadDatasetOperator(task_id="upload", path="{{ params.data }}", conn_id="azure")
    train = CreateFineTuningJobOperator(
        task_id="train",
        model="gpt-4.1-mini-2025-04-14",
        training_file=upload.output,
        extra_body={"trainingType": "GlobalStandard"},
        wait_for_completion=True,
        conn_id="azure",
    )
    check >> upload
    # [train]

    # [deploy]
    @task
    def deploy(model: str, params: dict | None = None) -> str:
        import requests
        from azure.identity import DefaultAzureCredential

        token = DefaultAzureCredential().get_token("https://management.azure.com/.default").token
        answer = requests.put(
            f"{params['account']}/deployments/support-bot?api-version=2024-10-01",
            headers={"Authorization": f"Bearer {token}"},
            json={
                "sku": {"name": "developertier", "capacity": 50},
                "properties": {"model": {"format": "OpenAI", "name": model, "version": "1"}},
            },
            timeout=60,
        )
        answer.raise_for_status()
        return "support-bot"

    @task(retries=10)  # a deployment takes minutes to be ready
    def ask(deployment: str) -> str | None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        with FineTuningHook(conn_id="azure").conn as client:
            messages = [{"role": "user", "content": "How do I reset my password?"}]
            answer = client.chat.completions.create(model=deployment, messages=messages)
        return answer.choices[0].message.content

    ask(deploy(train.output["fine_tuned_model"]))
    # [deploy]


azure()
