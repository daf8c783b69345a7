"""Retrain a model on data that every Airflow has: the descriptions of its own configuration options.

The model learns to name the section of the configuration from the description of an option. Each run writes the
dataset, checks and uploads it, creates the job, waits for it without holding a worker, and then asks the base model,
the fine-tuned model and every checkpoint about options that none of them has been trained on.

It runs on any endpoint that the connection ``openai_default`` points at, and **costs money** on one that charges. It
needs the extra ``evaluation``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, dag, task

from airflow_provider_finetune.jobs.request import SupervisedHyperparameters, SupervisedMethod
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.operators.model import EvaluateModelOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE_MODEL = "gpt-4.1-mini-2025-04-14"
QUESTION = "Which section of Apache Airflow's configuration does this option belong to? Answer with its name only."

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    catchup=False,
    # A bucket (s3://...) where workers share no disk.
    params={"folder": os.path.join(tempfile.gettempdir(), "airflow-config-dataset")},
    doc_md=__doc__,
    tags=["fine-tuning", "example"],
)
def retrain_on_airflow_config() -> None:
    @task(multiple_outputs=True)
    def write_dataset(params: dict[str, Any] | None = None, run_id: str | None = None) -> dict[str, str]:
        """Write the three parts as chat examples, one a line; return where they are, and where answers go."""
        assert params is not None
        folder = f"{params['folder']}/{hashlib.sha256(str(run_id).encode()).hexdigest()[:12]}"
        ObjectStoragePath(folder).mkdir(parents=True, exist_ok=True)
        parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for part, description, section in labelled_options():
            reply = {"role": "assistant", "content": section}
            parts[part].append(json.dumps({"messages": [*asking(description), reply]}))
        paths = {part: f"{folder}/{part}.jsonl" for part in parts}
        for part, lines in parts.items():
            ObjectStoragePath(paths[part]).write_text("".join(f"{line}\n" for line in lines))
            log.info("%s: %s examples in %s", part, len(lines), paths[part])
        return {**paths, "answers": f"{folder}/answers.jsonl"}

    files = write_dataset()
    validate = ValidateDatasetOperator(task_id="validate", path=files["train"], validation_path=files["validation"])
    upload_train = UploadDatasetOperator(task_id="upload_train", path=files["train"])
    upload_validation = UploadDatasetOperator(task_id="upload_validation", path=files["validation"])
    create = CreateFineTuningJobOperator(
        task_id="create",
        model=BASE_MODEL,
        training_file=upload_train.output,
        validation_file=upload_validation.output,
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=3)),
        suffix="airflow-config",
        seed=42,
    )
    wait = FineTuningJobSensor(task_id="wait", job_id=create.output, poll_interval=5)
    validate >> [upload_train, upload_validation]
    EvaluateModelOperator(
        task_id="evaluate",
        models=wait.output,
        baseline=BASE_MODEL,
        dataset=files["test"],
        training_file=files["train"],
        answers=files["answers"],
        grader={
            "type": "string_check",
            "name": "same section",
            "input": "{{sample.output_text}}",
            "reference": "{{item.reference}}",
            "operation": "eq",
        },
    )


def labelled_options() -> Iterator[tuple[str, str, str]]:
    """Yield part, description and section of every option of Airflow's own; of each section, about a sixth is held out.

    The split depends on the names of the options alone: the same Airflow gives the same dataset, byte by byte.
    """
    from airflow.configuration import retrieve_configuration_description

    seen = set()
    for section, content in sorted(retrieve_configuration_description(include_providers=False).items()):
        options = sorted(content["options"].items(), key=lambda option: hashlib.sha256(option[0].encode()).digest())
        described = [" ".join(option["description"].split()) for _, option in options if option.get("description")]
        for place, description in enumerate(described):
            if description not in seen:  # some options share a description, and no example may be in two parts
                seen.add(description)
                yield {4: "validation", 5: "test"}.get(place % 6, "train"), description, section


def asking(description: str) -> list[dict[str, str]]:
    """Return the turns that ask for the section of an option."""
    return [{"role": "system", "content": QUESTION}, {"role": "user", "content": description}]


retrain_on_airflow_config()
