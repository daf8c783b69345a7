"""An endpoint that answers with what it was sent: nothing of the connection's secrets gets out of the client."""

from __future__ import annotations

import base64
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import openai
import pytest

from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained, payload
from tests.odd_endpoint import Answer, OddEndpoint, answering, of

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, HEADER, QUERY = "a/key+that=nobody checks"[:16], "gateway-password-1", "a-signature-1"
SECRETS = [KEY, HEADER, QUERY]


def forms() -> list[str]:
    every = []
    for secret in SECRETS:
        every += [secret, quote(secret, safe=""), json.dumps(secret).replace("/", "\\/")]
        every += [base64.b64encode(secret.encode()).decode(), base64.b64encode(f"user:{secret}".encode()).decode()]
    return every


@pytest.fixture
def echoing(monkeypatch: pytest.MonkeyPatch) -> Callable[[OddEndpoint], FineTuningHook]:
    def hook(server: OddEndpoint) -> FineTuningHook:
        kwargs = {"default_headers": {"X-Gateway": HEADER}, "default_query": {"sig": QUERY, "api-version": "2026-01"}}
        connection = {"conn_type": "openai", "host": server.base_url, "password": KEY}
        connection["extra"] = {"openai_client_kwargs": {**kwargs, "max_retries": 0}}
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
        return FineTuningHook()

    return hook


def leaks(text: str) -> list[str]:
    return [form for form in forms() if form in text]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": " ".join(forms()), "code": forms()[0], "param": forms()[1], "type": "x"}},
        {"error": {form: form for form in forms()}},
        {"detail": [{"loc": forms(), "msg": form} for form in forms()]},
        " ".join(forms()),
    ],
)
def test_an_error_that_quotes_what_was_sent_quotes_no_secret(
    echoing: Callable[[OddEndpoint], FineTuningHook], body: Any
) -> None:
    with answering(lambda *_: of(body, 400)) as server:
        hook = echoing(server)
        with pytest.raises(FineTuningError) as failed, explained("do it"):
            hook.retrieve_job("ftjob-1")
        with pytest.raises(openai.APIStatusError) as raw:
            hook.retrieve_job("ftjob-1")
    assert not leaks(str(failed.value))
    assert not leaks(f"{raw.value} {raw.value.body} {raw.value.response.text}"), "for those who catch the SDK's own"


@pytest.mark.parametrize("ascii_only", [True, False])
def test_no_field_of_a_job_holds_a_secret(echoing: Callable[[OddEndpoint], FineTuningHook], ascii_only: bool) -> None:
    job = {"id": "ftjob-1", "status": KEY, "fine_tuned_model": f"ft:{HEADER}", "metadata": {QUERY: forms()}}
    body = json.dumps({**job, "hyperparameters": {form: form for form in forms()}}, ensure_ascii=ascii_only)
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    with answering(lambda *_: Answer(body.replace(KEY, escaped).encode())) as server:
        found = payload(echoing(server).retrieve_job("ftjob-1"))
    assert not leaks(json.dumps(found).replace("\\\\", "\\"))
    assert found["id"] == "ftjob-1"
    assert found["fine_tuned_model"] == "ft:***"


async def test_the_triggerers_client_is_as_careful(echoing: Callable[[OddEndpoint], FineTuningHook]) -> None:
    with answering(lambda *_: of({"id": "ftjob-1", "status": KEY, "fine_tuned_model": HEADER})) as server:
        client = await echoing(server).aget_conn()
        async with client:
            answer = await client.fine_tuning.jobs.with_raw_response.retrieve("ftjob-1")
    assert not leaks(answer.http_response.text)
    assert not leaks(json.dumps(answer.http_response.json()))


def test_the_kind_of_an_answer_is_cleaned_too(echoing: Callable[[OddEndpoint], FineTuningHook]) -> None:
    with answering(lambda *_: Answer(b"<html>", content_type=f"text/{HEADER}\x1b[31m")) as server:
        hook = echoing(server)
        with pytest.raises(FineTuningError) as failed, explained("do it"):
            hook.retrieve_job("ftjob-1")
    assert not leaks(str(failed.value))
    assert "\x1b" not in str(failed.value)


def test_two_connections_in_one_process_do_not_know_each_others_secrets(
    echoing: Callable[[OddEndpoint], FineTuningHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: str) -> Answer:
        return of({"id": "ftjob-1", "status": "running", "model": f"{KEY} of another-key-0123"})

    with answering(answer) as server:
        ours = echoing(server)
        theirs = {"conn_type": "openai", "host": server.base_url, "password": "another-key-0123"}
        monkeypatch.setenv("AIRFLOW_CONN_THEIRS", json.dumps(theirs))
        assert ours.retrieve_job("ftjob-1").model == "*** of another-key-0123"
        assert FineTuningHook(conn_id="theirs").retrieve_job("ftjob-1").model == f"{KEY} of ***"


def test_the_content_of_a_file_is_left_as_it_is(echoing: Callable[[OddEndpoint], FineTuningHook]) -> None:
    with answering(lambda *_: Answer(KEY.encode(), content_type="application/octet-stream")) as server:
        assert echoing(server).read_file("file-1") == KEY.encode()


def test_the_http_clients_line_about_a_request_shows_neither_user_nor_query(
    echoing: Callable[[OddEndpoint], FineTuningHook], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "httpx")
    caplog.set_level(logging.DEBUG, "httpx2")
    with answering(lambda *_: of({"id": "ftjob-1"})) as server:
        echoing(server).retrieve_job("ftjob-1")
    lines = [record.getMessage() for record in caplog.records if record.name in ("httpx", "httpx2")]
    assert lines
    assert not leaks("\n".join(lines))
