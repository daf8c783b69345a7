"""Any field of any answer may be anything: an operator returns, or fails in one of this provider's ways."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.hooks.bounds import bounded
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.hooks.options import named
from airflow_provider_finetune.hooks.secrets import without_secrets
from airflow_provider_finetune.models.history import History
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import (
    CancelFineTuningJobOperator,
    CreateFineTuningJobOperator,
    PauseFineTuningJobOperator,
    ResumeFineTuningJobOperator,
)
from airflow_provider_finetune.operators.model import CleanUpFineTuningOperator, DeleteFineTunedModelOperator
from tests.hostile.odd_answers import (
    CHECKPOINT,
    ERROR,
    EVENT,
    FILE,
    JOB,
    MODEL,
    Ti,
    anything,
    bounded_time,
    check,
    fuzzed,
    jobs,
    pages,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "a-key-nobody-checks"
MOST_REQUESTS = 2_000


class Store:
    """No champions."""

    def names(self) -> list[str]:
        return []

    def read(self, name: str) -> History:
        return History(name)

    def write(self, history: History) -> bool:
        raise AssertionError("nothing is promoted")


def answers(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[int, Any]]]:
    """The status and the body of the first answers to a kind of request; the last one is repeated."""
    good = st.tuples(st.just(200), values)
    bad = st.tuples(statuses, values | st.fixed_dictionaries({"error": fuzzed(ERROR["error"]) | anything}))
    return st.lists(good | good | bad, min_size=1, max_size=3)


worlds = st.fixed_dictionaries(
    {
        "jobs": answers(pages(JOB)),
        "job": answers(jobs),
        "events": answers(pages(EVENT)),
        "checkpoints": answers(pages(CHECKPOINT)),
        "files": answers(pages(FILE)),
        "file": answers(fuzzed(FILE) | anything),
        "models": answers(pages(MODEL)),
        "model": answers(fuzzed(MODEL) | anything),
    }
)


class Endpoint:
    """An endpoint that answers as the example says, at any speed: the clock goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self.world: dict[str, list[tuple[int, Any]]] = {}
        self.requests = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        assert self.requests < MOST_REQUESTS
        _, _, *parts = request.url.path.split("/")
        kind = {
            ("fine_tuning", "jobs"): "jobs" if request.method == "GET" else "job",
            ("files",): "files" if request.method == "GET" else "file",
            ("models",): "models",
        }.get(tuple(parts)) or {"events": "events", "checkpoints": "checkpoints"}.get(parts[-1], "")
        kind = kind or {"fine_tuning": "job", "files": "file", "models": "model"}[parts[0]]
        left = self.world[kind]
        status, value = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(status, content=json.dumps(value), headers={"content-type": "application/json"})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    one, now = Endpoint(), [1_700_001_000.0]

    async def answer(request: httpx.Request) -> httpx.Response:
        return one.answer(request)

    def options(client: Any) -> dict[str, Any]:
        return {"api_key": KEY, "base_url": "http://endpoint/v1", "max_retries": 0, "http_client": client}

    def get_conn(_: Any) -> Any:
        made = openai.OpenAI(**options(httpx.Client(transport=httpx.MockTransport(one.answer))))
        return without_secrets(named(bounded(made), "fuzzed"))

    async def aget_conn(_: Any) -> Any:
        made = openai.AsyncOpenAI(**options(httpx.AsyncClient(transport=httpx.MockTransport(answer))))
        return without_secrets(named(bounded(made), "fuzzed"))

    def sleep(seconds: float) -> None:
        now[0] += seconds

    connection = json.dumps({"conn_type": "openai", "host": "http://endpoint/v1", "password": KEY})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_FUZZED", connection)
        patched.setattr(FineTuningHook, "get_conn", get_conn)
        patched.setattr(FineTuningHook, "aget_conn", aget_conn)
        patched.setattr(time, "sleep", sleep)
        patched.setattr(time, "time", lambda: now[0])
        patched.setattr(time, "monotonic", lambda: now[0])
        yield one


def run(endpoint: Endpoint, world: dict[str, Any], operator: Any) -> None:
    """Let an operator do its work; check how it ends and what it leaves behind."""
    endpoint.world, endpoint.requests = world, 0
    ti = Ti()
    try:
        returned = operator.execute({"ti": ti})
    except FineTuningError as error:
        returned = f"{type(error).__name__}: {error}"
        assert KEY not in returned
        assert len(returned) < 20_000
    check({**ti.xcoms, "returned": returned})


@bounded_time
@given(worlds)
def test_creating_a_job(endpoint: Endpoint, world: dict[str, Any]) -> None:
    operator = CreateFineTuningJobOperator(
        task_id="create",
        model="gpt-4.1-mini",
        training_file="file-1",
        wait_for_completion=False,
        deferrable=False,
        timeout=100,
        conn_id="fuzzed",
    )
    run(endpoint, world, operator)


@pytest.mark.parametrize(
    "operator", [PauseFineTuningJobOperator, ResumeFineTuningJobOperator, CancelFineTuningJobOperator]
)
def test_pausing_resuming_and_cancelling_a_job(endpoint: Endpoint, operator: Any) -> None:
    @bounded_time
    @given(worlds)
    def fuzz(world: dict[str, Any]) -> None:
        task = operator(task_id="goal", job_id="ftjob-1", deferrable=False, timeout=100, conn_id="fuzzed")
        run(endpoint, world, task)

    fuzz()


@bounded_time
@given(worlds)
def test_uploading_a_dataset(
    endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory, world: dict[str, Any]
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 10)
    task = UploadDatasetOperator(
        task_id="upload", path=str(path), validate=False, timeout=100, poll_interval=10, conn_id="fuzzed"
    )
    run(endpoint, world, task)


@bounded_time
@given(worlds)
def test_cleaning_up(endpoint: Endpoint, world: dict[str, Any]) -> None:
    task = CleanUpFineTuningOperator(
        task_id="clean_up", dag_ids=["fuzz"], keep=0, dry_run=False, min_age=0, store=Store(), conn_id="fuzzed"
    )
    run(endpoint, world, task)


@bounded_time
@given(worlds)
def test_deleting_a_model(endpoint: Endpoint, world: dict[str, Any]) -> None:
    run(endpoint, world, DeleteFineTunedModelOperator(task_id="delete", model="ft:1", store=Store(), conn_id="fuzzed"))
