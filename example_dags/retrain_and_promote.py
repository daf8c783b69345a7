"""Retrain a model, and let it take the champion's place if it answers better.

Each run writes the dataset, checks and uploads it, creates the job, waits for it without holding a worker, and asks the
new model, its checkpoints and the present champion about examples that none of them was trained on. A person looks at
the scores and approves; then the best model becomes the champion of ``airflow-config``, if it is better than the one in
use beyond chance. The DAG ``serve_airflow_config`` starts when it did.

It runs on any endpoint that the connection ``openai_default`` points at, and **costs money** on one that charges. It
needs the extra ``evaluation``, and Airflow 3.1 for the approval.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import Any

from airflow.providers.common.compat.sdk import ObjectStoragePath, dag, task
from airflow.providers.standard.operators.hitl import ApprovalOperator

from airflow_provider_finetune.jobs.request import SupervisedHyperparameters, SupervisedMethod
from airflow_provider_finetune.models import champion
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.operators.model import EvaluateModelOperator, PromoteModelOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

NAME = "airflow-config"
BASE_MODEL = "gpt-4.1-mini-2025-04-14"
QUESTION = "Which section of Apache Airflow's configuration does this option belong to? Answer with its name only."


@dag(
    schedule=None,
    catchup=False,
    max_active_runs=1,
    params={
        # A bucket (s3://...) where workers share no disk.
        "folder": os.path.join(tempfile.gettempdir(), "airflow-config-champion"),
        "approve": True,
        # Train on wrong labels, to see that such a model does not become the champion.
        "spoil": False,
    },
    doc_md=__doc__,
    tags=["fine-tuning", "example"],
)
def retrain_and_promote() -> None:
    @task(multiple_outputs=True)
    def write_dataset(params: dict[str, Any] | None = None) -> dict[str, str]:
        """Write the parts as chat examples, one a line; return where they are."""
        assert params is not None
        folder = ObjectStoragePath(params["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        parts = labelled_options()
        if params["spoil"]:
            # Each label becomes the next one, so that there is something to learn, and all of it is wrong.
            labels = sorted({section for _, section in parts["train"]})
            after = dict(zip(labels, [*labels[1:], labels[0]], strict=True))
            parts["train"] = [(description, after[section]) for description, section in parts["train"]]
        paths = {part: f"{params['folder']}/{part}{'-spoiled' * params['spoil']}.jsonl" for part in parts}
        for part, examples in parts.items():
            lines = [json.dumps({"messages": example(*one)}) + "\n" for one in examples]
            ObjectStoragePath(paths[part]).write_text("".join(lines))
        return paths

    @task
    def in_use() -> dict[str, Any]:
        """Return the model to compare with: the champion, or the base model while there is none."""
        now = champion(NAME, default=None)
        return {"model": BASE_MODEL} if now is None else {"model": now.model, "conn_id": now.conn_id}

    @task.branch
    def is_a_person_asked(params: dict[str, Any] | None = None) -> str:
        """Return the task that follows."""
        assert params is not None
        return "approve" if params["approve"] else "promote"

    files = write_dataset()
    validate = ValidateDatasetOperator(task_id="validate", path=files["train"])
    upload = UploadDatasetOperator(task_id="upload", path=files["train"])
    create = CreateFineTuningJobOperator(
        task_id="create",
        model=BASE_MODEL,
        training_file=upload.output,
        method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=3)),
        suffix=NAME,
        # The same data again is trained again: a run is a new attempt at a better model.
        metadata={"run": "{{ run_id }}"},
    )
    wait = FineTuningJobSensor(task_id="wait", job_id=create.output, poll_interval=5)
    evaluate = EvaluateModelOperator(
        task_id="evaluate",
        models=wait.output,
        baseline=in_use(),
        dataset=files["test"],
        training_file=files["train"],
        # The champion is not asked again what it has answered already.
        answers="{{ params.folder }}/answers.jsonl",
        grader={
            "type": "string_check",
            "name": "same section",
            "input": "{{sample.output_text}}",
            "reference": "{{item.reference}}",
            "operation": "eq",
        },
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall the best of these models become the champion of {NAME}?",
        body="{{ ti.xcom_pull(task_ids='evaluate', key='markdown') }}",
    )
    promote = PromoteModelOperator(
        task_id="promote",
        name=NAME,
        evaluation=evaluate.output,
        promoted_by="{{ ((ti.xcom_pull(task_ids='approve') or {}).get('responded_by_user') or {}).get('name', '') }}",
        # Without an approval, the task before it is skipped; after a rejection, this one is.
        trigger_rule="none_failed_min_one_success",
    )
    validate >> upload
    asked = is_a_person_asked()
    evaluate >> asked >> [approve, promote]
    approve >> promote


def labelled_options() -> dict[str, list[tuple[str, str]]]:
    """Return descriptions and sections of Airflow's own options: most to train on, about a sixth held out."""
    from airflow.configuration import retrieve_configuration_description

    found: dict[str, str] = {}
    for section, content in sorted(retrieve_configuration_description(include_providers=False).items()):
        for option in content["options"].values():
            if option.get("description"):
                found.setdefault(" ".join(option["description"].split()), section)
    parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for description, section in found.items():
        is_held_out = hashlib.sha256(description.encode()).digest()[0] % 6 == 0
        parts["test" if is_held_out else "train"].append((description, section))
    return parts


def example(description: str, section: str) -> list[dict[str, str]]:
    """Return the turns that ask for the section of an option and answer it."""
    return [
        {"role": "system", "content": QUESTION},
        {"role": "user", "content": description},
        {"role": "assistant", "content": section},
    ]


retrain_and_promote()
