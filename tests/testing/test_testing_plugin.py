"""The fixtures that come with the package, in a pytest of their own, as a user's project has it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DAGS = """
from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator


@dag(schedule=None, params={"files": ["train.jsonl"]})
def refused():
    UploadDatasetOperator.partial(task_id="upload").expand(path=["train.jsonl", "train.jsonl"])
    create = CreateFineTuningJobOperator.partial(task_id="create", model="gpt-4.1-mini-2025-04-14", retries=1)
    create.expand(training_file=["file-unknown"])


@dag(schedule=None)
def small():
    @task
    def word():
        return {"word": "yes"}

    word()


refused()
small()
"""

TESTS = """
import pytest


def test_a_red_run_is_red_and_says_which_task_raised_what(emulator, run_dag):
    run = run_dag("dags/two.py", dag_id="refused")
    assert run.state == "failed"
    assert run.states == {"upload[0]": "success", "upload[1]": "success", "create[0]": "failed"}
    assert run.errors["create[0]"].startswith("RequestRefused: ")
    assert run.xcom("upload[0]") == run.xcom("upload[1]")
    assert emulator.jobs() == []


def test_a_file_with_two_dags_wants_to_know_which(run_dag):
    with pytest.raises(RuntimeError, match="has these DAGs: refused, small. Say which one to run"):
        run_dag("dags/two.py")
    with pytest.raises(RuntimeError, match="has no DAG 'large', but refused, small"):
        run_dag("dags/two.py", "large")


def test_a_file_that_cannot_be_imported_says_why(run_dag):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_dag("dags/broken.py")
    with pytest.raises(FileNotFoundError, match="There is no DAG file"):
        run_dag("dags/none.py")


def test_the_emulator_is_empty_again(emulator, airflow_home, run_dag):
    assert emulator.requests() == []
    run = run_dag("dags/two.py", "small")
    assert (run.state, run.xcom("word"), run.xcom("word", "other")) == ("success", {"word": "yes"}, None)
    assert (airflow_home / "airflow.db").exists()
"""


@pytest.mark.timeout(280)
def test_a_project_tests_its_dags_with_the_fixtures_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "two.py").write_text(DAGS)
    (tmp_path / "dags" / "broken.py").write_text("1 / 0\n")
    (tmp_path / "train.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}\n' * 10
    )
    (tmp_path / "test_dags.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    environment["HOME"] = str(tmp_path / "home")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
            "test_dags.py",
        ],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert not (tmp_path / "home").exists(), "the Airflow of whoever runs the tests is left alone"
