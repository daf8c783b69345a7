"""Try several hyperparameters, and make the model that answers best the champion of ``airflow-config``.

Each setting is a job of its own, at the same time. All their models and checkpoints are asked about the same held-out
examples; the loss that a job reports does not tell which model answers best.

It runs on any endpoint that the connection ``openai_default`` points at, and **costs money** on one that charges: a job
for each setting. It needs the extra ``evaluation``.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, dag, task

from airflow_provider_finetune.models import champion
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.operators.model import EvaluateModelOperator, PromoteModelOperator

NAME = "airflow-config"
BASE_MODEL = "gpt-4.1-mini-2025-04-14"
SECTIONS = ["core", "logging", "scheduler"]


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    # A bucket (s3://...) where workers share no disk.
    params={"folder": os.path.join(tempfile.gettempdir(), "airflow-config-sweep")},
    doc_md=__doc__,
    tags=["fine-tuning", "example"],
)
def sweep_and_promote() -> None:
    @task(multiple_outputs=True)
    def write_dataset(params: dict[str, Any] | None = None) -> dict[str, str]:
        """Write what to train on and what to ask about; return where."""
        from airflow.configuration import retrieve_configuration_description

        assert params is not None
        ObjectStoragePath(params["folder"]).mkdir(parents=True, exist_ok=True)
        described = retrieve_configuration_description(include_providers=False)
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for section in SECTIONS:
            for option in described[section]["options"].values():
                question = {"role": "user", "content": option.get("description") or option.get("example") or section}
                answer = {"role": "assistant", "content": section}
                is_held_out = hashlib.sha256(question["content"].encode()).digest()[0] % 4 == 0
                lines["test" if is_held_out else "train"].append(json.dumps({"messages": [question, answer]}) + "\n")
        paths = {part: f"{params['folder']}/{part}.jsonl" for part in lines}
        for part, path in paths.items():
            ObjectStoragePath(path).write_text("".join(dict.fromkeys(lines[part])))
        return paths

    @task
    def in_use() -> dict[str, Any]:
        """Return the model to compare with: the champion, or the base model while there is none."""
        now = champion(NAME, default=None)
        return {"model": BASE_MODEL} if now is None else {"model": now.model, "conn_id": now.conn_id}

    files = write_dataset()
    upload = UploadDatasetOperator(task_id="upload", path=files["train"])
    train = CreateFineTuningJobOperator.partial(
        task_id="train",
        model=BASE_MODEL,
        training_file=upload.output,
        suffix=NAME,
        wait_for_completion=True,
        poll_interval=5,
    ).expand(hyperparameters=[{"n_epochs": 1}, {"n_epochs": 3}, {"n_epochs": 3, "learning_rate_multiplier": 0.1}])
    evaluate = EvaluateModelOperator(
        task_id="evaluate",
        models=train.output,
        baseline=in_use(),
        dataset=files["test"],
        training_file=files["train"],
        answers="{{ params.folder }}/answers.jsonl",
        grader={
            "type": "string_check",
            "name": "same section",
            "input": "{{sample.output_text}}",
            "reference": "{{item.reference}}",
            "operation": "eq",
        },
    )
    PromoteModelOperator(task_id="promote", name=NAME, evaluation=evaluate.output)


sweep_and_promote()
