"""Teach a model a house style with direct preference optimization (DPO): pairs of a better and a worse answer.

The questions are descriptions of Airflow's own configuration options. Both answers name the section; the better one
names it as ``airflow.cfg`` does, the worse one chats.

It runs on any endpoint that the connection ``openai_default`` points at, and **costs money** on one that charges.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, dag, task

from airflow_provider_finetune.jobs.request import DpoHyperparameters, DpoMethod
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

SECTIONS = ["core", "logging", "scheduler"]

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    catchup=False,
    # A bucket (s3://...) where workers share no disk.
    params={"folder": os.path.join(tempfile.gettempdir(), "airflow-config-preferences")},
    doc_md=__doc__,
    tags=["fine-tuning", "example"],
)
def preference_tuning() -> None:
    @task
    def write_preferences(params: dict[str, Any] | None = None) -> str:
        """Write a pair of answers a line; return where."""
        from airflow.configuration import retrieve_configuration_description

        assert params is not None
        ObjectStoragePath(params["folder"]).mkdir(parents=True, exist_ok=True)
        described = retrieve_configuration_description(include_providers=False)
        pairs = [
            {
                "input": {"messages": [{"role": "user", "content": option["description"]}]},
                "preferred_output": [{"role": "assistant", "content": f"[{section}]"}],
                "non_preferred_output": [{"role": "assistant", "content": f"I think it is in {section}."}],
            }
            for section in SECTIONS
            for option in described[section]["options"].values()
            if option.get("description")
        ]
        path = f"{params['folder']}/train.jsonl"
        ObjectStoragePath(path).write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
        return path

    @task
    def ask(model: str) -> str:
        """Ask the model about an option of this provider; return its answer."""
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        question: Any = {"role": "user", "content": "How many task instances may run at the same time."}
        completion = FineTuningHook().conn.chat.completions.create(model=model, messages=[question])
        answer = completion.choices[0].message.content or ""
        log.info("%s answers: %s", model, answer)
        return answer

    upload = UploadDatasetOperator(task_id="upload", path=write_preferences(), method="dpo")
    train = CreateFineTuningJobOperator(
        task_id="train",
        model="gpt-4.1-mini-2025-04-14",
        training_file=upload.output,
        method=DpoMethod(hyperparameters=DpoHyperparameters(beta=0.1, n_epochs=2)),
        suffix="house-style",
        wait_for_completion=True,
        poll_interval=5,
    )
    ask(train.output["fine_tuned_model"])


preference_tuning()
