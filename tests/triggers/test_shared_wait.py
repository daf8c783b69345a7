"""Many triggers, one poller: against the emulator, with the real SDK."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.triggers import poller, progress
from airflow_provider_finetune.triggers.job import FineTuningJobTrigger

if TYPE_CHECKING:
    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"
STILL_RUNNING = {"status": "running", "finished_at": None, "fine_tuned_model": None}


def finished_jobs(emulator: Emulator, training_file: str, count: int) -> list[str]:
    """Create so many jobs that end at once, but show themselves as running; return their ids."""
    emulator.set(job_seconds=0)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        create = client.fine_tuning.jobs.create
        jobs = [create(model=MODEL, training_file=training_file).id for _ in range(count)]
    deadline = time.monotonic() + 30
    while any(job["status"] != "succeeded" for job in emulator.jobs()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for job in jobs:
        emulator.show(job, **STILL_RUNNING)
    return jobs


def trigger(job_id: str, poll_interval: float = 0.3, seconds: float = 60, **arguments: Any) -> FineTuningJobTrigger:
    arguments = {"conn_id": "openai_default", "end_time": time.time() + seconds, **arguments}
    return FineTuningJobTrigger(job_id=job_id, poll_interval=poll_interval, **arguments)


async def fired(one: FineTuningJobTrigger) -> dict[str, Any]:
    """Run a trigger as the triggerer does; return the payload of its only event."""
    events = [event async for event in one.run()]
    assert len(events) == 1
    payload: dict[str, Any] = events[0].payload
    return payload


def together(*triggers: FineTuningJobTrigger, meanwhile: Any = None, after: float = 1.0) -> list[dict[str, Any]]:
    """Run triggers in one event loop, doing something after a while; return their events."""

    async def run() -> list[dict[str, Any]]:
        waits = [asyncio.create_task(fired(one)) for one in triggers]
        if meanwhile is not None:
            await asyncio.sleep(after)
            await asyncio.to_thread(meanwhile)
        async with asyncio.timeout(45):
            found = await asyncio.gather(*waits)
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
        assert not poller._pollers[asyncio.get_running_loop()], "a poller is left"
        return found

    return asyncio.run(run())


def kinds(emulator: Emulator, since: int = 0) -> Counter[str]:
    """Count the requests by what they ask for."""
    paths = [request["path"].rstrip("/").rpartition("/")[2] for request in emulator.requests()[since:]]
    return Counter({"jobs": "list", "events": "events"}.get(path, "retrieve") for path in paths)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the triggers log, as it comes."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    found: list[str] = []
    logger = logging.Logger("triggers", logging.INFO)
    logger.addHandler(Lines())
    monkeypatch.setattr(FineTuningJobTrigger, "log", logger)
    return found


def test_many_waits_share_the_pages_of_the_list_and_end_together(emulator: Emulator, training_file: str) -> None:
    jobs = finished_jobs(emulator, training_file, 30)
    before = len(emulator.requests())
    found = together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs], after=1.2)
    assert [event["job_id"] for event in found] == jobs
    assert {event["event"] for event in found} == {"ended"}
    asked = kinds(emulator, before)
    assert not asked["retrieve"]
    assert 3 <= asked["list"] <= 20


def test_two_waits_on_one_job_both_hear_of_its_end(emulator: Emulator, training_file: str) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    found = together(trigger(job), trigger(job), meanwhile=lambda: emulator.show(job))
    assert [event["event"] for event in found] == ["ended", "ended"]


def test_a_job_the_endpoint_does_not_know_ends_its_own_wait_only(emulator: Emulator, training_file: str) -> None:
    jobs = finished_jobs(emulator, training_file, 3)
    found = together(
        trigger("ftjob-nobody-knows"),
        *map(trigger, jobs),
        meanwhile=lambda: [emulator.show(job) for job in jobs],
        after=2,
    )
    assert [event["event"] for event in found] == ["refused", "ended", "ended", "ended"]
    assert "404" in found[0]["message"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_ends_all_waits_with_a_clear_error(emulator: Emulator, training_file: str, status: int) -> None:
    jobs = finished_jobs(emulator, training_file, 3)
    emulator.fault("status", "GET", "/fine_tuning/**", status=status, times=None)
    found = together(*map(trigger, jobs))
    assert {event["event"] for event in found} == {"refused"}
    assert all(str(status) in event["message"] for event in found)


def test_a_broken_list_is_told_from_a_broken_endpoint(emulator: Emulator, training_file: str) -> None:
    jobs = finished_jobs(emulator, training_file, 3)
    emulator.fault("status", "GET", "/fine_tuning/jobs", status=500, times=None)
    found = together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs])
    assert {event["event"] for event in found} == {"ended"}
    assert len(emulator.requests("GET", "/fine_tuning/jobs")) == 2


def test_jobs_that_cannot_be_read_hold_up_no_other(emulator: Emulator, training_file: str, messages: list[str]) -> None:
    *bad, good = finished_jobs(emulator, training_file, 4)
    emulator.fault("status", "GET", "/fine_tuning/jobs", status=404, times=None)
    for job in bad:
        emulator.fault("status", "GET", f"/fine_tuning/jobs/{job}", status=500, times=None)
    looks: list[int] = []
    so_far: list[str] = []

    def meanwhile() -> None:
        looks.append(len(emulator.requests("GET", f"/fine_tuning/jobs/{good}")))
        so_far.extend(messages)
        emulator.show(good)

    found = together(*[trigger(job, seconds=16) for job in bad], trigger(good), meanwhile=meanwhile, after=10)
    assert [event["event"] for event in found] == ["timeout", "timeout", "timeout", "ended"]
    assert looks[0] > 1
    assert sum("Waiting through it" in message for message in so_far) == 4
    assert sum("answers again" in message for message in so_far) == 4


def test_a_list_that_is_always_busy_keeps_no_job_from_being_read(
    emulator: Emulator, training_file: str, messages: list[str]
) -> None:
    jobs = finished_jobs(emulator, training_file, 6)
    emulator.fault("status", "GET", "/fine_tuning/jobs", status=429, times=None)
    found = together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs], after=5)
    assert {event["event"] for event in found} == {"ended"}
    assert sum("Waiting through it" in message for message in messages) == 6
    assert len(emulator.requests("GET", "/fine_tuning/jobs")) == 2


def test_an_endpoint_without_credit_can_still_be_waited_on(emulator: Emulator, training_file: str) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    emulator.fault("status", "GET", "/fine_tuning/**", status=429, code="insufficient_quota", times=2)
    (event,) = together(trigger(job), meanwhile=lambda: emulator.show(job))
    assert event["event"] == "ended"


class Gibberish(BaseHTTPRequestHandler):
    """An endpoint that answers with bytes that are no text, but for one job."""

    def do_GET(self) -> None:
        good = {"id": "good", "status": "succeeded", "fine_tuned_model": "m"}
        body = json.dumps(good).encode() if self.path.endswith("/good") else b"\xff"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_answers_that_are_no_text_are_those_requests_trouble_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Gibberish) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            connection = {"conn_type": "openai", "password": "key", "host": f"http://127.0.0.1:{server.server_port}"}
            monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
            found = together(trigger("bad", seconds=8), trigger("good"))
        finally:
            server.shutdown()
            serving.join()
    assert [event["event"] for event in found] == ["timeout", "ended"]


def test_the_waits_last_through_an_outage_that_is_noted_when_it_begins_and_when_it_ends(
    emulator: Emulator, training_file: str, messages: list[str]
) -> None:
    jobs = finished_jobs(emulator, training_file, 3)
    emulator.fault("status", "GET", "/fine_tuning/**", status=503, times=3)
    found = together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs])
    assert {event["event"] for event in found} == {"ended"}
    assert sum("Waiting through it" in message for message in messages) == 3
    assert sum("answers again" in message for message in messages) == 3


def test_retry_after_holds_back_all_requests_of_the_connection(emulator: Emulator, training_file: str) -> None:
    jobs = finished_jobs(emulator, training_file, 3)
    before = len(emulator.requests())
    emulator.fault("status", "GET", "/fine_tuning/**", status=429, retry_after=3)
    together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs])
    first, second = emulator.requests()[before : before + 2]
    assert second["at"] - first["at"] >= 2.9


def test_busy_events_hold_back_the_looks_at_the_jobs_too(emulator: Emulator, training_file: str) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/events", status=429, retry_after=2)
    together(trigger(job), meanwhile=lambda: emulator.show(job))
    requests = [request for request in emulator.requests("GET", "/fine_tuning/**") if job in request["path"]]
    refused = next(n for n, request in enumerate(requests) if request["status"] == 429)
    assert requests[refused + 1]["at"] - requests[refused]["at"] >= 1.9


def test_an_endpoint_without_events_can_be_waited_on(emulator: Emulator, training_file: str) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    emulator.fault("status", "GET", "/fine_tuning/jobs/*/events", status=404, times=None)
    (event,) = together(trigger(job), meanwhile=lambda: emulator.show(job))
    assert event["event"] == "ended"


def test_the_deadline_is_the_one_that_was_set_not_counted_from_the_start_of_the_trigger(
    emulator: Emulator, training_file: str
) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    end_time = time.time() + 1.5
    time.sleep(0.5)  # until a triggerer takes it on again
    path, arguments = trigger(job, end_time=end_time).serialize()
    assert path.endswith("FineTuningJobTrigger")
    (event,) = together(FineTuningJobTrigger(**arguments))
    assert event["event"] == "timeout"
    assert 0 <= time.time() - end_time < 2
    assert event["end_time"] == end_time


def test_events_are_logged_once_and_in_order_however_many_pages_and_turns_they_take(
    emulator: Emulator, training_file: str, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "PAGE", 3)
    monkeypatch.setattr(polling, "events_allowed", lambda *_: 2)
    emulator.set(repeat_events=True)
    (job,) = finished_jobs(emulator, training_file, 1)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        expected = [event.message for event in client.fine_tuning.jobs.list_events(job, limit=100)][::-1]
    assert len(expected) > 12
    (event,) = together(trigger(job, 0.1), meanwhile=lambda: emulator.show(job), after=6)
    assert [message for message in messages if message in set(expected)] == expected
    assert event["last_event_id"]


def test_what_the_worker_has_logged_already_is_not_logged_again(
    emulator: Emulator, training_file: str, messages: list[str]
) -> None:
    (job,) = finished_jobs(emulator, training_file, 1)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        events = client.fine_tuning.jobs.list_events(job, limit=100).data
    seen = events[2]
    together(trigger(job, last_event_id=seen.id, last_event_at=seen.created_at), meanwhile=lambda: emulator.show(job))
    logged = [message for message in messages if message in {event.message for event in events}]
    assert logged == [events[1].message, events[0].message]


def test_however_many_wait_the_endpoint_sees_no_more_than_the_configured_budget(
    emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__FINETUNE__REQUESTS_PER_MINUTE", "30")
    jobs = finished_jobs(emulator, training_file, 8)
    before = len(emulator.requests())
    end_time = time.time() + 6
    found = together(*(trigger(job, 0.05, end_time=end_time) for job in jobs))
    assert {event["event"] for event in found} == {"timeout"}
    assert 3 <= len(emulator.requests()) - before <= 5, "a tenth of a minute has a tenth of the budget"


def test_one_client_serves_all_waits_and_is_closed_with_the_last(
    emulator: Emulator, training_file: str, opened: list[openai.AsyncOpenAI]
) -> None:
    jobs = finished_jobs(emulator, training_file, 5)
    together(*map(trigger, jobs), meanwhile=lambda: [emulator.show(job) for job in jobs])
    assert [client.is_closed() for client in opened] == [True]


def test_the_budget_is_the_connections_however_many_waits_follow_each_other(
    emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "requests_per_minute", lambda: 30)
    (job,) = finished_jobs(emulator, training_file, 1)
    before = len(emulator.requests())

    async def one_after_the_other() -> None:
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    await fired(trigger(job, poll_interval=0.05))

    asyncio.run(one_after_the_other())
    assert len(emulator.requests()) - before <= 5, "a tenth of a minute has a tenth of the budget"


class XCom:
    """Airflow's XCom, as far as a trigger uses it."""

    def __init__(self) -> None:
        self.set_at: list[tuple[float, Any]] = []  # of the key "progress", which is set last
        self.tries = 0
        self.seconds = 0.0
        self.error: Exception | None = None

    def get_one(self, **arguments: Any) -> None:
        return None

    def set(self, **arguments: Any) -> None:
        self.tries += 1
        if arguments["key"] == "progress":
            self.set_at.append((time.monotonic(), arguments))
        time.sleep(self.seconds)
        if self.error:
            raise self.error


