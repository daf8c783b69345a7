"""One DAG on every endpoint, as the emulator speaks its dialect; between them, only the connection differs."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.endpoints import ENDPOINTS
from airflow_provider_finetune.exceptions import (
    EndpointOccupied,
    InvalidRequest,
    RequestIgnored,
    SubmissionUnsettled,
)
from airflow_provider_finetune.hooks.submission import JobSubmission
from airflow_provider_finetune.jobs.actions import Create
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import (
    CancelFineTuningJobOperator,
    CreateFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

    RunDag = Callable[..., DagResult]

MODEL = "gpt-4.1-mini-2025-04-14"
SUPERVISED = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
DPO = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
CREATE = ("POST", "/fine_tuning/jobs")
NOW = timedelta(0)
#: What else an endpoint's connection has in its extra.
EXTRA: dict[str, dict[str, Any]] = {
    "tenstorrent": {"openai_client_kwargs": {"default_headers": {"X-TT-Organization": "ours"}}},
    "litellm": {
        "openai_client_kwargs": {"default_query": {"custom_llm_provider": "openai"}},
        "finetune": {"extra_body": {"custom_llm_provider": "openai"}},
    },
}
#: By what a job is known again: what the emulator's dialects keep.
KNOWN_BY = {
    "openai": "metadata",
    "azure": "metadata",
    **dict.fromkeys(["nebius", "unsloth", "llmariner", "litellm"], "seed"),
    **dict.fromkeys(["bedrock", "crusoe", "tenstorrent", "zhipu", "portkey"], "nothing"),
}
EVERY = pytest.mark.parametrize("like", list(ENDPOINTS))
NAMED = pytest.mark.parametrize("named", [True, False], ids=["named in the connection", "unknown"])


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the emulator like an endpoint, and the connection as its users write it."""

    def connect(like: str, *, named: bool = True, **settings: Any) -> None:
        emulator.set(like=like, late_seconds=0.1, **settings)
        connection = json.loads(emulator.connection)
        extra = json.loads(json.dumps(EXTRA.get(like, {})))
        if named:
            extra.setdefault("finetune", {})["endpoint"] = like
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps({**connection, "extra": extra}))

    return connect


@pytest.fixture
def dag_of_the_readme(dag: DAG, tmp_path: Path) -> DAG:
    """Upload, create, wait: the README's DAG, with quicker looks."""
    rows = (
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "yes"}]} for n in range(12)
    )
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with dag:
        upload = UploadDatasetOperator(task_id="upload", path=str(tmp_path / "train.jsonl"))
        create = CreateFineTuningJobOperator(
            task_id="create",
            model=MODEL,
            training_file=upload.output,
            method=SUPERVISED,
            list_lag=0.3,
            retries=1,
            retry_delay=NOW,
        )
        FineTuningJobSensor(task_id="wait", job_id=create.output, poll_interval=0.2)
    return dag


