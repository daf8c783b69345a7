from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"file": "file-..."})
def use():
    train = CreateFineTuningJobOperator(
        task_id="train", model=MODEL, training_file="{{ params.file }}", wait_for_completion=True
    )

    # [ask]
    @task
    def ask(model: str, question: str) -> str | None:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        with FineTuningHook(conn_id="openai_default").conn as client:
            messages = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model=model, messages=messages)
        return answer.choices[0].message.content

    ask(train.output["fine_tuned_model"], "How do I reset my password?")
    # [ask]


use()
