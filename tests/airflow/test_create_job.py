"""Creating a job from a DAG: what reaches the server, what reaches XCom, and what a failure looks like."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.fine_tuning import FineTuningJob

from airflow_provider_finetune.exceptions import (
    FineTuningJobFailed,
    FineTuningJobFailedForGood,
    FineTuningJobTimeout,
    InvalidRequest,
    RequestRefused,
    SubmissionUnsettled,
)
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.jobs.request import SupervisedHyperparameters, SupervisedMethod
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG

    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"
CREATE = ("POST", "/fine_tuning/jobs")
RunDag = "Callable[..., Any]"
WAITS = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "on the worker"])


def create(dag: DAG, file: str, /, **arguments: Any) -> CreateFineTuningJobOperator:
    """Add the operator to the DAG; a list that lags is not what most tests are about."""
    with dag:
        return CreateFineTuningJobOperator(
            task_id="create",
            **{"model": MODEL, "training_file": file, "list_lag": 0.2, "poll_interval": 0.2, **arguments},
        )


# -- while the DAG is parsed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": SupervisedMethod.model_construct(hyperparameters={"n_epochs": 51})}, "n_epochs"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 0}}}}, "n_epochs"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {f"key{n}": "v" for n in range(12)}}, "leave out 1"),
        ({"if_exists": "recreate"}, "if_exists is .recreate.; expected one of reuse, fail, new"),
    ],
)
def test_a_bad_literal_fails_when_the_dag_is_parsed(dag: DAG, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create(dag, "file-1", **arguments)


# -- before money is spent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"seed": "{{ 'lucky' }}"}, "seed: .*'lucky'"),
        ({"suffix": "{{ 'x' * 65 }}"}, "suffix: .*64"),
        ({"metadata": {"run": "{{ 'v' * 513 }}"}}, "metadata.run: .*512"),
        ({"training_file": "{{ None }}"}, "training_file is 'None': the template or XCom reference gave nothing"),
        ({"training_file": "{{ ti.xcom_pull(task_ids='nobody') or '' }}"}, "training_file is ''"),
        ({"model": "{{ '' }}"}, "model is ''"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "{{ 99 }}"}}}},
            "method.supervised.hyperparameters.n_epochs: .*99",
        ),
    ],
)
def test_what_a_template_gave_is_checked_before_anything_is_sent_and_not_tried_again(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, arguments: dict[str, Any], said: str
) -> None:
    create(dag, training_file, **{"retries": 1, **arguments})
    result = run_dag(dag)
    assert result.states == {"create": "failed"}
    assert len(result.errors["create"]) == 1
    assert isinstance(result.error("create"), InvalidRequest)
    with pytest.raises(InvalidRequest, match=said):
        raise result.error("create")
    assert emulator.requests(*CREATE) == []


def test_a_base_model_that_is_past_its_end_is_refused_before_the_job_is_created(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.add_model("old-model", "2026-01-31")
    create(dag, training_file, model="old-model")
    result = run_dag(dag)
    assert "old-model was shut down on 2026-01-31" in str(result.error("create"))
    assert emulator.requests(*CREATE) == []


def test_a_base_model_that_ends_soon_is_warned_of(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    end = (datetime.now(tz=UTC) + timedelta(days=30)).date().isoformat()
    emulator.add_model("ending-model", end)
    create(dag, training_file, model="ending-model")
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    assert any(f"ending-model shuts down on {end}" in line for line in result.log)


# -- refusals


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 403, "code": "training_not_available"}, ["2027-01-06", "2026-07-02", "openai.azure.com/openai/v1"]),
        ({"status": 429, "code": "insufficient_quota"}, ["insufficient_quota", "Add credit"]),
        ({"status": 401}, ["invalid_api_key", "connection's password"]),
        ({"status": 400, "code": "model_not_available"}, ["model_not_available", "Check the model's name"]),
    ],
    ids=lambda value: str(value.get("status")) if isinstance(value, dict) else None,
)
def test_a_refused_create_is_sent_once_not_tried_again_and_says_what_to_do(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, fault: dict[str, Any], said: list[str]
) -> None:
    emulator.fault("status", *CREATE, times=None, **fault)
    create(dag, training_file, retries=1)
    result = run_dag(dag)
    assert result.states == {"create": "failed"}
    assert len(emulator.requests(*CREATE)) == 1
    assert isinstance(result.error("create"), RequestRefused)
    for part in said:
        assert part in str(result.error("create"))


def test_a_training_file_that_the_endpoint_does_not_know_is_a_refusal(
    dag: DAG, run_dag: RunDag, emulator: Emulator
) -> None:
    create(dag, "file-nobody")
    result = run_dag(dag)
    assert "invalid training_file: file-nobody" in str(result.error("create"))


def test_a_wrong_key_is_a_refusal_and_shows_nowhere(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-proj-abcdefghijklmnop0123456789"
    emulator.fault(
        "status", path="/fine_tuning/**", times=None, status=401, message=f"Incorrect API key provided: {key}"
    )
    connection = {"conn_type": "openai", "host": emulator.base_url, "password": key}
    monkeypatch.setenv("AIRFLOW_CONN_WRONG", json.dumps(connection))
    create(dag, training_file, conn_id="wrong")
    result = run_dag(dag)
    error = result.error("create")
    assert isinstance(error, RequestRefused)
    assert key not in "".join(traceback.format_exception(error))
    assert key not in "\n".join(result.log)


def test_a_connection_that_does_not_exist_is_named(dag: DAG, run_dag: RunDag, emulator: Emulator) -> None:
    create(dag, "file-1", conn_id="nowhere")
    assert "nowhere" in str(run_dag(dag).error("create"))


# -- exactly once


@pytest.mark.parametrize(
    "fault",
    [{"kind": "lose_answer"}, {"kind": "cut_body"}, {"kind": "status", "status": 500, "takes_effect": True}],
    ids=lambda fault: fault["kind"],
)
def test_a_create_whose_answer_is_lost_is_found_and_not_repeated(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, fault: dict[str, Any]
) -> None:
    emulator.fault(method="POST", path="/fine_tuning/jobs", **fault)
    emulator.set(list_lag_seconds=0.3, ignore_metadata_filter=True)
    create(dag, training_file, list_lag=1)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert result.xcom("create") == result.xcom("create", "job_id") == job["id"]
    assert len(emulator.requests(*CREATE)) == 1
    assert any("It may exist all the same" in line for line in result.log)


def test_a_create_that_never_arrived_is_sent_again(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.fault("lose_request", *CREATE)
    create(dag, training_file)
    result = run_dag(dag)
    (job,) = emulator.jobs()
    assert result.xcom("create") == job["id"]
    assert len(emulator.requests(*CREATE)) == 2


def test_a_retry_of_the_task_goes_on_with_the_job_whose_answer_was_lost(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.fault("lose_answer", *CREATE)
    # The looks before the create are let through: by metadata, and at all jobs. The one after it is refused.
    emulator.fault("status", "GET", "/fine_tuning/jobs", status=401, skip=2)
    create(dag, training_file, retries=1, retry_delay=timedelta(0))
    # A refused look after an unsettled create keeps the retry, which finds the job.
    result = run_dag(dag)
    assert isinstance(result.errors["create"][0], SubmissionUnsettled)
    assert "does not pay twice" in str(result.errors["create"][0])
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert result.xcom("create") == job["id"]
    assert len(emulator.requests(*CREATE)) == 1


def test_a_rate_limit_is_waited_for(dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str) -> None:
    emulator.fault("status", *CREATE, status=429, retry_after="0.2")
    create(dag, training_file)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    assert len(emulator.jobs()) == 1
    assert len(emulator.requests(*CREATE)) == 2


def test_the_job_carries_the_users_metadata_beside_our_five_keys(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(dag, training_file, metadata={"team": "{{ dag.dag_id[:4] }}"})
    result = run_dag(dag)
    (job,) = emulator.jobs()
    metadata = job["metadata"]
    assert metadata.keys() == {
        "team", "airflow_submission", "airflow_fingerprint", "airflow_dag_id", "airflow_run_id", "airflow_task_id",
    }  # fmt: skip
    assert metadata["team"] == "test"
    assert (metadata["airflow_dag_id"], metadata["airflow_run_id"], metadata["airflow_task_id"]) == (
        result.dag_id,
        result.run_id,
        "create",
    )


def test_another_run_of_the_dag_is_another_job(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(dag, training_file)
    first, second = run_dag(dag), run_dag(dag)
    assert [job["id"] for job in emulator.jobs()] == [first.xcom("create"), second.xcom("create")]


def test_an_endpoint_that_drops_the_metadata_is_warned_of(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.set(drop_metadata=True)
    create(dag, training_file)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    assert any("does not keep the metadata" in line for line in result.log)


# -- what is sent and what is pushed


def test_every_argument_is_templated_and_reaches_the_server(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(
        dag,
        "{{ dag_run.conf.file }}",
        validation_file="{{ dag_run.conf.file }}",
        model="{{ dag_run.conf.model }}",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "{{ 1 + 1 }}", "rank": 8}}},
        suffix="{{ 'bot' }}",
        seed="{{ 7 }}",
        integrations=[{"type": "wandb", "wandb": {"project": "{{ 'p' }}"}}],
        conn_id="{{ 'openai_default' }}",
    )
    result = run_dag(dag, file=training_file, model=MODEL)
    (job,) = emulator.jobs()
    assert result.xcom("create") == job["id"]
    assert (job["model"], job["training_file"], job["validation_file"]) == (MODEL, training_file, training_file)
    assert job["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    assert job["method"]["supervised"]["hyperparameters"]["rank"] == 8
    assert (job["seed"], job["integrations"]) == (7, [{"type": "wandb", "wandb": {"project": "p"}}])


def test_the_typed_method_reaches_the_server(dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str) -> None:
    create(dag, training_file, method=SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=2)))
    run_dag(dag)
    (job,) = emulator.jobs()
    assert job["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2


def test_a_graders_own_braces_reach_the_server_unrendered(
    dag: DAG, run_dag: RunDag, emulator: Emulator, uploaded: Callable[[bytes], str]
) -> None:
    row = {"messages": [{"role": "user", "content": "2 + 2"}], "answer": "4"}
    rows = "".join(json.dumps(row | {"answer": str(n)}) + "\n" for n in range(12)).encode()
    train, valid = uploaded(rows), uploaded(rows)
    grader = {
        "type": "string_check",
        "name": "same",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": "{{ 1 }}"}},
    }
    create(dag, train, validation_file=valid, model="o4-mini-2025-04-16", method=method)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert job["method"]["reinforcement"]["grader"] == grader
    assert job["method"]["reinforcement"]["hyperparameters"]["n_epochs"] == 1


def test_rendering_as_native_objects_changes_neither_texts_nor_the_grader(
    dag: DAG, run_dag: RunDag, emulator: Emulator, uploaded: Callable[[bytes], str]
) -> None:
    row = {"messages": [{"role": "user", "content": "2 + 2"}], "answer": "4"}
    file = uploaded("".join(json.dumps(row | {"answer": str(n)}) + "\n" for n in range(12)).encode())
    dag.render_template_as_native_obj = True
    grader = {
        "type": "string_check",
        "name": "42",
        "input": "{{sample.output_text}}",
        "reference": '{"a": 1}',
        "operation": "eq",
    }
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    create(
        dag,
        file,
        model="o4-mini-2025-04-16",
        validation_file=file,
        method=method,
        suffix="2024",
        metadata={"version": "3"},
    )
    assert run_dag(dag).states == {"create": "success"}
    (request,) = emulator.requests(*CREATE)
    assert request["status"] == 200
    (job,) = emulator.jobs()
    assert job["method"]["reinforcement"]["grader"] == grader
    assert job["metadata"]["version"] == "3"


@WAITS
def test_a_job_that_the_endpoint_does_not_know_yet_when_it_has_just_created_it_is_waited_for(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, deferrable: bool
) -> None:
    emulator.fault("status", "GET", "/fine_tuning/jobs/*", status=404)
    create(dag, training_file, wait_for_completion=True, deferrable=deferrable, list_lag=5)
    assert run_dag(dag).states == {"create": "success"}
    assert len(emulator.jobs()) == 1


def test_an_answer_that_shows_no_job_is_no_job_and_the_real_one_is_found(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = FineTuningHook.create_job

    def create_job(self: FineTuningHook, **request: Any) -> Any:
        really(self, **request)
        return FineTuningJob.construct(ok=True)

    monkeypatch.setattr(FineTuningHook, "create_job", create_job)
    create(dag, training_file)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert job["status"] != "cancelled"
    assert result.xcom("create", "job_id") == job["id"]


def test_without_waiting_the_job_id_is_returned_and_pushed_and_nothing_else(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(dag, training_file)
    result = run_dag(dag)
    (job,) = emulator.jobs()
    pushed = {key: value for (_, key), value in result.xcoms().items() if not key.startswith("_link_")}
    assert pushed.keys() == {"job_id", "return_value", "progress"}
    assert pushed["job_id"] == pushed["return_value"] == pushed["progress"]["job_id"] == job["id"]


@WAITS
def test_with_waiting_everything_the_sensor_pushes_is_pushed(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, deferrable: bool
) -> None:
    emulator.set(job_seconds=0.6)
    create(dag, training_file, wait_for_completion=True, deferrable=deferrable)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    outcome = result.xcom("create")
    assert outcome["job_id"] == result.xcom("create", "job_id") == job["id"]
    assert outcome["fine_tuned_model"] == result.xcom("create", "fine_tuned_model") == job["fine_tuned_model"]
    assert outcome["checkpoints"] == result.xcom("create", "checkpoints")
    assert outcome["best_checkpoint"] == result.xcom("create", "best_checkpoint")
    assert len(outcome["checkpoints"]) == 3
    assert emulator.api_key not in json.dumps(list(result.xcoms().values()))


@WAITS
def test_bad_data_ends_the_task_without_a_retry_and_says_why(
    dag: DAG, run_dag: RunDag, emulator: Emulator, uploaded: Callable[[bytes], str], deferrable: bool
) -> None:
    emulator.set(job_seconds=0.4)
    bad = uploaded(b'{"messages": [{"role": "user", "content": "secret text"}]}\n' * 12)
    create(dag, bad, wait_for_completion=True, deferrable=deferrable, retries=1)
    result = run_dag(dag)
    assert result.states == {"create": "failed"}
    assert len(emulator.jobs()) == 1
    error = result.error("create")
    assert isinstance(error, FineTuningJobFailedForGood)
    for part in ("invalid_training_file", "param training_file", "ValidateDatasetOperator"):
        assert part in str(error)
    assert "secret text" not in "\n".join([*result.log, *traceback.format_exception(error)])


def test_a_fault_of_the_servers_side_keeps_the_retry_which_makes_a_new_job(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    emulator.set(job_fields={"status": "failed", "error": {"code": "server_error", "message": "A GPU was lost."}})
    create(dag, training_file, wait_for_completion=True, deferrable=False, retries=1, retry_delay=timedelta(0))
    result = run_dag(dag)
    first, second = result.errors["create"]
    assert type(first) is type(second) is FineTuningJobFailed
    assert "a retry may help" in str(first)
    assert len(emulator.jobs()) == 2


@WAITS
def test_a_wait_that_takes_too_long_fails_the_task_and_leaves_the_job_alone(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str, deferrable: bool
) -> None:
    emulator.set(job_seconds=60)
    create(dag, training_file, wait_for_completion=True, deferrable=deferrable, timeout=0.5)
    result = run_dag(dag)
    assert isinstance(result.error("create"), FineTuningJobTimeout)
    assert "was not cancelled" in str(result.error("create"))
    (job,) = emulator.jobs()
    assert job["status"] not in ("cancelled", "failed")
    assert result.xcom("create", "job_id") == job["id"]


def test_no_key_shows_in_rendered_templates_xcoms_or_the_log(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    emulator.set(job_seconds=0.4)
    create(dag, training_file, wait_for_completion=True)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    with create_session() as session:
        rendered = session.query(RenderedTaskInstanceFields).filter_by(dag_id=dag.dag_id).one().rendered_fields
    assert rendered["training_file"] == training_file
    for shown in (json.dumps(rendered), json.dumps(list(result.xcoms().values())), "\n".join(result.log)):
        assert emulator.api_key not in shown


# -- killed


class TaskInstance:
    """As much of a running task instance as is asked whether a person has ended it (Airflow 2 and 3)."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "d", "r", "create", -1, 1, 0
    start_date = None

    def __init__(self, state: str) -> None:
        self.state = state
        self.pushed: dict[str, Any] = {}

    def current_state(self) -> str:
        return self.state

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.pushed.get(key)