def crash_after_the_first_create(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the first try right after its create was answered."""
    carry_out, crashed = JobSubmission._carry_out, []

    def crashing(self: JobSubmission, action: Any) -> object:
        answer = carry_out(self, action)
        if isinstance(action, Create) and not crashed:
            crashed.append(action)
            raise RuntimeError("the worker is gone")
        return answer

    monkeypatch.setattr(JobSubmission, "_carry_out", crashing)


@EVERY
@NAMED
def test_the_dag_trains_a_model(
    like: str,
    named: bool,
    emulator: Emulator,
    connect: Callable[..., None],
    dag_of_the_readme: DAG,
    run_dag: RunDag,
) -> None:
    connect(like, named=named)
    result = run_dag(dag_of_the_readme)
    assert result.states == dict.fromkeys(["upload", "create", "wait"], "success")
    (job,) = emulator.jobs()
    assert result.xcom("wait", "fine_tuned_model")
    assert result.xcom("wait")["job_id"] == job["id"] == result.xcom("create", "job_id")
    assert len(emulator.requests(*CREATE)) == 1
    method_has_effect = named or like not in ("litellm", "zhipu")
    assert (job["hyperparameters"]["n_epochs"] == 2) is method_has_effect
    warned = any("is not what was asked for" in line for line in result.log)
    assert warned is not method_has_effect


@EVERY
@pytest.mark.parametrize("mishap", ["the answer to the create is lost", "the worker dies after the create"])
def test_one_job_is_paid_for_or_a_person_is_asked(
    like: str,
    mishap: str,
    emulator: Emulator,
    connect: Callable[..., None],
    dag_of_the_readme: DAG,
    run_dag: RunDag,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(like)
    if "answer" in mishap:
        emulator.fault("lose_answer", *CREATE)
    else:
        crash_after_the_first_create(monkeypatch)
    result = run_dag(dag_of_the_readme)
    (job,) = emulator.jobs()
    assert len(emulator.requests(*CREATE)) == 1
    assert emulator.requests("POST", "/fine_tuning/jobs/*/*") == []
    if KNOWN_BY[like] != "nothing":
        assert result.states == dict.fromkeys(["upload", "create", "wait"], "success")
        assert result.xcom("create") == job["id"]
        return
    assert result.states["create"] == "failed"
    error = result.error("create")
    assert isinstance(error, SubmissionUnsettled)
    assert f"existing_job_id='{job['id']}'" in str(error)
    assert f"foreign_job_ids=['{job['id']}']" in str(error)

    dag_of_the_readme.get_task("create").existing_job_id = job["id"]
    result = run_dag(dag_of_the_readme)
    assert result.states == dict.fromkeys(["upload", "create", "wait"], "success")
    assert len(emulator.requests(*CREATE)) == 1


def test_a_job_that_is_none_of_the_tasks_is_set_aside_and_another_one_created(
    emulator: Emulator, connect: Callable[..., None], dag_of_the_readme: DAG, run_dag: RunDag
) -> None:
    connect("portkey")
    emulator.fault("lose_answer", *CREATE)
    result = run_dag(dag_of_the_readme)
    (first,) = emulator.jobs()
    assert result.states["create"] == "failed"
    dag_of_the_readme.get_task("create").foreign_job_ids = f"['{first['id']}']"
    result = run_dag(dag_of_the_readme)
    assert result.states["create"] == "success"
    assert result.xcom("create") != first["id"]
    assert emulator.requests("POST", "/fine_tuning/jobs/*/*") == []


@pytest.mark.parametrize("like", [name for name, known in KNOWN_BY.items() if known == "nothing"])
def test_jobs_of_others_on_the_same_file_are_neither_taken_nor_cancelled(
    like: str, emulator: Emulator, connect: Callable[..., None], dag_of_the_readme: DAG, run_dag: RunDag
) -> None:
    connect(like)
    assert run_dag(dag_of_the_readme).states["create"] == "success"
    assert run_dag(dag_of_the_readme).states["create"] == "success"
    assert len(emulator.jobs()) == 2
    assert emulator.requests("POST", "/fine_tuning/jobs/*/*") == []


# -- marks that are refused


@pytest.mark.parametrize(
    ("refuses", "costs"),
    [
        (["metadata"], ["without the provider's metadata. A retry knows the job by its seed"]),
        (["seed"], ["without the provider's seed. Another run of the same task trains with another seed"]),
        (["metadata", "seed"], ["A retry knows the job by its seed", "Nothing there tells this task's job"]),
    ],
    ids=" and ".join,
)
def test_a_mark_that_is_refused_is_left_out_and_what_that_costs_is_said(
    refuses: list[str],
    costs: list[str],
    emulator: Emulator,
    connect: Callable[..., None],
    dag_of_the_readme: DAG,
    run_dag: RunDag,
) -> None:
    connect("openai", named=False, refuses=refuses)
    result = run_dag(dag_of_the_readme)
    assert result.states["create"] == "success"
    assert len(emulator.jobs()) == 1
    assert len(emulator.requests(*CREATE)) == 1 + len(refuses)
    for cost in costs:
        assert sum(cost in line for line in result.log) == 1


@pytest.mark.parametrize("given", [{"metadata": {"team": "ml"}}, {"seed": 5}], ids=["metadata", "seed"])
def test_a_field_that_the_user_gave_is_never_dropped(
    given: dict[str, Any], emulator: Emulator, connect: Callable[..., None], dag_of_the_readme: DAG, run_dag: RunDag
) -> None:
    connect("openai", named=False, refuses=list(given))
    for name, value in given.items():
        setattr(dag_of_the_readme.get_task("create"), name, value)
    assert run_dag(dag_of_the_readme).states["create"] == "failed"
    assert emulator.jobs() == []


# -- what an endpoint cannot do


@pytest.mark.parametrize("like", [name for name, endpoint in ENDPOINTS.items() if "pause" in endpoint.cannot])
@pytest.mark.parametrize("operator", [PauseFineTuningJobOperator, ResumeFineTuningJobOperator])
def test_pausing_and_resuming_are_refused_before_anything_is_sent(
    like: str, operator: Any, emulator: Emulator, connect: Callable[..., None], dag: DAG, run_dag: RunDag
) -> None:
    connect(like)
    with dag:
        operator(task_id="task", job_id="ftjob-1")
    result = run_dag(dag)
    assert isinstance(result.error("task"), InvalidRequest)
    assert f"{ENDPOINTS[like].title} cannot {operator.goal} a job" in str(result.error("task"))
    assert emulator.requests() == []


@EVERY
def test_a_job_is_cancelled(
    like: str, emulator: Emulator, connect: Callable[..., None], dag: DAG, run_dag: RunDag, training_file: str
) -> None:
    connect(like, job_seconds=60)
    with dag:
        create = CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file=training_file, list_lag=0.1)
        CancelFineTuningJobOperator(task_id="cancel", job_id=create.output, poll_interval=0.1)
    assert run_dag(dag).states == {"create": "success", "cancel": "success"}
    assert [job["status"] for job in emulator.jobs()] == ["cancelled"]


@pytest.mark.parametrize(
    ("like", "arguments", "said"),
    [
        ("bedrock", {"suffix": "bot"}, "Amazon Bedrock refuses a suffix"),
        ("zhipu", {"method": DPO}, "Zhipu ignores the method"),
        ("litellm", {"method": DPO}, "the LiteLLM proxy ignores the method"),
    ],
)
def test_what_an_endpoint_is_known_not_to_do_is_refused_before_anything_is_sent(
    like: str,
    arguments: dict[str, Any],
    said: str,
    emulator: Emulator,
    connect: Callable[..., None],
    dag: DAG,
    run_dag: RunDag,
) -> None:
    connect(like)
    with dag:
        CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file="file-1", **arguments)
    result = run_dag(dag)
    assert isinstance(result.error("create"), InvalidRequest)
    assert said in str(result.error("create"))
    assert emulator.requests(*CREATE) == []


def test_a_name_that_no_endpoint_has_is_refused_with_those_that_are_known(
    emulator: Emulator, dag: DAG, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(emulator.connection) | {"extra": {"finetune": {"endpoint": "portkay"}}}
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
    with dag:
        CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file="file-1")
    error = str(run_dag(dag).error("create"))
    assert "'openai_default'" in error
    assert "'portkay' is not known; expected one of openai, azure" in error


# -- what was asked and what will be done


@pytest.mark.parametrize("on_ignored", ["warn", "cancel", "accept"])
def test_a_method_that_the_endpoint_ignores_is_warned_of_cancelled_or_accepted(
    on_ignored: str, emulator: Emulator, connect: Callable[..., None], dag: DAG, run_dag: RunDag, training_file: str
) -> None:
    connect("litellm", named=False, job_seconds=30)
    with dag:
        CreateFineTuningJobOperator(
            task_id="create",
            model=MODEL,
            training_file=training_file,
            method=SUPERVISED,
            extra_body={"custom_llm_provider": "openai"},
            on_ignored=on_ignored,
            list_lag=0.1,
            retries=1,
            retry_delay=NOW,
        )
    result = run_dag(dag)
    (job,) = emulator.jobs()
    said = "n_epochs: asked for 2, the endpoint shows"
    assert any(said in line for line in result.log) is (on_ignored == "warn")
    if on_ignored == "cancel":
        assert isinstance(result.error("create"), RequestIgnored)
        assert said in str(result.error("create"))
        assert len(result.errors["create"]) == 1
        assert job["status"] == "cancelled"
    else:
        assert result.states["create"] == "success"
        assert job["status"] != "cancelled"


# -- one job at a time


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "on the worker"])
@NAMED
def test_tasks_queue_up_where_an_endpoint_runs_one_job_at_a_time(
    deferrable: bool,
    named: bool,
    emulator: Emulator,
    connect: Callable[..., None],
    dag: DAG,
    run_dag: RunDag,
    training_file: str,
) -> None:
    connect("unsloth", named=named, job_seconds=2)
    with dag:
        for n in range(3):
            CreateFineTuningJobOperator(
                task_id=f"create_{n}",
                model=MODEL,
                training_file=training_file,
                deferrable=deferrable,
                poll_interval=0.1,
                list_lag=0.1,
            )
    result = run_dag(dag)
    assert set(result.states.values()) == {"success"}
    assert len(emulator.jobs()) == 3
    assert emulator.requests("POST", "/fine_tuning/jobs/*/*") == []
    assert any("Waiting for it to end; this task has created nothing yet" in line for line in result.log)


def test_when_busy_fail_fails_and_leaves_the_other_job_alone(
    emulator: Emulator, connect: Callable[..., None], dag: DAG, run_dag: RunDag, training_file: str
) -> None:
    connect("unsloth", job_seconds=30)
    with dag:
        first = CreateFineTuningJobOperator(task_id="first", model=MODEL, training_file=training_file, list_lag=0.1)
        second = CreateFineTuningJobOperator(
            task_id="second", model=MODEL, training_file=training_file, list_lag=0.1, when_busy="fail"
        )
        first >> second
    result = run_dag(dag)
    assert isinstance(result.error("second"), EndpointOccupied)
    assert emulator.jobs()[0]["id"] in str(result.error("second"))
    assert emulator.requests("POST", "/fine_tuning/jobs/*/*") == []


def test_a_409_that_is_not_about_another_job_is_looked_into_as_a_lost_answer(
    emulator: Emulator, dag_of_the_readme: DAG, run_dag: RunDag
) -> None:
    emulator.fault("status", *CREATE, status=409, message="Conflict", takes_effect=True)
    result = run_dag(dag_of_the_readme)
    assert result.states["create"] == "success"
    assert len(emulator.jobs()) == len(emulator.requests(*CREATE)) == 1
    assert any("It may exist all the same" in line for line in result.log)
