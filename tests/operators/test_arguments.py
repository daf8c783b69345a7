"""What all operators refuse in the same words, and never try again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_finetune.arguments import number, seconds
from airflow_provider_finetune.exceptions import InvalidRequest
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator, PauseFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor


@pytest.mark.parametrize("value", [None, "10", -1, float("nan"), float("inf"), True, timedelta(seconds=-1), Decimal(1)])
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"list_lag is .*expected seconds, or a timedelta"):
        seconds("list_lag", value)


@pytest.mark.parametrize("value", [90, 90.0, timedelta(seconds=90)])
def test_a_duration_is_seconds_or_a_timedelta(value: Any) -> None:
    assert seconds("timeout", value) == 90.0


@pytest.mark.parametrize("value", ["three", 0, 51, 2.5, float("nan"), float("inf"), True, [], 10**400])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"n_epochs is .*expected a whole number of at least 1, at most 50"):
        number("n_epochs", value, least=1, most=50, whole=True)


@pytest.mark.parametrize("value", [3, 3.0, "3", " 3 ", Decimal(3)])
def test_a_number_may_come_in_many_kinds(value: Any) -> None:
    assert number("n_epochs", value, least=1, most=50, whole=True) == 3


@pytest.mark.parametrize("name", ["timeout", "poll_interval", "list_lag"])
@pytest.mark.parametrize("value", [None, "10", -5])
def test_a_bad_duration_fails_when_the_dag_is_parsed_and_not_once_the_job_is_paid(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        CreateFineTuningJobOperator(task_id="t", model="m", training_file="f", **{name: value})
    if name != "list_lag":
        with pytest.raises(ValueError, match=name):
            PauseFineTuningJobOperator(task_id="t", job_id="j", **{name: value})
        with pytest.raises(ValueError, match=name):
            UploadDatasetOperator(task_id="t", path="f", **{name: value})


@pytest.mark.parametrize("value", [0, 0.0, 0.01, timedelta(0), timedelta(milliseconds=99)])
@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (CreateFineTuningJobOperator, {"model": "m", "training_file": "f"}),
        (PauseFineTuningJobOperator, {"job_id": "j"}),
        (UploadDatasetOperator, {"path": "f"}),
        (FineTuningJobSensor, {"job_id": "j"}),
    ],
)
def test_a_wait_without_a_pause_between_two_looks_is_refused(operator: Any, arguments: Any, value: Any) -> None:
    with pytest.raises(
        InvalidRequest, match=r"poll_interval is .*; expected seconds, or a timedelta, of at least 0\.1"
    ):
        operator(task_id="t", **arguments, poll_interval=value)


def test_a_sensor_takes_airflows_own_name_for_its_interval_too() -> None:
    with pytest.raises(InvalidRequest, match=r"poke_interval is 0; expected seconds, or a timedelta, of at least 0\.1"):
        FineTuningJobSensor(task_id="t", job_id="j", poke_interval=0)
    sensor = FineTuningJobSensor(task_id="t", job_id="j", poke_interval=timedelta(minutes=2))
    assert (sensor.poke_interval, sensor.poll_interval) == (120, 120)


def test_a_word_that_is_nearly_one_that_means_something_is_told_by_it() -> None:
    with pytest.raises(InvalidRequest, match=r"if_exists is 'resue'; expected one of .* Did you mean 'reuse'\?"):
        CreateFineTuningJobOperator(task_id="t", model="m", training_file="f", if_exists="resue")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (CreateFineTuningJobOperator, {"model": "m", "training_file": "f", "suffix": "x" * 65}),
        (CreateFineTuningJobOperator, {"model": "m", "training_file": "f", "if_exists": "bogus"}),
        (UploadDatasetOperator, {"path": "f", "method": "bogus"}),
        (FineTuningJobSensor, {"job_id": "j", "on_paused": "bogus"}),
    ],
)
def test_what_a_mapped_task_finds_bad_only_on_the_worker_is_not_tried_again(operator: Any, arguments: Any) -> None:
    # A mapped task's operator is made when it runs.
    with pytest.raises(AirflowFailException) as raised:
        operator(task_id="t", **arguments)
    assert isinstance(raised.value, ValueError)