@pytest.mark.parametrize(
    ("state", "status"), [("failed", "cancelled"), ("success", "cancelled"), ("running", "running")]
)
def test_only_a_person_who_ends_the_task_cancels_the_job(
    dag: DAG, emulator: Emulator, training_file: str, until: Callable[..., Any], state: str, status: str
) -> None:
    emulator.set(job_seconds=30)
    operator = create(dag, training_file)
    ti = TaskInstance(state)
    job_id = operator.execute({"ti": ti})
    until(job_id, "running")
    operator.wait_for_completion = True  # as if it still did
    operator.on_kill()
    operator._killing.join(30)
    (job,) = emulator.jobs()
    assert job["status"] == status


def test_a_try_that_was_given_up_and_finds_its_retry_succeeded_cancels_nothing(
    dag: DAG, emulator: Emulator, training_file: str, until: Callable[..., Any]
) -> None:
    emulator.set(job_seconds=30)
    operator = create(dag, training_file)
    ti = TaskInstance("success")
    until(operator.execute({"ti": ti}), "running")
    operator.wait_for_completion = True
    ti.pushed["job_id"] = "ftjob-of-the-retry"
    operator.on_kill()
    (job,) = emulator.jobs()
    assert job["status"] == "running"


def test_a_killed_task_leaves_its_job_alone_where_the_user_wants_it_to(
    dag: DAG, emulator: Emulator, training_file: str
) -> None:
    emulator.set(job_seconds=30)
    operator = create(dag, training_file, cancel_on_kill=False)
    operator.execute({"ti": TaskInstance("failed")})
    operator.on_kill()
    (job,) = emulator.jobs()
    assert job["status"] != "cancelled"


