"""Each example DAG, run on the emulator with nothing changed but the connection."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

MODEL = "gpt-4.1-mini-2025-04-14"
EXAMPLES = Path(__file__).parents[2] / "example_dags"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_dags_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dag_of(module: ModuleType, name: str) -> Any:
    """Build the DAG anew: the decorated function stays in the module."""
    return getattr(module, name)()


def client_of(emulator: Emulator) -> openai.OpenAI:
    return openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key)


class TestRetraining:
    def test_a_retrained_model_and_its_checkpoints_beat_the_base_model(
        self, emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path
    ) -> None:
        dag = dag_of(load("retrain_on_airflow_config"), "retrain_on_airflow_config")
        result = run_dag(dag, folder=str(tmp_path))
        assert set(result.states.values()) == {"success"}

        outcome = result.xcom("wait")
        assert outcome["fine_tuned_model"].startswith(f"ft:{MODEL}:")
        assert len(outcome["checkpoints"]) == 3
        assert outcome["best_checkpoint"] in outcome["checkpoints"]
        assert result.xcom("wait", "fine_tuned_model") == outcome["fine_tuned_model"]

        evaluation = result.xcom("evaluate")
        assert evaluation["dataset"]["examples"] > 30
        assert evaluation["baseline"] == MODEL
        names = {outcome["fine_tuned_model"], *(row["model"] for row in outcome["checkpoints"])}
        compared = {pair["model"]: pair for pair in evaluation["comparisons"]}
        assert compared.keys() == names
        assert min(pair["difference_low"] for pair in compared.values()) > 0.2
        assert Path(evaluation["report"]).exists()

    def test_where_a_model_is_deployed_first_the_evaluation_says_how(
        self, emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection = {**json.loads(emulator.connection), "extra": {"finetune": {"endpoint": "azure"}}}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
        emulator.fault("status", "POST", "/chat/completions", status=404, code="DeploymentNotFound", times=None)
        dag = dag_of(load("retrain_on_airflow_config"), "retrain_on_airflow_config")
        result = run_dag(dag, folder=str(tmp_path))
        assert result.states == {**dict.fromkeys(result.states, "success"), "evaluate": "failed"}
        assert "PUT https://management.azure.com/" in str(result.error("evaluate"))

    def test_the_dataset_is_the_same_every_time_and_its_parts_do_not_overlap(self) -> None:
        module = load("retrain_on_airflow_config")
        rows = list(module.labelled_options())
        assert rows == list(module.labelled_options())
        descriptions = [description for _, description, _ in rows]
        assert len(descriptions) == len(set(descriptions)) > 250
        sections = {part: {section for p, _, section in rows if p == part} for part in ("train", "validation", "test")}
        assert sections["test"] | sections["validation"] <= sections["train"]


class TestPausing:
    @pytest.fixture
    def night_job(self, emulator: Emulator, training_file: str) -> str:
        emulator.set(job_seconds=60)
        with client_of(emulator) as client:
            running = {"model": MODEL, "training_file": training_file}
            client.fine_tuning.jobs.create(**running, metadata={"train": "whenever"})
            return client.fine_tuning.jobs.create(**running, metadata={"train": "at-night"}).id

    def test_the_night_jobs_are_paused_for_the_day_and_go_on_at_night_and_others_are_left_alone(
        self, emulator: Emulator, night_job: str, run_dag: Callable[..., DagResult]
    ) -> None:
        module = load("pause_for_the_day")
        paused = run_dag(dag_of(module, "pause_for_the_day"))
        assert set(paused.states.values()) == {"success"}
        assert {job["id"]: job["status"] for job in emulator.jobs()}.pop(night_job) == "paused"
        assert [job["status"] for job in emulator.jobs()].count("paused") == 1

        resumed = run_dag(dag_of(module, "resume_for_the_night"))
        assert set(resumed.states.values()) == {"success"}
        assert [job["status"] for job in emulator.jobs()].count("paused") == 0
        asked = [request["path"].rsplit("/", 1)[-1] for request in emulator.requests("POST", "/fine_tuning/jobs/*/*")]
        assert asked == ["pause", "resume"]

    def test_a_day_without_jobs_is_fine(self, emulator: Emulator, run_dag: Callable[..., DagResult]) -> None:
        result = run_dag(dag_of(load("pause_for_the_day"), "pause_for_the_day"))
        assert result.states == {"night_jobs": "success", "pause": "skipped"}

    def test_a_job_made_for_the_night_carries_what_the_other_dags_look_for(
        self, emulator: Emulator, training_file: str, run_dag: Callable[..., DagResult]
    ) -> None:
        dag = dag_of(load("pause_for_the_day"), "train_at_night")
        dag.get_task("wait").poll_interval = 1
        result = run_dag(dag, training_file=training_file)
        assert set(result.states.values()) == {"success"}
        assert emulator.jobs()[0]["metadata"].items() >= {"train": "at-night"}.items()


class TestPreferences:
    def test_the_model_answers_in_the_house_style(
        self, emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path
    ) -> None:
        result = run_dag(dag_of(load("preference_tuning"), "preference_tuning"), folder=str(tmp_path))
        assert set(result.states.values()) == {"success"}
        assert emulator.jobs()[0]["method"]["type"] == "dpo"
        assert json.dumps(result.xcom("train"))
        answer = result.xcom("ask")
        assert answer.startswith("[")
        assert answer.endswith("]")


class TestPromotion:
    @pytest.fixture(autouse=True)
    def a_fresh_start(self, airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The examples share a champion, which no other test may leave behind."""
        from airflow.models import Variable

        monkeypatch.setattr("airflow_provider_finetune.hooks.champions.VariableStore.sleep", lambda *_: None)
        yield
        from airflow.utils.session import create_session

        with create_session() as session:
            session.query(Variable).filter(Variable.key == "finetune_champion_airflow-config").delete()

    def test_a_good_model_becomes_champion_and_a_spoiled_one_is_refused_with_its_numbers(
        self, emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path
    ) -> None:
        pytest.importorskip("airflow.providers.standard.operators.hitl", reason="approval needs Airflow 3.1")
        module = load("retrain_and_promote")
        conf = {"folder": str(tmp_path), "approve": False}

        first = run_dag(dag_of(module, "retrain_and_promote"), **conf)
        assert first.states == {**dict.fromkeys(first.states, "success"), "approve": "skipped"}
        promoted = first.xcom("promote")
        assert promoted["outcome"] == "promoted"
        assert promoted["numbers"]["compared_with"] == MODEL

        served = run_dag(dag_of(load("serve"), "serve_airflow_config"))
        assert served.xcom("ask")["model"] == promoted["champion"]["model"]
        assert served.xcom("ask")["answer"]

        second = run_dag(dag_of(module, "retrain_and_promote"), **conf, spoil=True)
        assert second.states == {**first.states, "promote": "skipped"}
        kept = second.xcom("promote")
        assert kept["outcome"] == "kept"
        assert kept["champion"]["model"] == promoted["champion"]["model"] == kept["numbers"]["compared_with"]
        assert kept["numbers"]["difference"] < -0.2
        assert " stays the champion of airflow-config: " in kept["reason"]
        models = [*first.xcom("evaluate")["models"], *second.xcom("evaluate")["models"]]
        asked = emulator.requests("POST", "/chat/completions")
        in_evaluations = len(asked) - 1
        assert in_evaluations == (len(models) - 1) * kept["numbers"]["examples"], "the champion was asked again"

    def test_of_a_sweep_the_model_that_answers_best_becomes_champion(
        self, emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path
    ) -> None:
        result = run_dag(dag_of(load("sweep"), "sweep_and_promote"), folder=str(tmp_path))
        assert set(result.states.values()) == {"success"}
        evaluation, decision = result.xcom("evaluate"), result.xcom("promote")
        assert len(emulator.jobs()) == 3
        assert len({row["job_id"] for row in evaluation["models"]} - {None}) == 3
        assert decision["champion"]["model"] == evaluation["best"]
        assert decision["numbers"]["score"] == max(row["score"] for row in evaluation["models"])
