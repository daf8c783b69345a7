"""The button to the vendor's page of a job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.get_provider_info import get_provider_info
from airflow_provider_finetune.links import EvaluationLink, FineTuningJobLink, PromotionLink, TrainingLink
from airflow_provider_finetune.operators.job import CancelFineTuningJobOperator, CreateFineTuningJobOperator
from airflow_provider_finetune.operators.model import (
    EvaluateModelOperator,
    PromoteModelOperator,
    RollbackModelOperator,
)
from airflow_provider_finetune.plugin import FineTuningPlugin
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator


class Pushed(dict[str, Any]):
    """Stands for a task instance: keeps what is pushed."""

    dag_id, run_id, task_id, map_index = "train", "run 1", "wait", -1

    def xcom_push(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.mark.parametrize(
    ("host", "link"),
    [
        (None, "https://platform.openai.com/finetune/ftjob-1"),
        ("https://api.openai.com/v1", "https://platform.openai.com/finetune/ftjob-1"),
        ("https://res.openai.azure.com/openai/v1", None),
        ("https://api.openai.com.example.org/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_only_the_vendor_that_has_such_a_page_is_linked_to(
    monkeypatch: pytest.MonkeyPatch, host: str | None, link: str | None
) -> None:
    connection = {"conn_type": "openai", "password": "k" * 20, **({"host": host} if host else {})}
    monkeypatch.setenv("AIRFLOW_CONN_VENDOR", json.dumps(connection))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    sensor = FineTuningJobSensor(task_id="wait", job_id="ftjob-1", conn_id="vendor")
    pushed = Pushed()
    sensor.push_link({"ti": pushed}, "ftjob-1")
    sensor.hook.conn.close()
    ours = pushed.pop("_link_TrainingLink", None)  # Airflow 2 asks for it when somebody looks
    assert ours in ("finetune/page.html?dag=train&run=run%201&task=wait&map=-1", None)
    assert pushed == ({"job_link": link} if link else {})


@pytest.mark.parametrize("operator", [CreateFineTuningJobOperator, CancelFineTuningJobOperator, FineTuningJobSensor])
def test_every_operator_and_the_sensor_have_the_button(operator: type) -> None:
    assert [link.name for link in operator.operator_extra_links] == ["Fine-tuning job", "Training"]


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        (EvaluateModelOperator, "Evaluation"),
        (PromoteModelOperator, "Promotion"),
        (RollbackModelOperator, "Promotion"),
    ],
)
def test_evaluations_and_promotions_have_a_button_to_their_page(operator: type, name: str) -> None:
    assert [link.name for link in operator.operator_extra_links] == [name]


def test_every_class_of_links_is_registered_twice_or_airflow_2_would_hide_all_links() -> None:
    ours = {FineTuningJobLink, TrainingLink, EvaluationLink, PromotionLink}
    assert {type(link) for link in FineTuningPlugin.operator_extra_links} == ours
    assert set(get_provider_info()["extra-links"]) == {f"{one.__module__}.{one.__name__}" for one in ours}


@pytest.mark.parametrize("link", ["https://vendor.example/finetune", ""])
def test_the_button_leads_where_the_task_pushed_it_to(
    dag: DAG, run_dag: Callable[..., Any], emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch,
    link: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        CreateFineTuningJobOperator,
        "push_link",
        lambda self, context, job_id: context["ti"].xcom_push(key="job_link", value=link),
    )
    with dag:
        operator = CreateFineTuningJobOperator(
            task_id="create", model="gpt-4.1-mini", training_file=training_file, list_lag=0.1
        )
    result = run_dag(dag)
    stored = result.xcom("create", "_link_FineTuningJobLink")  # Airflow 3 asks for the link on the worker
    assert (stored if stored is not None else button(operator, result)) == link


def button(operator: Any, result: Any) -> str:
    """Return the link as Airflow 2's web server asks for it."""
    from airflow.models.taskinstancekey import TaskInstanceKey

    return FineTuningJobLink().get_link(operator, ti_key=TaskInstanceKey(result.dag_id, "create", result.run_id, 1, -1))
