"""Promotion and rollback in DAGs: what they write, what they return, and whom they tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.exceptions import FineTuningError, InvalidRequest, NoChampion, PromotionRefused
from airflow_provider_finetune.hooks.champions import VariableStore, open_store
from airflow_provider_finetune.models import champion
from airflow_provider_finetune.models.history import Champion, History
from airflow_provider_finetune.operators.model import PromoteModelOperator, RollbackModelOperator
from tests.models.evaluations import CLEARLY_BETTER, CLEARLY_WORSE, evaluation, pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import DagResult

BETTER = evaluation(pair("new", "base", *CLEARLY_BETTER))
WORSE = evaluation(pair("newer", "new", *CLEARLY_WORSE))


class Shelf:
    """A store in memory."""

    def __init__(self) -> None:
        self.histories: dict[str, History] = {}

    def read(self, name: str) -> History:
        return self.histories.get(name, History(name))

    def write(self, history: History) -> bool:
        self.histories[history.name] = history
        return True


SHELF = Shelf()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VariableStore, "sleep", lambda *_: None)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses: the database stays."""
    return f"bot-{abs(hash(request.node.name))}"


def dag_of(dag_id: str, *, schedule: Any = None) -> Any:
    from airflow.providers.common.compat.sdk import DAG

    return DAG(dag_id, schedule=schedule, start_date=datetime(2026, 1, 1, tzinfo=UTC))


def events(name: str) -> list[dict[str, Any]]:
    """The events of the asset of a name, oldest first: what each carries."""
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent as Event
        from airflow.models.asset import AssetModel as Asset

        key = Event.asset_id
    except ImportError:
        from airflow.models.dataset import DatasetEvent as Event
        from airflow.models.dataset import DatasetModel as Asset

        key = Event.dataset_id
    with create_session() as session:
        rows = session.query(Event).join(Asset, Asset.id == key).filter(Asset.uri == f"finetune://{name}")
        found = [row.extra for row in rows.order_by(Event.id)]
    if Asset.__name__ == "DatasetModel":  # Airflow 2 takes no mapping in there, so they are JSON text
        return [{**extra, **{key: json.loads(extra[key]) for key in ("scores", "run")}} for extra in found]
    return found


def kept(name: str) -> str | None:
    """What the metadata database holds."""
    from airflow.models import Variable
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.query(Variable).filter(Variable.key == f"finetune_champion_{name}").one_or_none()
        return None if found is None else found.get_val()


def promote(dag_id: str, run_dag: Callable[..., DagResult], **arguments: Any) -> DagResult:
    with dag_of(dag_id) as dag:
        PromoteModelOperator(task_id="promote", **arguments)
    return run_dag(dag)