@pytest.fixture
def xcom(monkeypatch: pytest.MonkeyPatch) -> XCom:
    pytest.importorskip("airflow.sdk.execution_time.xcom")
    fake = XCom()
    monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom", fake)
    return fake


def of_a_task(one: FineTuningJobTrigger, map_index: int) -> FineTuningJobTrigger:
    one.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=map_index)  # type: ignore[assignment]
    return one


def test_progress_is_set_for_one_task_after_the_other_and_holds_up_nothing(
    emulator: Emulator, training_file: str, xcom: XCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.2)
    xcom.seconds = 0.2
    jobs = finished_jobs(emulator, training_file, 20)
    triggers = [of_a_task(trigger(job), n) for n, job in enumerate(jobs)]
    released = [0.0]

    def release() -> None:
        for job in jobs:
            emulator.show(job)
        released[0] = time.monotonic()

    found = together(*triggers, meanwhile=release, after=2)
    assert {event["event"] for event in found} == {"ended"}
    assert time.monotonic() - released[0] < 7, "setting all of it would have taken eight seconds"
    times = [at for at, _ in xcom.set_at]
    assert 2 <= len(times) <= 10
    assert all(later - at >= 0.35 for at, later in pairwise(times))
    assert xcom.set_at[0][1]["key"] == "progress"
    assert xcom.set_at[0][1]["value"]["status"] == "running"


