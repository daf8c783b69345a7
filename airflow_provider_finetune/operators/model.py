"""The operators of a model's life, by name."""

from __future__ import annotations

from airflow_provider_finetune.operators.clean_up import CleanUpFineTuningOperator, DeleteFineTunedModelOperator
from airflow_provider_finetune.operators.evaluation import EvaluateModelOperator
from airflow_provider_finetune.operators.promotion import PromoteModelOperator, RollbackModelOperator

__all__ = [
    "CleanUpFineTuningOperator",
    "DeleteFineTunedModelOperator",
    "EvaluateModelOperator",
    "PromoteModelOperator",
    "RollbackModelOperator",
]
