from airflow.providers.common.compat.sdk import Asset, dag, task

from airflow_provider_finetune.models import champion
from airflow_provider_finetune.operators.model import (
    EvaluateModelOperator,
    PromoteModelOperator,
    RollbackModelOperator,
)

BASE_MODEL = "gpt-4.1-mini-2025-04-14"


@dag(schedule=None, params={"model": "ft:...", "dataset": "evaluation.jsonl"})
def promote():
    # [promote]
    @task
    def in_use():
        now = champion("support-bot", default=None)
        return {"model": now.model, "conn_id": now.conn_id} if now else BASE_MODEL

    evaluate = EvaluateModelOperator(
        task_id="evaluate",
        models=[{"model": "{{ params.model }}", "base_model": BASE_MODEL}],
        baseline=in_use(),
        dataset="{{ params.dataset }}",
        grader={
            "type": "string_check",
            "name": "same answer",
            "input": "{{sample.output_text}}",
            "reference": "{{item.reference}}",
            "operation": "eq",
        },
    )
    PromoteModelOperator(task_id="promote", name="support-bot", evaluation=evaluate.output)
    # [promote]


# [serve]
@dag(schedule=[Asset("finetune://support-bot")])
def serve():
    @task
    def ask() -> str:
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        now = champion("support-bot")
        client = FineTuningHook(conn_id=now.conn_id).conn
        question = {"role": "user", "content": "How do I reset my password?"}
        answer = client.chat.completions.create(model=now.model, messages=[question])
        return answer.choices[0].message.content

    ask()


# [serve]
@dag(schedule=None)
def roll_back():
    RollbackModelOperator(task_id="roll_back", name="support-bot")


promote()
serve()
roll_back()
