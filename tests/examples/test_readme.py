"""What the README shows runs as pasted."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

README = (Path(__file__).parents[2] / "README.md").read_text()
DAG_BLOCK, TEST_BLOCK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONNECTIONS = dict(re.findall(r"^AIRFLOW_CONN_(\w+)='(.*)'$", README, re.MULTILINE))


@pytest.fixture
def readme_dag(tmp_path: Path) -> Any:
    path = tmp_path / "fine_tune.py"
    path.write_text(DAG_BLOCK)
    spec = importlib.util.spec_from_file_location("readme_dag", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag = module.fine_tune()
    # A minute suits jobs of hours, not of a second.
    dag.get_task("wait").poll_interval = 1
    return dag


@pytest.fixture
def data(tmp_path: Path) -> str:
    turns = [("user", "Is {n} odd?"), ("assistant", "{odd}")]
    rows = (
        {"messages": [{"role": role, "content": text.format(n=n, odd=n % 2 == 1)} for role, text in turns]}
        for n in range(30)
    )
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(tmp_path / "train.jsonl")


def test_the_dag_trains_a_model_and_hands_it_on(
    emulator: Emulator, readme_dag: Any, data: str, run_dag: Callable[..., DagResult]
) -> None:
    result = run_dag(readme_dag, data=data)
    assert result.states == dict.fromkeys(["upload", "create", "wait", "deploy"], "success")
    assert result.xcom("wait", "fine_tuned_model").startswith("ft:gpt-4.1-mini-2025-04-14:")
    assert result.xcom("wait", "best_checkpoint") in result.xcom("wait", "checkpoints")
    assert emulator.jobs()[0]["method"]["supervised"]["hyperparameters"]["n_epochs"] == 3


def test_the_dag_has_twenty_lines() -> None:
    assert len([line for line in DAG_BLOCK.splitlines() if line.strip()]) <= 20


def test_the_test_of_a_dag_passes(
    emulator: Emulator, readme_dag: Any, data: str, run_dag: Callable[..., DagResult]
) -> None:
    class Dag:
        @staticmethod
        def test() -> None:
            run_dag(readme_dag, data=data)

    shown: dict[str, Any] = {"my_dag": Dag}
    exec(TEST_BLOCK, shown)
    shown["test_one_job_although_the_answer_got_lost"](emulator)
    assert [fault["hits"] for fault in emulator.faults()] == [1]


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("OPENAI_DEFAULT", "https://api.openai.com/v1/"),
        ("AZURE", "https://my-resource.openai.azure.com/openai/v1/"),
        ("OWN", "https://models.example.com/v1/"),
    ],
)
def test_each_connection_gives_a_client_for_its_endpoint(
    name: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", CONNECTIONS[name])
    with FineTuningHook(conn_id=name.lower()).get_conn() as client:
        assert str(client.base_url) == base_url


def test_each_name_in_the_table_of_imports_exists() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)`: (.*?) \|", README, re.MULTILINE)
    assert len(rows) == 6
    for module, names in rows:
        for name in re.findall(r"`(\w+)(?:…)?`", names):
            found = dir(importlib.import_module(f"airflow_provider_finetune.{module}"))
            assert name in found or any(other.startswith(name) for other in found), name


def test_each_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    for link in links:
        assert (Path(__file__).parents[2] / link).exists(), link
