"""Clean-ups and deletions at a running emulator: what goes, what stays, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.exceptions import InvalidRequest, RequestRefused
from airflow_provider_finetune.hooks.champions import VariableStore
from airflow_provider_finetune.jobs.identity import Submission
from airflow_provider_finetune.models.history import Champion, History
from airflow_provider_finetune.operators.model import CleanUpFineTuningOperator, DeleteFineTunedModelOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import openai

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

MODEL = "gpt-4.1-mini-2025-04-14"
NAME = f"train-{'0123456789abcdef'}.jsonl"
EXAMPLE = b'{"messages": [{"role": "user", "content": "%d"}, {"role": "assistant", "content": "%d"}]}\n'


class Shelf:
    """A store in memory; ``later`` is what it holds from the second look at a name on."""

    def __init__(self, *models: str, later: str | None = None) -> None:
        self.histories = {"bot": History("bot")}
        self.looks, self.later = 0, later
        for model in models:
            self.promote(model)

    def promote(self, model: str) -> None:
        record = Champion(number=0, model=model, conn_id="openai_default")
        self.histories["bot"] = self.histories["bot"].followed_by(record)

    def read(self, name: str) -> History:
        self.looks += 1
        if self.later and self.looks > 1:
            self.promote(self.later)
        return self.histories.get(name, History(name))

    def write(self, history: History) -> bool:
        raise AssertionError("a clean-up promotes nothing")

    def names(self) -> list[str]:
        return list(self.histories)


class Mute(Shelf):
    names = None  # type: ignore[assignment]


class TaskInstance:
    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    import openai

    emulator.set(job_seconds=0.1)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        yield client


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return all that was logged so far: Airflow 3 prints it, Airflow 2 does not."""
    caplog.set_level("INFO")
    return lambda: capsys.readouterr().out + "\n".join(caplog.messages)


@pytest.fixture
def train(
    client: openai.OpenAI, emulator: Emulator, until: Callable[..., dict[str, Any]]
) -> Callable[..., dict[str, Any]]:
    """Train a model as a task of the DAG ``retrain`` would; return the job."""

    def train(number: int = 1, dag_id: str | None = "retrain", **more: Any) -> dict[str, Any]:
        content = b"".join(EXAMPLE % (number, n) for n in range(10))
        file = client.files.create(file=(NAME, content), purpose="fine-tune").id
        if dag_id:
            more["metadata"] = Submission(dag_id, f"run-{number}", "create").metadata("abc")
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=file, **more)
        emulator.show(job.id, created_at=job.created_at + number)  # jobs of the same second have no order
        return until(job.id, "succeeded")

    return train


def clean_up(ti: TaskInstance | None = None, **arguments: Any) -> dict[str, Any]:
    given = {"dag_ids": ["retrain"], "keep": 0, "min_age": 0, "dry_run": False, "store": Shelf(), **arguments}
    operator = CleanUpFineTuningOperator(task_id="clean_up", **given)
    return operator.execute({"ti": ti or TaskInstance()})  # type: ignore[typeddict-item]


def delete(model: str, **arguments: Any) -> str:
    operator = DeleteFineTunedModelOperator(task_id="delete", model=model, **{"store": Shelf(), **arguments})
    return operator.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]


def left(client: openai.OpenAI) -> set[str]:
    """All models and files of the endpoint."""
    return {model.id for model in client.models.list()} | {file.id for file in client.files.list()}


def belonging(client: openai.OpenAI, job: dict[str, Any]) -> set[str]:
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job["id"])
    names = {checkpoint.fine_tuned_model_checkpoint for checkpoint in checkpoints}
    return {job["fine_tuned_model"], job["training_file"], *job["result_files"], *names}


