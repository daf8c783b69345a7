"""Promotes what the run's configuration says was evaluated."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_finetune.operators.model import PromoteModelOperator

with DAG("promotions", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), max_active_runs=8):
    PromoteModelOperator(task_id="promote", name="contested", evaluation="{{ dag_run.conf['evaluation'] }}")
