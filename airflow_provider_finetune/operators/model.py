"""The operators of a model's life, by name."""

from __future__ import annotations

from airflow_provider_finetune.operators.evaluation import EvaluateModelOperator

__all__ = ["EvaluateModelOperator"]