def test_a_task_that_is_being_stopped_creates_nothing_any_more(
    dag: DAG, emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = create(dag, training_file)
    look = type(operator.hook).list_jobs

    def killed_while_it_looks(*arguments: Any, **named: Any) -> list[Any]:
        operator.on_kill()
        return look(*arguments, **named)

    monkeypatch.setattr(type(operator.hook), "list_jobs", killed_while_it_looks)
    with pytest.raises(SubmissionUnsettled, match="being stopped"):
        operator.execute({"ti": TaskInstance("running")})
    assert emulator.requests(*CREATE) == []


# -- the caller's own words


def test_mapped_tasks_take_models_inside_mappings_and_survive_the_dags_serialization(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    from openai.types import fine_tuning as sdk

    methods = [
        {"type": "supervised", "supervised": sdk.SupervisedMethod(hyperparameters={"n_epochs": 2})},
        {"type": "supervised", "supervised": {"hyperparameters": sdk.SupervisedHyperparameters(n_epochs=3)}},
        SupervisedMethod(hyperparameters=SupervisedHyperparameters(n_epochs=1)),
    ]
    with dag:
        CreateFineTuningJobOperator.partial(
            task_id="create", model=MODEL, training_file=training_file, list_lag=0.2
        ).expand(method=methods)
    result = run_dag(dag)
    assert set(result.states.values()) == {"success"}
    asked = [job["method"]["supervised"]["hyperparameters"]["n_epochs"] for job in emulator.jobs()]
    assert sorted(asked) == [1, 2, 3]


def test_the_older_hyperparameters_reach_the_endpoint_rendered(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(dag, training_file, hyperparameters={"n_epochs": "{{ 1 + 1 }}"})
    assert run_dag(dag).states == {"create": "success"}
    (job,) = emulator.jobs()
    assert job["hyperparameters"]["n_epochs"] == 2
    assert job["asked"]["hyperparameters"] == {"n_epochs": 2}


def test_a_slip_in_the_name_of_a_hyperparameter_is_warned_of_when_the_dag_is_parsed_and_when_the_task_runs(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epoch": 2}}}
    with pytest.warns(
        UserWarning, match="create: method.supervised.hyperparameters.n_epoch is not known; did you mean"
    ):
        create(dag, training_file, method=method)
    assert any("did you mean 'n_epochs'?" in line for line in run_dag(dag).log)


def test_a_job_without_a_seed_gets_one_that_is_the_same_for_the_same_request_and_no_other(
    dag: DAG, run_dag: RunDag, emulator: Emulator, training_file: str
) -> None:
    create(dag, training_file)
    first = run_dag(dag)
    assert first.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert 0 < job["seed"] < 2**31
    run_dag(dag)
    assert emulator.jobs()[1]["seed"] != job["seed"], "another run is another submission"
