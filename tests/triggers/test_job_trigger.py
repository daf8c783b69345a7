"""The trigger alone: what is stored of it, when it fires and with what, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.emulator import running
from airflow_provider_finetune.jobs import polling
from airflow_provider_finetune.triggers import client as client_module
from airflow_provider_finetune.triggers import poller
from airflow_provider_finetune.triggers.job import FineTuningJobTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def job_id(emulator: Emulator, training_file: str) -> Iterator[str]:
    """Id of a job that shows itself as running until somebody says otherwise."""
    emulator.set(job_seconds=0)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file)
    emulator.show(job.id, status="running", fine_tuned_model=None, finished_at=None)
    return job.id


def trigger(job_id: str, **arguments: Any) -> FineTuningJobTrigger:
    return FineTuningJobTrigger(
        **{
            "conn_id": "openai_default",
            "job_id": job_id,
            "poll_interval": 0.1,
            "end_time": time.time() + 60,
            **arguments,
        }
    )


async def fired(one: FineTuningJobTrigger) -> dict[str, Any]:
    """Run a trigger as the triggerer does; return the payload of its only event."""
    async with asyncio.timeout(30):
        (event,) = [event async for event in one.run()]
    return event.payload


async def looked_at(emulator: Emulator, job_id: str, times: int = 1) -> None:
    """Wait until the server has been asked for the job."""
    # The server is a process of its own, which no event of this loop can tell of.
    while len(await asyncio.to_thread(emulator.requests, "GET", f"/fine_tuning/jobs/{job_id}")) < times:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


# -- what is stored in Airflow's database

ARGUMENTS = {
    "conn_id": "openai_default",
    "job_id": "ftjob-1",
    "poll_interval": 60.0,
    "end_time": 1_800_000_000.5,
    "on_paused": "resume",
    "until": ["paused", "succeeded"],
    "last_event_id": "ftevent-9",
    "last_event_at": 1_700_000_000,
    "cancel_on_kill": True,
    "last_event_marks": ["0a1b2c3d"],
    "succeeded_at": 1_700_000_100.5,
    "if_gone": "cancelled",
    "limit": "execution_timeout",
}


def test_the_stored_form_of_a_trigger_never_changes_between_releases() -> None:
    """Triggers of the release before are in the database while the triggerer is upgraded."""
    assert FineTuningJobTrigger(**ARGUMENTS).serialize() == (
        "airflow_provider_finetune.triggers.job.FineTuningJobTrigger",
        ARGUMENTS,
    )


def test_a_trigger_stored_without_the_later_arguments_still_starts() -> None:
    needed = {name: ARGUMENTS[name] for name in ("conn_id", "job_id", "poll_interval", "end_time")}
    _, stored = FineTuningJobTrigger(**needed).serialize()
    assert stored == needed | {
        "on_paused": "wait",
        "until": [],
        "last_event_id": None,
        "last_event_at": 0,
        "cancel_on_kill": False,
        "last_event_marks": [],
        "succeeded_at": None,
        "if_gone": None,
        "limit": "timeout",
    }


def test_a_trigger_survives_the_way_through_the_database_and_holds_no_key(emulator: Emulator) -> None:
    path, stored = FineTuningJobTrigger(**ARGUMENTS).serialize()
    again = json.loads(json.dumps(stored))
    assert FineTuningJobTrigger(**again).serialize() == (path, stored)
    assert emulator.api_key not in json.dumps(stored)


# -- when it fires, and with what


@pytest.mark.parametrize(
    ("shown", "arguments", "event"),
    [
        ({"status": "succeeded", "fine_tuned_model": "ft:x"}, {}, "ended"),
        ({"status": "succeeded", "finished_at": 1_700_000_000}, {}, "failed"),
        ({"status": "failed", "error": {"code": "server_error", "message": "Oops"}}, {}, "failed"),
        ({"status": "cancelled"}, {}, "failed"),
        ({"status": "paused"}, {"on_paused": "resume"}, "resume"),
        ({"status": "paused"}, {"on_paused": "fail"}, "failed"),
        ({"status": "paused"}, {"until": ["paused"]}, "reached"),
        ({"status": "running"}, {"until": ["running"]}, "reached"),
    ],
)
async def test_it_fires_once_with_the_documented_event(
    emulator: Emulator, job_id: str, shown: dict[str, Any], arguments: dict[str, Any], event: str
) -> None:
    emulator.show(job_id, **({"fine_tuned_model": None, "finished_at": None} | shown))
    end_time = time.time() + 60
    payload = await fired(trigger(job_id, end_time=end_time, last_event_id="e", last_event_at=2**40, **arguments))
    assert payload.keys() == {
        "job_id", "event", "status", "message", "end_time", "last_event_id", "last_event_at", "last_event_marks",
        "progress",
        "succeeded_at", "if_gone", "limit",
    }  # fmt: skip
    assert (payload["job_id"], payload["event"], payload["status"]) == (job_id, event, shown["status"])
    assert (payload["end_time"], payload["last_event_id"], payload["last_event_at"]) == (end_time, "e", 2**40)
    assert bool(payload["message"]) is (event == "failed")
    json.dumps(payload)


@pytest.mark.parametrize("status", ["pending", "paused", "training_on_the_moon"])
async def test_it_does_not_fire_while_the_job_is_not_over(emulator: Emulator, job_id: str, status: str) -> None:
    emulator.show(job_id, status=status, finished_at=None)
    waiting = asyncio.create_task(fired(trigger(job_id)))
    await looked_at(emulator, job_id, times=3)
    assert not waiting.done()
    emulator.show(job_id)
    assert (await waiting)["event"] == "ended"


async def test_a_deadline_in_the_past_fires_at_once_and_asks_for_nothing(emulator: Emulator, job_id: str) -> None:
    before = len(emulator.requests())
    payload = await fired(trigger(job_id, end_time=time.time() - 3600))
    assert (payload["event"], payload["status"]) == ("timeout", None)
    assert len(emulator.requests()) == before


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        (None, "gone"),
        ({"conn_type": "openai", "host": "http://127.0.0.1:1/v1"}, "no API key"),
        ({"conn_type": "openai", "password": "k" * 20, "extra": {"auth_type": "magic"}}, "magic"),
    ],
    ids=["missing", "without a key", "bad extra"],
)
async def test_a_connection_that_cannot_be_used_ends_the_wait_and_is_named(
    airflow_database: None, monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any] | None, said: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_GONE", json.dumps(connection))
    payload = await fired(trigger("ftjob-1", conn_id="gone"))
    assert payload["event"] == "refused"
    assert said in payload["message"]


async def test_a_key_that_was_changed_in_the_connection_is_read_again(
    emulator: Emulator, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the endpoint answers to the old key: the wait goes on with the new one."""
    waiting = asyncio.create_task(fired(trigger(job_id)))
    await looked_at(emulator, job_id)
    emulator.fault("status", "GET", "/fine_tuning/**", status=401)
    await looked_at(emulator, job_id, times=4)
    assert not waiting.done()
    emulator.show(job_id)
    assert (await waiting)["event"] == "ended"