class TestCleaningUp:
    def test_a_dry_run_says_what_would_go_and_deletes_nothing(
        self, train: Any, client: openai.OpenAI, logged: Callable[[], str]
    ) -> None:
        job, before = train(), left(client)
        found = clean_up(dry_run=True)
        assert set(found["planned"]) == belonging(client, job) & before
        assert found["to_delete"]["model"] == 1
        assert left(client) == before
        said = logged()
        assert f"model {job['fine_tuned_model']} of {job['id']}" in said
        assert "Nothing was deleted: dry_run is True" in said

    def test_dry_is_what_a_clean_up_is_by_default(self) -> None:
        assert CleanUpFineTuningOperator(task_id="clean_up", dag_ids="retrain").is_dry_run is True

    def test_old_jobs_lose_everything_and_the_newest_and_the_champion_nothing(
        self, train: Any, client: openai.OpenAI
    ) -> None:
        champion, old, foreign, stranger, newest = train(1), train(2), train(3, "another"), train(4, None), train(5)
        base = {model.id for model in client.models.list()} - set().union(
            *(belonging(client, job) for job in (champion, old, foreign, stranger, newest))
        )
        store = Shelf(champion["fine_tuned_model"])
        found = clean_up(keep=1, store=store)
        kept = [champion, foreign, stranger, newest]
        assert left(client) == base | set().union(*(belonging(client, job) for job in kept))
        assert set(found["deleted"]) == belonging(client, old)
        assert sorted(found["jobs_that_stay"].values()) == [1, 1, 1, 1]
        again = clean_up(keep=1, store=store)
        assert not again["deleted"] + again["gone"] + again["refused"], "nothing is planned twice"

    def test_a_model_that_is_promoted_meanwhile_is_spared_with_its_job(self, train: Any, client: openai.OpenAI) -> None:
        job, before = train(), left(client)
        found = clean_up(store=Shelf(later=job["fine_tuned_model"]))
        assert not found["deleted"]
        assert job["fine_tuned_model"] in found["spared"]
        assert left(client) == before

    def test_what_the_endpoint_refuses_fails_the_task_after_all_else_is_done(
        self, train: Any, client: openai.OpenAI, emulator: Emulator
    ) -> None:
        job, ti = train(), TaskInstance()
        emulator.fault("status", method="DELETE", path="/models/**", status=403, times=100)
        with pytest.raises(RequestRefused, match="refused to delete"):
            clean_up(ti)
        assert left(client) & belonging(client, job) == set(ti.xcoms["return_value"]["refused"])
        assert job["training_file"] in ti.xcoms["return_value"]["deleted"]

    def test_an_endpoint_that_deletes_no_models_is_told_from_a_model_that_is_gone(
        self, train: Any, client: openai.OpenAI, emulator: Emulator, logged: Callable[[], str]
    ) -> None:
        train()
        emulator.fault("status", method="DELETE", path="/models/**", status=404, times=100)
        with pytest.raises(RequestRefused):
            clean_up()
        assert "it deletes no models" in logged()

    def test_models_that_the_endpoint_does_not_list_are_asked_for_one_by_one(
        self, train: Any, client: openai.OpenAI, emulator: Emulator
    ) -> None:
        job = train()
        emulator.fault("status", method="GET", path="/models", status=404, times=1)
        assert job["fine_tuned_model"] in clean_up()["deleted"]

    def test_jobs_that_have_no_mark_of_this_provider_are_left_alone(self, train: Any, client: openai.OpenAI) -> None:
        train(1, None)
        before = left(client)
        found = clean_up()
        assert found["jobs_that_stay"] == {"was not made by this provider, or the endpoint forgets metadata": 1}
        assert left(client) == before

    def test_without_knowing_all_champions_nothing_is_deleted(self, train: Any, client: openai.OpenAI) -> None:
        job, before = train(), left(client)
        with pytest.raises(InvalidRequest, match=r'names=\["support-bot"\]'):
            clean_up(store=Mute())
        assert left(client) == before
        assert not clean_up(store=Mute(job["fine_tuned_model"]), names="['bot']")["deleted"]
        assert clean_up(store=Mute(), names=[])["deleted"]

    @pytest.mark.parametrize(
        "bad",
        [{"keep": -1}, {"kinds": ["models"]}, {"kinds": "model"}, {"dry_run": "perhaps"}, {"min_age": "a week"}],
    )
    def test_bad_arguments_are_refused_while_the_dag_is_parsed(self, bad: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequest, match=next(iter(bad))):
            CleanUpFineTuningOperator(task_id="clean_up", **{"dag_ids": ["retrain"], **bad})

    def test_a_dry_run_that_renders_to_nothing_deletes_nothing(self, emulator: Emulator) -> None:
        with pytest.raises(InvalidRequest, match="dry_run"):
            clean_up(dry_run="{{ None }}")

    def test_in_a_dag_all_champions_of_this_airflow_are_found(
        self, train: Any, client: openai.OpenAI, run_dag: Callable[..., DagResult]
    ) -> None:
        from airflow.providers.common.compat.sdk import DAG, Variable, task

        first, second = train(1), train(2)
        history = History("clean-bot").followed_by(
            Champion(number=0, model=first["fine_tuned_model"], conn_id="openai_default")
        )
        with DAG("clean_up_dag", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

            @task
            def write() -> None:
                Variable.set("clean_up_test_clean-bot", history.as_text())

            write() >> CleanUpFineTuningOperator(
                task_id="clean_up",
                dag_ids="{{ params.dags }}",
                keep=0,
                min_age=0,
                dry_run="{{ params.dry_run }}",
                names=None if _lists_variables() else ["clean-bot"],
                store=VariableStore("clean_up_test_"),
            )
        dag.params["dags"], dag.params["dry_run"] = ["retrain"], False
        result = run_dag(dag)
        assert result.states["clean_up"] == "success"
        assert set(result.xcom("clean_up")["deleted"]) == belonging(client, second)


def _lists_variables() -> bool:
    from airflow.providers.common.compat.sdk import Variable

    return hasattr(Variable, "keys") or hasattr(Variable, "__tablename__")


class TestDeletingOne:
    def test_a_model_and_a_checkpoint_are_deleted(self, train: Any, client: openai.OpenAI) -> None:
        job = train()
        checkpoint = next(iter(client.fine_tuning.jobs.checkpoints.list(job["id"]))).fine_tuned_model_checkpoint
        for model in (job["fine_tuned_model"], checkpoint):
            assert delete(model) == model
        assert not left(client) & {job["fine_tuned_model"], checkpoint}

    def test_a_champion_and_its_predecessor_are_not(self, train: Any, client: openai.OpenAI) -> None:
        first, second = train(1)["fine_tuned_model"], train(2)["fine_tuned_model"]
        for model in (first, second):
            with pytest.raises(InvalidRequest, match="is a champion, or the predecessor of one"):
                delete(model, store=Shelf(first, second))
        assert {first, second} <= left(client)

    def test_what_a_living_job_is_made_from_is_not(self, train: Any, client: openai.OpenAI, emulator: Emulator) -> None:
        job = train()
        emulator.set(job_seconds=60)
        living = client.fine_tuning.jobs.create(model=job["fine_tuned_model"], training_file=job["training_file"])
        with pytest.raises(InvalidRequest, match=f"what {living.id} is being made from"):
            delete(job["fine_tuned_model"])

    def test_a_base_model_is_not(self, train: Any, client: openai.OpenAI) -> None:
        train()
        with pytest.raises(InvalidRequest, match="not known as the model or checkpoint of a fine-tuning job"):
            delete(MODEL)
        assert MODEL in left(client)

    def test_a_model_that_is_gone_is_fine_unless_it_must_be_there(
        self, train: Any, client: openai.OpenAI, logged: Callable[[], str]
    ) -> None:
        model = train()["fine_tuned_model"]
        client.models.delete(model)
        assert delete(model) == model
        assert "nothing to delete" in logged()
        with pytest.raises(RequestRefused, match="has no model"):
            delete(model, if_missing="fail")

    @pytest.mark.parametrize("bad", [{"model": "{{ None }}"}, {"model": "None"}, {"conn_id": " "}])
    def test_a_template_that_gives_nothing_is_refused(self, bad: dict[str, Any], emulator: Emulator) -> None:
        with pytest.raises(InvalidRequest, match=next(iter(bad))):
            delete(**{"model": "ft:a", **{k: None if "{{" in v else v for k, v in bad.items()}})