def test_progress_that_changes_too_often_is_set_when_its_time_has_come(
    emulator: Emulator, training_file: str, xcom: XCom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_finetune.jobs.progress.EVERY_SECONDS", 2.0)
    (job,) = finished_jobs(emulator, training_file, 1)

    def change() -> None:
        emulator.show(job, **{**STILL_RUNNING, "status": "pausing"})
        time.sleep(4)
        emulator.show(job)

    together(of_a_task(trigger(job), -1), meanwhile=change)
    (first, _), *_, (last, arguments) = xcom.set_at
    assert arguments["value"]["status"] == "pausing"
    assert last - first >= 1.9
    assert len(xcom.set_at) == 2


def test_progress_that_cannot_be_set_is_given_up_and_the_wait_goes_on(
    emulator: Emulator, training_file: str, xcom: XCom
) -> None:
    xcom.error = RuntimeError("no")
    (job,) = finished_jobs(emulator, training_file, 1)
    (event,) = together(of_a_task(trigger(job), -1), meanwhile=lambda: emulator.show(job), after=2)
    assert event["event"] == "ended"
    assert xcom.tries == 1


IMPORT = """
import gc
from airflow_provider_finetune.triggers import client
walks = []
gc.callbacks.append(lambda phase, info: walks.append((phase, info["generation"])))
client._import_hooks()
gc.callbacks.clear()
print(sum(walk == ("start", 2) for walk in walks), gc.isenabled(), gc.get_freeze_count())
"""


def test_the_sdk_is_loaded_without_a_garbage_collection_that_would_stop_the_event_loop() -> None:
    command = [sys.executable, "-W", "ignore", "-c", IMPORT]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[-3:] == ["0", "True", "0"]
