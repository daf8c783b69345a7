"""Use a champion by its role: this DAG starts when ``airflow-config`` has another champion, and asks it a question.

It names no model. The DAGs ``retrain_and_promote`` and ``sweep_and_promote`` decide which one it is.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.common.compat.sdk import Asset, dag, task

from airflow_provider_finetune.models import champion

NAME = "airflow-config"

log = logging.getLogger(__name__)


@dag(
    schedule=[Asset(f"finetune://{NAME}")],
    catchup=False,
    doc_md=__doc__,
    tags=["fine-tuning", "example"],
)
def serve_airflow_config() -> None:
    @task
    def ask() -> dict[str, str]:
        """Ask the champion about an option; return who answered, and what."""
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        now = champion(NAME)
        question: Any = {"role": "user", "content": "How many task instances the scheduler may queue in one loop."}
        completion = FineTuningHook(conn_id=now.conn_id).conn.chat.completions.create(
            model=now.model, messages=[question]
        )
        answer = completion.choices[0].message.content or ""
        log.info("%s, champion since %s, answers: %s", now.model, now.promoted_at, answer)
        return {"model": now.model, "answer": answer}

    ask()


serve_airflow_config()
