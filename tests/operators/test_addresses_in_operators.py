"""URLs with a password or a signature, given to every operator: no log, error, XCom or template has them."""

from __future__ import annotations

import importlib
import json
import pkgutil
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

import airflow_provider_finetune.operators as package
from airflow_provider_finetune.operators.addressed import AddressedOperator
from airflow_provider_finetune.operators.clean_up import CleanUpFineTuningOperator, DeleteFineTunedModelOperator
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.evaluation import EvaluateModelOperator
from airflow_provider_finetune.operators.goal import (
    CancelFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.operators.promotion import PromoteModelOperator, RollbackModelOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import DagResult

    from airflow_provider_finetune.emulator import Emulator

USER, PASSWORD, SIGNATURE = "ann-q7", "pass-word-q7", "signature-q7"
SECRETS = (PASSWORD, SIGNATURE)


def url(path: Path | str, scheme: str = "file") -> str:
    return f"{scheme}://{USER}:{PASSWORD}@{path}"


def signed(path: Path | str) -> str:
    return f"{url(path)}?X-Amz-Signature={SIGNATURE}"


def operators() -> set[type[BaseOperator]]:
    """Every public operator and sensor of the package."""
    names = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(name) for name in (*names, FineTuningJobSensor.__module__)]
    found = (value for module in modules for value in vars(module).values() if isinstance(value, type))
    ours = {one for one in found if issubclass(one, BaseOperator) and one.__module__.startswith("airflow_provider_")}
    return {one for one in ours if not one.__name__.startswith("_")} - {AddressedOperator}


JUDGE = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "operation": "eq",
    "reference": "{{item.reference}}",
}
MODEL = "gpt-4.1-mini-2025-04-14"


def arguments(train: Path, folder: Path) -> dict[type[BaseOperator], dict[str, Any]]:
    """Every operator, with URLs where it takes one."""
    job = {"job_id": "ftjob-1", "timeout": 5, "deferrable": False}
    return {
        ValidateDatasetOperator: {"path": "{{ params.path }}", "validation_path": url(train)},
        UploadDatasetOperator: {"path": url(train)},
        EvaluateModelOperator: {
            "models": MODEL,
            "dataset": url(train),
            "grader": JUDGE,
            "answers": url(folder / "answers.jsonl"),
            "training_file": [url(train)],
        },
        CreateFineTuningJobOperator: {"model": MODEL, "training_file": "file-1"},
        PauseFineTuningJobOperator: job,
        ResumeFineTuningJobOperator: job,
        CancelFineTuningJobOperator: job,
        FineTuningJobSensor: job,
        DeleteFineTunedModelOperator: {"model": f"ft:{MODEL}:x::1", "names": ["n"]},
        CleanUpFineTuningOperator: {"dag_ids": ["d"], "names": ["n"]},
        PromoteModelOperator: {"name": "support-bot", "evaluation": {"answers": "s3://bucket/a"}},
        RollbackModelOperator: {"name": "support-bot", "to": "m"},
    }


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    turns = [{"role": "user", "content": "red"}, {"role": "assistant", "content": "RED"}]
    path.write_text(
        "".join(json.dumps({"messages": [{**turns[0], "content": f"red {n}"}, turns[1]]}) + "\n" for n in range(12))
    )
    return path


def rendered(result: DagResult) -> dict[str, Any]:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(RenderedTaskInstanceFields).filter_by(dag_id=result.dag_id, run_id=result.run_id)
        return {row.task_id: row.rendered_fields for row in rows}


def test_no_operator_shows_what_a_url_hides(
    run_dag: Callable[..., DagResult],
    emulator: Emulator,
    train: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_password = emulator.base_url.replace("://", f"://{USER}:{PASSWORD}@")
    login = {"conn_type": "openai", "password": emulator.api_key, "host": with_password}
    extra = {"openai_client_kwargs": {"default_query": {"sig": SIGNATURE}, "max_retries": 0}}
    monkeypatch.setenv("AIRFLOW_CONN_BY_URL", json.dumps(login | {"extra": extra}))
    given = arguments(train, tmp_path)
    assert given.keys() == operators(), "a new operator gets a line in arguments()"
    with DAG("addresses_in_operators", schedule=None, params={"path": url(train)}) as dag:
        for operator, more in given.items():
            conn = {"conn_id": "by_url"} if "conn_id" in operator.template_fields else {}
            operator(task_id=operator.__name__, retries=0, **conn, **more)  # type: ignore[arg-type]
    result = run_dag(dag)
    assert set(result.states.values()) == {"success", "failed"}
    errors = ["".join(traceback.format_exception(error)) for found in result.errors.values() for error in found]
    texts = {
        "log": "\n".join(result.log),
        "error": "\n".join(errors),
        "xcom": json.dumps({f"{task}.{key}": value for (task, key), value in result.xcoms().items()}),
        "template": json.dumps({task: fields for task, fields in rendered(result).items() if "path" in fields}),
    }
    assert [(where, secret) for where, text in texts.items() for secret in SECRETS if secret in text] == []
    assert f"file://{train}" in texts["xcom"]
    assert "file://***@" in texts["template"]


class TaskInstance:
    """What an operator that runs alone pushes to."""

    dag_id, run_id, task_id, map_index = "d", "r", "t", -1

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value


def check(path: str) -> Any:
    return ValidateDatasetOperator(task_id="t", path=path)


def upload(path: str) -> Any:
    return UploadDatasetOperator(task_id="t", path=path, poll_interval=0.1)


def evaluate(**more: Any) -> Any:
    return EvaluateModelOperator(**{"task_id": "t", "models": MODEL, "grader": JUDGE, **more})


@pytest.mark.parametrize(
    "operator",
    [
        check,
        upload,
        lambda path: evaluate(dataset=path),
        lambda path: evaluate(dataset="TRAIN", training_file=path),
        lambda path: evaluate(dataset="TRAIN", answers=path),
        lambda path: evaluate(dataset="TRAIN", answers="ANSWERS", report=path),
    ],
    ids=["check", "upload", "dataset", "training_file", "answers", "report"],
)
@pytest.mark.parametrize(
    "path",
    [
        url("TRAIN"),
        signed("TRAIN"),
        url("/nowhere/train.jsonl"),
        url("/proc/version"),
        f"file://{USER}:{PASSWORD}@[/train.jsonl?sig={SIGNATURE}",
        url("127.0.0.1:1/train.jsonl", "http"),
    ],
    ids=["good", "signed", "missing", "other", "malformed", "http"],
)
def test_neither_success_nor_failure_shows_what_a_url_hides(
    operator: Callable[[str], Any],
    path: str,
    emulator: Emulator,
    train: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    task, ti = operator(path.replace("TRAIN", str(train))), TaskInstance()
    for name in task.addresses:
        value = getattr(task, name)
        setattr(task, name, value and value.replace("TRAIN", str(train)).replace("ANSWERS", str(tmp_path / "answers")))
    said = []
    try:
        said.append(json.dumps(task.execute({"ti": ti})))
    except Exception as error:  # noqa: BLE001
        said += [repr(error), "".join(traceback.format_exception(error)), repr(error.__context__)]
    said += [json.dumps(ti.xcom), caplog.text, *capsys.readouterr()]
    assert [secret for secret in SECRETS if secret in "".join(said)] == []