class TestPromotion:
    def test_a_better_model_becomes_champion_and_its_asset_gets_the_record(
        self, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        result = promote("promote_better", run_dag, name=name, evaluation=BETTER)
        assert result.states == {"promote": "success"}
        decision = result.xcom("promote")
        assert (decision["outcome"], decision["promoted"], decision["before"]) == ("promoted", True, None)
        assert decision["reason"] in "\n".join(result.log)
        record = json.loads(kept(name) or "")["champion"]
        assert events(name) == [record] == [decision["champion"]]
        assert (record["model"], record["conn_id"], record["base_model"], record["job_id"]) == (
            "new", "openai_default", "base", "ftjob-1",
        )  # fmt: skip
        assert record["dataset_sha256"] == "d" * 64
        assert record["scores"]["difference"] == 0.2
        assert record["run"] == {
            "dag_id": "promote_better", "run_id": result.run_id, "task_id": "promote", "map_index": -1,
        }  # fmt: skip
        assert record["promoted_by"]
        assert datetime.fromisoformat(record["promoted_at"]).tzinfo is not None

    @pytest.mark.parametrize(("on_worse", "state"), [("skip", "skipped"), ("fail", "failed"), ("keep", "success")])
    def test_a_worse_one_does_not_and_the_task_does_as_it_was_told(
        self, on_worse: Any, state: str, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        promote(f"promote_first_{on_worse}", run_dag, name=name, evaluation=BETTER)
        before = kept(name)
        result = promote(f"promote_worse_{on_worse}", run_dag, name=name, evaluation=WORSE, on_worse=on_worse)
        assert result.states == {"promote": state}
        decision = result.xcom("promote")
        assert (decision["outcome"], decision["promoted"], decision["champion"]["model"]) == ("kept", False, "new")
        assert decision["numbers"]["difference"] == -0.2
        assert kept(name) == before
        assert len(events(name)) == 1
        if on_worse == "fail":
            assert isinstance(result.error("promote"), PromotionRefused)
            assert str(result.error("promote")) == decision["reason"]

    def test_what_was_compared_with_an_earlier_champion_is_refused(
        self, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        promote("promote_one", run_dag, name=name, evaluation=BETTER)
        other = evaluation(pair("late", "base", *CLEARLY_BETTER))
        result = promote("promote_late", run_dag, name=name, evaluation=other, on_worse="keep")
        assert isinstance(result.error("promote"), PromotionRefused)
        assert f"compares with base, but new is the champion of {name}" in str(result.error("promote"))
        assert len(events(name)) == 1

    def test_a_retry_of_a_worker_that_died_after_it_promoted_tells_the_asset_and_writes_nothing_more(
        self, name: str, run_dag: Callable[..., DagResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries: list[str | None] = []

        def dies(self: VariableStore, seconds: float) -> None:
            tries.append(kept(name))
            if len(tries) == 1:
                raise OSError("the worker died")

        monkeypatch.setattr(VariableStore, "sleep", dies)
        with dag_of("promote_dies") as dag:
            PromoteModelOperator(task_id="promote", name=name, evaluation=BETTER, retries=1, retry_delay=0)
        result = run_dag(dag)
        assert result.states == {"promote": "success"}
        assert tries == [kept(name)] * 2
        assert events(name) == [json.loads(kept(name) or "")["champion"]]

    def test_every_argument_can_come_from_another_task(self, name: str, run_dag: Callable[..., DagResult]) -> None:
        from airflow.providers.common.compat.sdk import task

        with dag_of("promote_templated") as dag:

            @task
            def evaluate() -> dict[str, Any]:
                return evaluation(pair("final", "base", *CLEARLY_WORSE), pair("step-5", "base", *CLEARLY_BETTER))

            PromoteModelOperator(
                task_id="promote",
                name="{{ params.name }}",
                evaluation=evaluate(),
                candidate="{{ params.candidate }}",
                min_difference="{{ 0.05 }}",
                promoted_by="{{ 'Ada' }}",
            )
        dag.params["name"], dag.params["candidate"] = name, "step-5"
        result = run_dag(dag)
        assert set(result.states.values()) == {"success"}
        record = json.loads(kept(name) or "")["champion"]
        assert (record["model"], record["promoted_by"]) == ("step-5", "Ada")
        assert record["scores"]["min_difference"] == 0.05

    def test_bad_literal_arguments_are_refused_while_the_dag_is_parsed(self) -> None:
        good: dict[str, Any] = {"task_id": "promote", "name": "bot", "evaluation": {}}
        for bad in (
            {"name": "support bot"},
            {"name": ""},
            {"confidence": 95},
            {"min_difference": "a little"},
            {"min_score": float("nan")},
            {"on_worse": "stop"},
        ):
            with pytest.raises(InvalidRequest, match=next(iter(bad))):
                PromoteModelOperator(**{**good, **bad})
        with pytest.raises(InvalidRequest, match="name"):
            RollbackModelOperator(task_id="back", name="a/b")

    def test_arguments_that_render_to_nothing_are_refused(self, name: str, run_dag: Callable[..., DagResult]) -> None:
        result = promote("promote_nothing", run_dag, name=name, evaluation=BETTER, min_difference="{{ None }}")
        assert isinstance(result.error("promote"), InvalidRequest)
        with dag_of("roll_back_nothing") as dag:
            RollbackModelOperator(task_id="back", name=name, to="{{ None }}")
        assert "to rendered to nothing" in str(run_dag(dag).error("back"))


class TestGoingBack:
    def test_the_champion_before_is_champion_again_and_the_asset_gets_its_record(
        self, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        promote("back_one", run_dag, name=name, evaluation=BETTER)
        second = evaluation(pair("newer", "new", *CLEARLY_BETTER))
        promote("back_two", run_dag, name=name, evaluation=second)
        with dag_of("back") as dag:
            RollbackModelOperator(task_id="back", name=name)
        result = run_dag(dag)
        decision = result.xcom("back")
        assert (decision["outcome"], decision["champion"]["model"], decision["before"]) == (
            "rolled_back", "new", "newer",
        )  # fmt: skip
        assert [event["model"] for event in events(name)] == ["new", "newer", "new"]
        assert isinstance(run_dag(dag).error("back"), PromotionRefused)

    def test_a_name_without_champion_has_nothing_to_go_back_to(
        self, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        with dag_of("back_nothing") as dag:
            RollbackModelOperator(task_id="back", name=name)
        assert f"{name} has no champion" in str(run_dag(dag).error("back"))
        assert kept(name) is None


class TestReadingTheChampion:
    def test_tasks_and_templates_ask_for_the_role(self, name: str, run_dag: Callable[..., DagResult]) -> None:
        from airflow.providers.common.compat.sdk import task

        promote("read_one", run_dag, name=name, evaluation=BETTER)
        with dag_of("read") as dag:

            @task
            def serve(rendered: str) -> list[Any]:
                now = champion(name)
                return [now.model, now.conn_id, rendered, champion(f"{name}-none", default="base")]

            serve("{{ macros.finetune.champion(params.name).model }}")
        dag.params["name"] = name
        assert run_dag(dag).xcom("serve") == ["new", "openai_default", "new", "base"]

    def test_without_a_champion_and_a_default_the_name_is_said(
        self, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        from airflow.providers.common.compat.sdk import task

        with dag_of("read_none") as dag:

            @task
            def serve() -> None:
                champion(name)

            serve()
        error = run_dag(dag).error("serve")
        assert isinstance(error, NoChampion)
        assert f"{name} has no champion yet" in str(error)


class TestTheStore:
    def test_a_variable_that_airflow_cannot_read_is_not_taken_for_no_champion(
        self, name: str, run_dag: Callable[..., DagResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.providers.common.compat.sdk import Variable

        promote("unread_one", run_dag, name=name, evaluation=BETTER)
        before = kept(name)
        # What Airflow does when its secrets backends, or its API server, do not answer.
        monkeypatch.setattr(Variable, "get", lambda key, default: default)
        other = evaluation(pair("other", "base", *CLEARLY_BETTER))
        result = promote("unread_two", run_dag, name=name, evaluation=other)
        assert type(result.error("promote")) is FineTuningError
        assert "could not read it" in str(result.error("promote"))
        assert kept(name) == before

    def test_a_variable_that_another_run_writes_between_two_looks_is_read(
        self, name: str, run_dag: Callable[..., DagResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow.providers.common.compat.sdk import Variable

        promote("written_one", run_dag, name=name, evaluation=BETTER)
        looks = iter([None, kept(name)])
        monkeypatch.setattr(Variable, "get", lambda key, default: next(looks))
        other = evaluation(pair("other", "base", *CLEARLY_BETTER))
        result = promote("written_two", run_dag, name=name, evaluation=other)
        assert isinstance(result.error("promote"), PromotionRefused)

    def test_a_variable_that_is_defined_elsewhere_too_is_found_out(
        self, name: str, run_dag: Callable[..., DagResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        empty = History(name).as_text()
        monkeypatch.setenv(f"AIRFLOW_VAR_FINETUNE_CHAMPION_{name.upper()}", empty)
        result = promote("shadowed", run_dag, name=name, evaluation=BETTER)
        assert "an environment variable or a secrets backend defines it too" in str(result.error("promote"))
        assert events(name) == []

    @pytest.mark.parametrize("text", ["[]", "ft:model", '{"name": "other", "champion": null, "history": []}'])
    def test_a_variable_that_holds_something_else_is_left_alone(
        self, text: str, name: str, run_dag: Callable[..., DagResult]
    ) -> None:
        from airflow.providers.common.compat.sdk import Variable, task

        dag_id = f"foreign_{abs(hash(text))}"
        with dag_of(dag_id) as dag:

            @task
            def write() -> None:
                Variable.set(f"finetune_champion_{name}", text)

            write() >> PromoteModelOperator(task_id="promote", name=name, evaluation=BETTER)
        result = run_dag(dag)
        assert f"does not hold the champions of {name}" in str(result.error("promote"))
        assert kept(name) == text

    @pytest.mark.parametrize("store", [SHELF, f"{__name__}.SHELF"])
    def test_a_team_can_bring_its_own(self, store: Any, name: str, run_dag: Callable[..., DagResult]) -> None:
        dag_id = f"own_store_{type(store).__name__}"
        result = promote(dag_id, run_dag, name=name, evaluation=BETTER, store=store)
        assert result.states == {"promote": "success"}
        found = open_store(store).read(name).champion
        assert isinstance(found, Champion)
        assert champion(name, store=store) == found
        assert kept(name) is None

    @pytest.mark.parametrize("store", ["nowhere.Store", "json.Nothing", "json", "json.dumps", 7, "datetime.datetime"])
    def test_what_is_no_store_is_refused(self, store: Any) -> None:
        with pytest.raises(InvalidRequest, match="store is"):
            open_store(store)


class TestTheAsset:
    def test_dags_are_scheduled_on_it(self) -> None:
        from airflow.providers.common.compat.sdk import Asset

        assert Asset("finetune://support-bot").uri == "finetune://support-bot"

    @pytest.mark.parametrize("uri", ["finetune://", "finetune://a b", "finetune://bot/path", "finetune://bot?x=1"])
    def test_a_uri_that_no_champion_has_is_refused_while_the_dag_is_parsed(self, uri: str) -> None:
        from airflow.providers.common.compat.sdk import Asset

        with pytest.raises((ValueError, UserWarning), match=r"name is|must end"):  # Airflow 2 warns
            Asset(uri)
