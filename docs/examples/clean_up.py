from airflow.providers.common.compat.sdk import Param, dag

from airflow_provider_finetune.operators.model import CleanUpFineTuningOperator, DeleteFineTunedModelOperator


# [clean_up]
@dag(schedule="@weekly", catchup=False, params={"dry_run": Param(True, type="boolean")})
def clean_up():
    CleanUpFineTuningOperator(
        task_id="clean_up",
        dag_ids=["retrain_and_promote", "sweep"],
        keep=3,
        dry_run="{{ params.dry_run }}",
    )
    # [clean_up]


# [delete]
@dag(schedule=None, params={"model": "ft:..."})
def delete_model():
    DeleteFineTunedModelOperator(task_id="delete", model="{{ params.model }}")
    # [delete]


clean_up()
delete_model()
