"""Whatever an endpoint answers, a wait goes on or ends in one of its ways, with no more than its bounds."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks import pages, size, watch
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained
from airflow_provider_finetune.hooks.size import TRIGGERER
from airflow_provider_finetune.hooks.watch import JobWatch
from airflow_provider_finetune.jobs.events import LOG_CHARACTERS, MOST_CHARACTERS
from airflow_provider_finetune.jobs.status import Kind
from airflow_provider_finetune.triggers import client, poller
from airflow_provider_finetune.triggers.job import FineTuningJobTrigger
from tests.hostile.endpoint import ATTACKS

if TYPE_CHECKING:
    from tests.hostile.endpoint import HostileEndpoint

HALF_A_SECOND = {"openai_client_kwargs": {"timeout": 0.5, "max_retries": 0}}
#: Attacks that end a wait, since they can never go well; all others are waited through.
REFUSED = {"redirect"}
#: Attacks through which the job itself is honestly shown.
HONEST_JOB = {
    "calm", "honest too", "long event", "long ids", "many events", "many jobs", "large jobs", "as many as fit",
    "slow texts", "control characters", "never ending lists",
}  # fmt: skip


@pytest.fixture
def connect(endpoint: HostileEndpoint, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a connection to the endpoint that is attacked so; return its id."""

    def connect(attack: str) -> str:
        conn_id = f"attack_{attack.replace(' ', '_')}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", endpoint.connection(attack, **HALF_A_SECOND))
        return conn_id

    return connect


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_look_from_a_worker_ends_in_one_of_its_ways_and_in_time(
    connect: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, attack: str
) -> None:
    monkeypatch.setattr(watch, "EVENTS_SECONDS", 0.5)
    caplog.set_level(logging.INFO)
    hook = FineTuningHook(conn_id=connect(attack))
    with hook.conn:
        one = JobWatch(hook, "ftjob-0", logging.getLogger("task"), end_time=time.time() + 100)
        if attack in REFUSED:
            with pytest.raises(RequestRefused):
                one.look()
            return
        job, decision = one.look()
    assert decision.kind is Kind.WAIT
    assert (job is not None) == (attack in HONEST_JOB)
    assert one.out_of_contact == (attack not in HONEST_JOB)
    assert sum(len(record.getMessage()) for record in caplog.records) <= LOG_CHARACTERS
    assert max((len(record.getMessage()) for record in caplog.records), default=0) < 6000
    assert len(json.dumps([one.unseen.last_id, one.unseen.marks, one.progress.known.xcoms()])) < 100_000


async def test_every_attack_at_once_ends_no_trigger_but_in_one_of_its_ways(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {conn_id: await client.open_client(conn_id) for conn_id in map(connect, ATTACKS)}

    async def open_client(conn_id: str) -> Any:
        return opened[conn_id]

    monkeypatch.setattr(poller, "open_client", open_client)
    now = time.time()

    async def fired(attack: str) -> dict[str, Any]:
        end_time = now + (60 if attack in REFUSED else 3)
        trigger = FineTuningJobTrigger(connect(attack), "ftjob-0", 0.1, end_time=end_time)
        events = [event async for event in trigger.run()]
        assert len(events) == 1
        payload: dict[str, Any] = events[0].payload
        assert len(json.dumps([payload, trigger.serialize()])) < 100_000
        return payload

    payloads = dict(zip(ATTACKS, await asyncio.gather(*map(fired, ATTACKS)), strict=True))
    assert {attack: payload["event"] for attack, payload in payloads.items()} == {
        attack: "refused" if attack in REFUSED else "timeout" for attack in ATTACKS
    }
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left"


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ("bomb", "larger than 1 MB"),
        ("endless", "larger than 1 MB"),
        ("packed nothing", "larger than 1 MB"),
        ("crumbs", "larger than 1 MB"),
        ("headers", "larger than 32 KB of headers"),
        ("informational", "larger than 32 KB of headers"),
        ("values", "larger than 1 MB"),
        ("keys that fit", "nothing that has an id"),
        ("long digits", "nothing that has an id"),
        ("deep", "larger than 50,000 values"),
        ("digits", "not JSON"),
        ("no text", "not JSON"),
        ("impostor", "about ftjob-other, which was not asked for"),
        ("redirect", "redirects to http://192.0.2.1:80, which is another host"),
        ("long error", "HTTP 500"),
    ],
)
def test_an_answer_that_is_none_says_what_is_wrong_with_it_in_a_short_message(
    endpoint: HostileEndpoint, monkeypatch: pytest.MonkeyPatch, attack: str, said: str, asynchronous: bool
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ODD", endpoint.connection(attack, openai_client_kwargs={"max_retries": 0}))
    monkeypatch.setattr(FineTuningHook, "answer_size", TRIGGERER)

    def ask() -> None:
        hook = FineTuningHook(conn_id="odd")
        with explained("ask", reading=True):
            if asynchronous:
                asyncio.run(hook.aretrieve_job("ftjob-0"))
            else:
                with hook.conn:
                    hook.retrieve_job("ftjob-0")

    with pytest.raises((EndpointUnreachable, RequestRefused), match=said) as error:
        ask()
    assert len(str(error.value)) < 1500


@pytest.mark.parametrize("what", ["list_jobs", "list_files"])
@pytest.mark.parametrize(("limit", "value"), [("MOST_LISTED", 300), ("LIST_BYTES", 20_000), ("LIST_SECONDS", 0.01)])
def test_a_list_that_never_ends_is_no_list(
    connect: Any, monkeypatch: pytest.MonkeyPatch, what: str, limit: str, value: float
) -> None:
    monkeypatch.setattr(pages, limit, value)
    hook = FineTuningHook(conn_id=connect("never ending lists"))
    with hook.conn, pytest.raises(pages.Endless, match="does not end within"):
        getattr(hook, what)()


def test_of_checkpoints_without_an_end_the_newest_thousand_are_taken_and_that_is_said(
    connect: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = FineTuningHook(conn_id=connect("never ending lists"))
    with hook.conn:
        found = JobWatch(hook, "ftjob-0", logging.getLogger("task"), end_time=None)._checkpoints()
    assert len(found) == 1000
    assert "more than 1000 checkpoints" in caplog.text + capsys.readouterr().out


def test_of_events_without_an_end_the_newest_are_taken_and_that_is_said(
    connect: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_finetune.jobs.events.MOST_EVENTS", 500)
    hook = FineTuningHook(conn_id=connect("never ending lists"))
    caplog.set_level(logging.INFO)
    with hook.conn:
        JobWatch(hook, "ftjob-0", logging.getLogger("task"), end_time=None).look()
    assert sum(message == "Step" for message in caplog.messages) == 500
    assert any("lists more events than are read at once" in message for message in caplog.messages)
    assert MOST_CHARACTERS < LOG_CHARACTERS


@pytest.mark.parametrize("attack", ["endless", "bomb"])
def test_the_content_of_a_file_has_an_end_too(connect: Any, monkeypatch: pytest.MonkeyPatch, attack: str) -> None:
    monkeypatch.setattr(size, "FILE_BYTES", 4 << 20)
    hook = FineTuningHook(conn_id=connect(attack))
    with hook.conn, pytest.raises(size.TooLarge, match="larger than 4 MB"):
        hook.read_file("file-1")
    with pytest.raises(size.TooLarge, match="larger than 4 MB"):
        asyncio.run(hook.aread_file("file-1"))
