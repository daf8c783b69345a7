"""Any field of any answer may be anything: a look ends in one of its ways, and what it leaves behind is small."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.exceptions import (
    EndpointUnreachable,
    FineTuningJobFailed,
    RequestRefused,
)
from airflow_provider_finetune.hooks import watch
from airflow_provider_finetune.hooks.bounds import bounded
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.hooks.options import named
from airflow_provider_finetune.hooks.secrets import without_secrets
from airflow_provider_finetune.hooks.size import TRIGGERER
from airflow_provider_finetune.jobs.events import Unseen
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.sensors.job import FineTuningJobSensor
from airflow_provider_finetune.triggers import poller
from airflow_provider_finetune.triggers.job import FineTuningJobTrigger
from tests.hostile.odd_answers import (
    CHECKPOINT,
    ERROR,
    EVENT,
    JOB,
    Ti,
    anything,
    bounded_time,
    check,
    fuzzed,
    heads,
    jobs,
    pages,
    statuses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Endpoint:
    """The real hook with the real client, but for the network: it answers as the example says."""

    def __init__(self) -> None:
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(500)
        client = openai.OpenAI(
            api_key="a-key-nobody-checks",
            base_url="http://endpoint/v1",
            max_retries=0,
            http_client=httpx.Client(transport=httpx.MockTransport(lambda request: self.answer(request))),
        )
        self.hook = FineTuningHook(conn_id="fuzzed")
        self.hook.conn = without_secrets(named(bounded(client), "fuzzed"))

    def poked(self) -> dict[str, Any]:
        """Let a sensor look once; return what it pushed, and what it returned or raised."""
        sensor = FineTuningJobSensor(task_id="wait", job_id="ftjob-1", deferrable=False, poll_interval=1)
        sensor.hook = self.hook
        ti = Ti()
        sensor._watch = sensor.watch("ftjob-1", None)
        sensor._watch.succeeded_at = 1.0  # the model's name is not waited for
        with patch.object(watch, "CHECKPOINTS_TRIES", 1):
            try:
                found = sensor.poke({"ti": ti})  # type: ignore[typeddict-item]
                returned = found if isinstance(found, bool) else found.xcom_value
            except (FineTuningJobFailed, RequestRefused, EndpointUnreachable) as error:
                returned = {"error": str(error)}
        return {**ti.xcoms, "returned": returned}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The endpoint, with a connection to it; nothing is logged."""
    connection = json.dumps({"conn_type": "openai", "host": "http://endpoint/v1", "password": "a-key-nobody-checks"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_FUZZED", connection)
        one = Endpoint()
        with one.hook.conn:
            yield one


@bounded_time
@given(jobs, pages(EVENT), pages(CHECKPOINT))
def test_whatever_fields_a_job_its_events_and_checkpoints_have_a_sensor_goes_on_or_ends_in_one_of_its_ways(
    endpoint: Endpoint, job: Any, events: Any, checkpoints: Any
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        value = events if path.endswith("/events") else checkpoints if path.endswith("/checkpoints") else job
        return httpx.Response(200, content=json.dumps(value), headers={"content-type": "application/json"})

    endpoint.answer = answer
    check(endpoint.poked())


@bounded_time
@given(jobs, statuses, heads, fuzzed(ERROR["error"]) | anything, st.binary(max_size=40), st.integers(0, 3))
def test_whatever_is_answered_and_however_it_is_announced_a_sensor_goes_on_or_ends_in_one_of_its_ways(
    endpoint: Endpoint, job: Any, status: int, head: dict[str, str], error: Any, noise: bytes, kind: int
) -> None:
    value = job if status < 300 else {"error": error} if kind else error
    body = json.dumps(value).encode()
    body = (body, body, body[: len(body) // 2] + noise + body[len(body) // 2 :], noise)[kind]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(
            status,
            stream=httpx.ByteStream(body),
            headers=[
                (name.encode(), value.encode("latin-1"))
                for name, value in {"content-type": "application/json", **head}.items()
            ],
        )

    endpoint.answer = answer
    check(endpoint.poked())


@bounded_time
@given(jobs, st.lists(pages(EVENT), max_size=3))
def test_whatever_fields_an_answer_has_a_trigger_goes_on_or_fires_one_of_its_events(job: Any, pages: Any) -> None:
    trigger = FineTuningJobTrigger("fuzzed", "ftjob-1", 1.0, end_time=2e9, on_paused="resume")
    unseen = Unseen()
    for page in pages:
        if isinstance(page, dict):
            poller._add(unseen, json.loads(json.dumps(page)))
    events = tuple(unseen.in_order())
    fired = []
    try:
        fired.append(poller.Update(job=poller._job(json.loads(json.dumps(job)), "ftjob-1"), events=events))
    except openai.APIError:
        fired.append(poller.Update(events=events))
    logging.disable(logging.CRITICAL)
    for update in fired:
        trigger.progress.note(update)
        event = trigger._consider(update, set())
        if event is not None:
            assert event.payload["event"] in ("ended", "failed", "resume", "timeout", "refused")
            check(event.payload)
    logging.disable(logging.NOTSET)
    check({"row": trigger.serialize()[1], "xcoms": trigger.progress.known.xcoms()})


@pytest.mark.parametrize("values", [TRIGGERER.most_values])
def test_a_job_of_nothing_but_values_is_read_in_its_first_fields(values: int) -> None:
    odd = {**JOB, "hyperparameters": {str(number): number for number in range(values)}}
    job = Job.from_api(odd)
    assert len(job.hyperparameters or {}) < 10_000
