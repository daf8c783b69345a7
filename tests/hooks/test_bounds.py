"""What an endpoint cannot do to whoever asks it: answer for ever, or with something else than JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained
from airflow_provider_finetune.hooks.not_the_apis import NotTheApis
from tests.odd_endpoint import Answer, answering, drip, of

pytestmark = pytest.mark.timeout(40)
JOB = {"id": "ftjob-1", "status": "running"}
Ask = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Make a call of a hook that has half a second, sync or async."""

    def ask(connection: str, name: str, *arguments: Any, **more: Any) -> Any:
        monkeypatch.setenv("AIRFLOW_CONN_ODD", connection)
        hook = FineTuningHook(conn_id="odd")
        if request.param == "async":
            return asyncio.run(getattr(hook, f"a{name}")(*arguments, **more))
        with hook.conn:
            return getattr(hook, name)(*arguments, **more)

    return ask


TWO_SECONDS = {"openai_client_kwargs": {"timeout": 2}}
HALF_A_SECOND = {"openai_client_kwargs": {"timeout": 0.5}}


@contextmanager
def trickling(head: bytes) -> Iterator[str]:
    """Run a server that sends this, a byte at a time, and never an end; give its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    try:
                        for byte in head * 1000:
                            client.send(bytes([byte]))
                            time.sleep(0.02)
                    except OSError:
                        pass

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        server.shutdown(socket.SHUT_RDWR)


def test_a_body_that_trickles_is_given_up_when_the_time_for_the_whole_is_over_and_not_asked_for_again(ask: Ask) -> None:
    with answering(lambda *_: Answer(drip())) as server:
        with pytest.raises(openai.APITimeoutError):
            ask(server.connection(**HALF_A_SECOND), "retrieve_job", "ftjob-1")
        assert server.requests == [("GET", "/fine_tuning/jobs/ftjob-1")]


def test_a_head_that_trickles_is_given_up_too(ask: Ask) -> None:
    with trickling(b"HTTP/1.1 200 OK\r\nx-long: ") as url:
        connection = json.dumps({"conn_type": "openai", "host": url, "password": "key", "extra": HALF_A_SECOND})
        with pytest.raises(openai.APITimeoutError):
            ask(connection, "retrieve_job", "ftjob-1")


def test_what_was_given_up_says_so(ask: Ask) -> None:
    with (
        answering(lambda *_: Answer(drip())) as server,
        pytest.raises(EndpointUnreachable, match="no whole answer in time"),
        explained("retrieve the job"),
    ):
        ask(server.connection(**HALF_A_SECOND), "retrieve_job", "ftjob-1")


def test_an_error_that_trickles_is_given_up_too(ask: Ask) -> None:
    with answering(lambda *_: Answer(drip(), 500)) as server, pytest.raises(openai.APITimeoutError):
        ask(server.connection(**HALF_A_SECOND), "list_jobs")


def test_a_chain_of_redirects_has_the_time_of_one_request(ask: Ask) -> None:
    def answer(method: str, path: str) -> Answer:
        time.sleep(0.2)
        return Answer(b"", 307, headers={"location": f"{server.base_url}{path}x"})

    with answering(answer) as server:
        with pytest.raises(openai.APITimeoutError):
            ask(server.connection(**HALF_A_SECOND), "retrieve_job", "ftjob-1")
        assert 1 < len(server.requests) < 8


@pytest.mark.parametrize("method", ["retrieve_job", "cancel_job"])
def test_a_redirect_to_another_host_is_refused_and_nothing_is_sent_there(ask: Ask, method: str) -> None:
    with answering(lambda *_: Answer(of(JOB))) as other:
        target = {"location": f"{other.base_url}/fine_tuning/jobs/ftjob-1"}
        with (
            answering(lambda *_: Answer(b"", 307, headers=target)) as server,
            pytest.raises(RequestRefused, match=f"redirects to {other.base_url.removesuffix('/v1')}, which is another"),
            explained("ask"),
        ):
            ask(server.connection(**TWO_SECONDS), method, "ftjob-1")
        assert other.requests == []
        assert len(server.requests) == 1


def test_a_redirect_on_the_same_host_is_followed(ask: Ask) -> None:
    def answer(method: str, path: str) -> Answer:
        if path.endswith("moved"):
            return Answer(of(JOB))
        return Answer(b"", 307, headers={"location": f"{server.base_url}{path}/moved"})

    with answering(answer) as server:
        assert ask(server.connection(**TWO_SECONDS), "retrieve_job", "ftjob-1").id == "ftjob-1"


def test_an_answer_that_takes_long_but_comes_is_read(ask: Ask) -> None:
    def late() -> Iterator[bytes]:
        time.sleep(0.3)
        yield b'{"id": "ftjob-1", "status": "running"}'

    with answering(lambda *_: Answer(late())) as server:
        assert ask(server.connection(**HALF_A_SECOND), "retrieve_job", "ftjob-1").status == "running"


def test_connections_that_are_used_again_have_the_whole_time_again(ask: Ask) -> None:
    pages = iter([of({"data": [{"id": f"ftjob-{n}"}], "has_more": n < 4}) for n in range(5)])

    def answer(method: str, path: str) -> Answer:
        time.sleep(0.2)
        page = next(pages)
        return page._replace(headers={"connection": "keep-alive", "content-length": str(len(page.body))})  # type: ignore[arg-type]

    with answering(answer) as server:
        assert len(ask(server.connection(**HALF_A_SECOND), "list_jobs")) == 5


def test_an_upload_takes_as_long_as_it_makes_progress(ask: Ask) -> None:
    content = b"x" * (24 << 20)

    with answering(lambda *_: of({"id": "file-1", "object": "file"})) as server:
        server.seconds_a_megabyte = 0.13  # longer than the time-out in all, each part of it far from that
        connection = server.connection(**TWO_SECONDS)
        assert ask(connection, "create_file", ("train.jsonl", content)).id == "file-1"


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/html; charset=utf-8", "text/plain"])
@pytest.mark.parametrize("call", ["retrieve_job", "list_events", "list_checkpoints", "cancel_job"])
def test_an_answer_that_is_announced_as_something_else_than_json_is_none_and_not_read(
    ask: Ask, content_type: str, call: str
) -> None:
    with answering(lambda *_: Answer(drip(), content_type=content_type)) as server:
        with pytest.raises(NotTheApis, match=f"{content_type.partition(';')[0]}, not JSON"):
            ask(server.connection(), call, "ftjob-1")
        assert len(server.requests) == 1


def test_a_users_own_stream_from_the_hooks_client_is_none_of_this(monkeypatch: pytest.MonkeyPatch) -> None:
    events = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
    with answering(lambda *_: Answer(events, content_type="text/event-stream")) as server:
        monkeypatch.setenv("AIRFLOW_CONN_ODD", server.connection())
        with FineTuningHook(conn_id="odd").conn as client:
            chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}], stream=True)
            assert [chunk.choices[0].delta.content for chunk in chunks] == ["hi"]


def test_a_list_of_jobs_may_be_called_jobs(ask: Ask) -> None:
    with answering(lambda *_: of({"jobs": [{"id": "ftjob-1", "status": "SUCCESS"}, {"id": "ftjob-2"}]})) as server:
        assert [job.id for job in ask(server.connection(), "list_jobs")] == ["ftjob-1", "ftjob-2"]


def test_a_list_that_is_an_error_which_calls_itself_a_success_is_not_an_empty_list(ask: Ask) -> None:
    with answering(lambda *_: of({"error": {"message": "down"}})) as server, pytest.raises(NotTheApis):
        ask(server.connection(), "list_jobs")


@pytest.mark.parametrize("page", [{"data": "text"}, {"data": ["a", 1, None]}, JOB, {"data": {"a": 1}}])
def test_a_list_of_anything_else_than_objects_is_no_crash(ask: Ask, page: Any) -> None:
    with answering(lambda *_: of(page)) as server:
        for call in ("list_events", "list_checkpoints"):
            assert ask(server.connection(), call, "ftjob-1") == []


# -- the client's options


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("timeout", "30", "timeout in openai_client_kwargs is of type str; expected a number of seconds"),
        ("timeout", True, "timeout in openai_client_kwargs is of type bool"),
        ("max_retries", "2", "max_retries"),
        ("organization", 5, "organization in openai_client_kwargs is of type int; expected a text"),
        ("default_headers", ["secret-header-value"], "default_headers in openai_client_kwargs is of type list"),
        ("default_headers", {"X-Team": 7}, "default_headers in openai_client_kwargs is of type int"),
        ("default_query", "a=b", "default_query in openai_client_kwargs is of type str"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named_and_not_repeated(ask: Ask, option: str, value: Any, said: str) -> None:
    with answering(lambda *_: of(JOB)) as server:
        with pytest.raises(RequestRefused, match=f"'odd' cannot be used: {said}") as error:
            ask(server.connection(openai_client_kwargs={option: value}), "retrieve_job", "ftjob-1")
        assert server.requests == []
    assert "secret" not in str(error.value)


# -- what the log shows


@pytest.mark.parametrize(("level", "lines"), [(logging.INFO, 0), (logging.DEBUG, 1)])
def test_a_request_is_a_line_of_the_log_for_those_who_debug_only(
    ask: Ask, caplog: pytest.LogCaptureFixture, level: int, lines: int
) -> None:
    caplog.set_level(level)
    with answering(lambda *_: of(JOB)) as server:
        ask(server.connection(), "retrieve_job", "ftjob-1")
    assert len([message for message in caplog.messages if message.startswith("HTTP Request:")]) == lines


def test_requests_of_other_people_are_logged_as_ever(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, "httpx")
    with answering(lambda *_: of(JOB)) as server:
        ask(server.connection(), "retrieve_job", "ftjob-1")
        httpx.get(f"{server.base_url}/fine_tuning/jobs/ftjob-1")
    assert len([message for message in caplog.messages if message.startswith("HTTP Request:")]) == 1