# -- the endpoint is gone for a while


async def failed_to_reach(conn_id: str, times: int) -> None:
    """Wait until the poller has found nobody so many times in a row."""
    while _failures(conn_id) < times:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.02)


def _failures(conn_id: str) -> int:
    one = poller._pollers.get(asyncio.get_running_loop(), {}).get(conn_id)
    return one.back_off.failures if one else 0


async def test_a_server_that_is_gone_and_comes_back_is_waited_through(
    monkeypatch: pytest.MonkeyPatch, uploaded: Callable[[bytes], str]
) -> None:
    monkeypatch.setattr(polling, "MAX_BACK_OFF", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    connection = {"conn_type": "openai", "host": f"http://127.0.0.1:{port}/v1", "password": "key-of-the-other-server"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(connection))
    waiting = asyncio.create_task(fired(trigger("ftjob-1", conn_id="other")))
    await failed_to_reach("other", times=2)
    emulator = running(port=port, api_key="key-of-the-other-server")
    await asyncio.to_thread(emulator.__enter__)
    try:
        # A server that has forgotten the job refuses it: proof that it was asked again.
        assert (await waiting)["event"] == "refused"
    finally:
        await asyncio.to_thread(emulator.__exit__, None, None, None)


# -- what it leaves behind


async def test_a_wait_that_ends_leaves_no_task_no_poller_and_no_open_client(
    emulator: Emulator, job_id: str, opened: list[openai.AsyncOpenAI]
) -> None:
    emulator.show(job_id)
    await asyncio.gather(fired(trigger(job_id)), fired(trigger(job_id)), fired(trigger("ftjob-nobody")))
    assert len(opened) == 1
    assert opened[0].is_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not poller._pollers[asyncio.get_running_loop()]
    gc.collect()


async def test_cancelling_one_wait_leaves_the_others_and_the_job(emulator: Emulator, job_id: str) -> None:
    """As when the triggerer stops: nothing is cancelled at the server."""
    cancelled, kept = (asyncio.create_task(fired(trigger(job_id, cancel_on_kill=True))) for _ in range(2))
    await looked_at(emulator, job_id)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    before = len(emulator.requests("GET", f"/fine_tuning/jobs/{job_id}"))
    await looked_at(emulator, job_id, times=before + 2)
    emulator.show(job_id)
    assert (await kept)["event"] == "ended"
    assert emulator.requests("POST", "/fine_tuning/jobs/*/cancel") == []


async def test_a_wait_that_begins_when_the_last_has_ended_starts_afresh(emulator: Emulator, job_id: str) -> None:
    emulator.show(job_id)
    assert (await fired(trigger(job_id)))["event"] == "ended"
    assert (await fired(trigger(job_id)))["event"] == "ended"


def test_two_event_loops_do_not_share_a_client(emulator: Emulator, job_id: str) -> None:
    emulator.show(job_id)
    found: list[dict[str, Any]] = []

    def loop() -> None:
        found.append(asyncio.run(fired(trigger(job_id))))

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [payload["event"] for payload in found] == ["ended", "ended"]


async def test_many_waits_do_not_hold_up_the_event_loop_that_everybody_shares(emulator: Emulator, job_id: str) -> None:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    # What is imported and opened once is not what is measured.
    emulator.show(job_id)
    await fired(trigger(job_id))
    emulator.show(job_id, status="running", fine_tuned_model=None)
    ticking = asyncio.create_task(tick())
    waits = [asyncio.create_task(fired(trigger(job_id))) for _ in range(200)]
    await looked_at(emulator, job_id, times=5)
    emulator.show(job_id)
    assert {payload["event"] for payload in await asyncio.gather(*waits)} == {"ended"}
    ticking.cancel()
    assert longest < 5, "seconds; a guard against blocking calls, not a measurement"


# -- killed


@pytest.mark.parametrize("cancel_on_kill", [True, False])
async def test_a_person_who_kills_the_deferred_task_cancels_the_job_where_the_user_wants_it(
    emulator: Emulator, training_file: str, cancel_on_kill: bool
) -> None:
    emulator.set(job_seconds=20)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=training_file)
    await trigger(job.id, cancel_on_kill=cancel_on_kill).on_kill()
    assert (emulator.jobs()[0]["status"] == "cancelled") is cancel_on_kill


async def test_tasks_that_are_killed_together_share_a_client_which_is_closed(
    emulator: Emulator, training_file: str, opened: list[openai.AsyncOpenAI]
) -> None:
    emulator.set(job_seconds=20)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        jobs = [client.fine_tuning.jobs.create(model=MODEL, training_file=training_file).id for _ in range(5)]
    emulator.fault("status", "POST", f"/fine_tuning/jobs/{jobs[2]}/cancel", status=503)
    await asyncio.gather(*(trigger(job, cancel_on_kill=True).on_kill() for job in jobs))
    assert [job["status"] for job in emulator.jobs()] == ["cancelled"] * 5
    assert [client.is_closed() for client in opened] == [True]


async def test_a_killed_task_whose_connection_is_gone_says_so_and_leaves_nothing_behind() -> None:
    with pytest.raises(Exception, match="nowhere"):
        await trigger("ftjob-1", conn_id="nowhere", cancel_on_kill=True).on_kill()
    assert not client_module._loans[asyncio.get_running_loop()]
