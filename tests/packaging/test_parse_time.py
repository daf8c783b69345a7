"""What importing the provider into a DAG file costs: modules here, milliseconds in the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

AIRFLOW = """
try:
    import airflow.sdk
except ImportError:  # Airflow 2
    import airflow.models.dag
"""
PROVIDER = """
from airflow_provider_finetune.jobs.request import (
    DpoHyperparameters, DpoMethod, ReinforcementHyperparameters, ReinforcementMethod,
    SupervisedHyperparameters, SupervisedMethod,
)
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator
from airflow_provider_finetune.operators.job import (
    CancelFineTuningJobOperator, CreateFineTuningJobOperator, PauseFineTuningJobOperator, ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.models import champion
from airflow_provider_finetune.operators.model import (
    EvaluateModelOperator, PromoteModelOperator, RollbackModelOperator,
)
from airflow_provider_finetune.sensors.job import FineTuningJobSensor
"""
USE = """
FineTuningJobSensor(task_id="wait", job_id="ftjob-1")
GRADER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq"}
EvaluateModelOperator(task_id="evaluate", models="m", dataset="d", grader=GRADER, max_examples=3)
PromoteModelOperator(task_id="promote", name="bot", evaluation={}, min_difference=0.1)
RollbackModelOperator(task_id="roll_back", name="bot")
CreateFineTuningJobOperator(
    task_id="create", model="m", training_file="f",
    method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=3)),
)
"""


def modules_after(*parts: str) -> set[str]:
    """Return what a fresh interpreter has loaded after running the code."""
    code = "\n".join([*parts, "import json, sys", "print(json.dumps(list(sys.modules)))"])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """What the provider loads on top of Airflow."""
    return modules_after(AIRFLOW, PROVIDER, USE) - modules_after(AIRFLOW)


@pytest.mark.parametrize("heavy", ["openai", "numpy", "scipy", "nltk", "sklearn", "httpx2", "starlette"])
def test_a_dag_file_does_not_load(heavy: str, loaded: set[str]) -> None:
    assert heavy not in loaded


def test_a_dag_file_loads_neither_the_hook_nor_the_emulator(loaded: set[str]) -> None:
    own = {name for name in loaded if name.startswith("airflow_provider_finetune.")}
    assert "airflow_provider_finetune.operators.job" in own
    assert not {name for name in own if ".emulator" in name or ".hooks." in name or ".datasets" in name}
    assert not {name for name in own if name.startswith("airflow_provider_finetune.evaluation")}


def test_an_example_dag_loads_no_client_either() -> None:
    example = "import runpy; runpy.run_path('example_dags/retrain_on_airflow_config.py')"
    assert not modules_after(AIRFLOW, example) & {"openai", "numpy", "airflow_provider_finetune.hooks.fine_tuning"}
