"""The hook against a running server, through the real SDK; each call sync and async."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import logging
import re
import socket
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.exceptions import EndpointUnreachable, RequestRefused
from airflow_provider_finetune.hooks import fine_tuning
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained, payload
from airflow_provider_finetune.jobs.events import Unseen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"
CREATE = ("POST", "/fine_tuning/jobs")
Call = "Callable[..., Any]"


@pytest.fixture
def hook(emulator: Emulator) -> Iterator[FineTuningHook]:
    hook = FineTuningHook()
    yield hook
    hook.conn.close()


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, hook: FineTuningHook) -> Call:
    """Make a call of the hook by its sync name, sync or async."""

    def call(name: str, *arguments: Any, **more: Any) -> Any:
        if request.param == "sync":
            return getattr(hook, name)(*arguments, **more)
        return asyncio.run(getattr(hook, f"a{name}")(*arguments, **more))

    return call


@pytest.fixture
def job(hook: FineTuningHook, emulator: Emulator, training_file: str, until: Call) -> str:
    """Id of a job that has succeeded."""
    emulator.set(job_seconds=0)
    job = hook.create_job(model=MODEL, training_file=training_file)
    until(job.id, "succeeded")
    return job.id


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str, **connection: Any) -> FineTuningHook:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "openai", **connection}))
    return FineTuningHook(conn_id=conn_id)


# -- connections that cannot be used


def test_a_connection_that_does_not_exist_is_named(airflow_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.exceptions import AirflowNotFoundException

    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        _ = FineTuningHook(conn_id="nowhere").conn


def test_an_error_names_connection_and_host_in_a_line_of_its_own_and_no_more_of_the_url(
    monkeypatch: pytest.MonkeyPatch, emulator: Emulator
) -> None:
    port = emulator.base_url.rpartition(":")[2].partition("/")[0]
    hook = connect(
        monkeypatch, "wrong_key", host=emulator.base_url.replace("//", "//ann:s3cret@"), password="sk-" + "0" * 40
    )
    with pytest.raises(RequestRefused) as refused, explained("list jobs"), hook.conn:
        hook.list_jobs()
    first, second = str(refused.value).splitlines()
    assert first.startswith("Could not list jobs: HTTP 401")
    assert second.startswith(f"Connection wrong_key, host 127.0.0.1:{port}. Check the connection's password")
    with pytest.raises(RequestRefused, match="Connection wrong_key, host"), explained("retrieve the job"):
        asyncio.run(hook.aretrieve_job("ftjob-1"))
    assert "s3cret" not in str(refused.value)


def test_a_connection_without_a_key_says_where_the_key_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    hook = connect(monkeypatch, "keyless", host="http://127.0.0.1:1/v1")
    said = r"(?s)'keyless' cannot be used: it has no API key.*as password"
    with pytest.raises(RequestRefused, match=said):
        _ = hook.conn
    with pytest.raises(RequestRefused, match=said):
        asyncio.run(hook.aretrieve_job("ftjob-1"))


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"openai_client_kwargs": {"api_bass": "x"}}, "api_bass"),
        ({"auth_type": "magic"}, "magic"),
        ({"auth_type": "workload_identity"}, "workload_identity"),
    ],
)
def test_an_extra_that_the_client_does_not_take_is_named(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], said: str
) -> None:
    hook = connect(monkeypatch, "odd", password="some-key-0123456789", extra=extra)
    with pytest.raises(RequestRefused, match=f"'odd' cannot be used: .*{said}") as error:
        _ = hook.conn
    assert "some-key" not in str(error.value)


def test_the_host_of_the_connection_is_the_base_url_and_the_extra_reaches_the_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client_kwargs = {"timeout": 7, "organization": "org-1", "project": "proj-1"}
    hook = connect(
        monkeypatch, "azure", host="https://res.example/openai/v1", password="k" * 20,
        extra={"openai_client_kwargs": client_kwargs},
    )  # fmt: skip
    with hook.conn as client:
        assert str(client.base_url) == "https://res.example/openai/v1/"
        assert (client.timeout, client.organization, client.project) == (7, "org-1", "proj-1")


# -- the test of a connection


def test_a_connection_that_works_says_who_answers_what_the_key_may_and_what_the_endpoint_is_taken_for(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = emulator.api_key
    extra = {"finetune": {"endpoint": "zhipu"}}
    for hook, taken_for in (
        (connect(monkeypatch, "plain", host=emulator.base_url, password=key), "none of the endpoints that are known"),
        (
            connect(monkeypatch, "named", host=emulator.base_url, password=key, extra=extra),
            "taken for Zhipu, which cannot do, or ignores: checkpoints, method, pause, resume.",
        ),
    ):
        with hook.conn:
            works, said = hook.test_connection()
        assert works
        assert said.startswith("127.0.0.1 answers, and the key may list fine-tuning jobs. It is ")
        assert taken_for in said
        assert key not in said
    assert len(emulator.requests()) == 2


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ({"password": "sk-wrong-0123456789abcdef"}, "HTTP 401.*\nConnection tried, host 127.0.0.1:.*API key"),
        ({"host": "http://127.0.0.1:9/v1"}, "Check that the endpoint is up"),
        ({"extra": {"finetune": {"endpoint": "nobody"}}}, "endpoint 'nobody' is not known"),
        ({"password": ""}, "it has no API key"),
    ],
)
def test_a_connection_that_does_not_work_says_what_to_mend_and_no_key(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any], said: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    given = {"host": emulator.base_url, "password": emulator.api_key, **connection}
    works, why = connect(monkeypatch, "tried", **given).test_connection()
    assert not works
    assert re.search(said, why, re.DOTALL)
    assert not given["password"] or given["password"] not in why


def test_a_connection_that_is_busy_is_asked_once(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.fault("status", status=503, times=None)
    works, why = connect(monkeypatch, "busy", host=emulator.base_url, password=emulator.api_key).test_connection()
    assert (works, "HTTP 503" in why, len(emulator.requests())) == (False, True, 1)


def test_a_connection_that_does_not_exist_does_not_work(airflow_database: None) -> None:
    works, why = FineTuningHook(conn_id="nowhere").test_connection()
    assert (works, "nowhere" in why) == (False, True)


# -- refusals


def rendered(error: BaseException) -> str:
    """The error as a log shows it, causes and contexts included."""
    return "".join(traceback.format_exception(error)) + repr(error)


def test_a_wrong_key_says_what_to_check_and_shows_in_no_message_cause_or_log(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-proj-abcdefghijklmnop0123456789"
    emulator.fault("status", status=401, code="invalid_api_key", message=f"Incorrect API key provided: {key}.")
    hook = connect(monkeypatch, "wrong", host=emulator.base_url, password=key)
    with hook.conn, pytest.raises(RequestRefused, match="connection's password") as error, explained("list jobs"):
        hook.list_jobs()
    assert key not in rendered(error.value)
    assert key not in caplog.text
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("retrieve_job", ["ftjob-nobody"], "HTTP 404.*fine_tune_not_found.*Check the job id"),
        ("cancel_job", ["ftjob-nobody"], "HTTP 404.*Check the job id"),
        ("pause_job", ["ftjob-nobody"], "HTTP 404.*Check the job id"),
        ("resume_job", ["ftjob-nobody"], "HTTP 404.*Check the job id"),
        ("list_events", ["ftjob-nobody"], "HTTP 404.*Check the job id"),
        ("list_checkpoints", ["ftjob-nobody"], "HTTP 404.*Check the job id"),
        ("retrieve_file", ["file-nobody"], "HTTP 404.*No such File.*Check the id"),
        ("read_file", ["file-nobody"], "HTTP 404.*No such File.*Check the id"),
        ("retrieve_model", ["nobody"], "HTTP 404.*does not exist"),
        ("delete_model", ["nobody"], "HTTP 404.*does not exist"),
        ("delete_model", [MODEL], "HTTP 403.*not yours.*permissions"),
    ],
)
def test_what_the_server_does_not_know_or_allow_is_a_refusal_that_says_what_to_check(
    call: Call, name: str, arguments: list[str], said: str
) -> None:
    with pytest.raises(RequestRefused, match=f"(?s)Could not do it: {said}"), explained("do it"):
        call(name, *arguments)


def test_a_result_file_that_is_gone_is_a_refusal(call: Call, hook: FineTuningHook, job: str) -> None:
    (result_file,) = hook.retrieve_job(job).result_files
    hook.conn.files.delete(result_file)
    with pytest.raises(RequestRefused, match="No such File"), explained("read the results"):
        call("read_file", result_file)


def test_a_file_that_is_no_jsonl_is_refused_in_the_servers_words(call: Call) -> None:
    with pytest.raises(RequestRefused, match=r"Must be \.jsonl"), explained("upload"):
        call("create_file", ("train.csv", b"a,b\n"))


# -- lost contact


def test_a_server_in_trouble_is_lost_contact_and_not_a_refusal(call: Call, emulator: Emulator) -> None:
    emulator.fault("status", status=503, times=None, retry_after=0)
    with pytest.raises(EndpointUnreachable, match="HTTP 503"), explained("list jobs"):
        call("list_jobs")


def test_a_cut_answer_is_lost_contact(call: Call, emulator: Emulator, job: str) -> None:
    emulator.fault("cut_body", "GET", times=None)
    with pytest.raises(EndpointUnreachable, match="Check that the endpoint is up"), explained("retrieve the job"):
        call("retrieve_job", job)


def test_a_port_where_nobody_listens_is_lost_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    hook = connect(monkeypatch, "dead", host=f"http://127.0.0.1:{port}/v1", password="k" * 20)
    with hook.conn, pytest.raises(EndpointUnreachable, match="host is its full base URL"), explained("list jobs"):
        hook.list_jobs()


def test_a_host_that_is_not_the_whole_base_url_is_said_to_be(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = connect(monkeypatch, "short", host=emulator.base_url.removesuffix("/v1"), password=emulator.api_key)
    with hook.conn, pytest.raises(RequestRefused, match="whole base URL"), explained("list jobs"):
        hook.list_jobs()


@pytest.fixture
def other_server() -> Iterator[Callable[[str, bytes], str]]:
    """Start a server that answers everything with one page of another kind; return its URL."""
    servers = []

    def start(content_type: str, content: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append((server, threading.Thread(target=server.serve_forever, args=(0.05,))))
        servers[-1][1].start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/html", b"<html>Please log in</html>"),
        ("application/json", b"<html>Please log in</html>"),
        ("application/json", b"[1, 2]"),
        ("application/json", b"null"),
        ("application/json", b'"ok"'),
    ],
)
def test_an_answer_that_is_not_the_apis_is_lost_contact(
    other_server: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch, content_type: str, content: bytes
) -> None:
    hook = connect(monkeypatch, "other", host=other_server(content_type, content), password="k" * 20)
    with hook.conn:
        with pytest.raises(EndpointUnreachable, match="not JSON as the API describes it"), explained("list jobs"):
            hook.list_jobs()
        with pytest.raises(EndpointUnreachable, match="not JSON as the API describes it"), explained("retrieve"):
            payload(hook.retrieve_job("ftjob-1"))


@pytest.mark.parametrize("content", [b"{}", b'{"data": null}', b'{"data": [], "has_more": true}'])
def test_a_list_without_items_is_empty(
    other_server: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    hook = connect(monkeypatch, "bare", host=other_server("application/json", content), password="k" * 20)
    with hook.conn:
        assert hook.list_jobs() == []
        assert hook.list_events("ftjob-1") == []
        assert hook.list_checkpoints("ftjob-1") == []


def test_items_without_an_id_are_no_crash(
    other_server: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = json.dumps({"data": [{"message": "Step 1"}, {"message": "Step 2"}], "has_more": True}).encode()
    hook = connect(monkeypatch, "nameless", host=other_server("application/json", page), password="k" * 20)
    with hook.conn:
        assert len(hook.list_events("ftjob-1")) >= 1
        assert len(hook.list_jobs()) >= 1


# -- creating: exactly one request


@pytest.mark.parametrize(
    ("fault", "raised", "exists"),
    [
        ({"kind": "status", "status": 500}, openai.InternalServerError, False),
        ({"kind": "status", "status": 409}, openai.ConflictError, False),
        ({"kind": "status", "status": 429, "retry_after": 0}, openai.RateLimitError, False),
        ({"kind": "lose_request"}, openai.APIConnectionError, False),
        ({"kind": "lose_answer"}, openai.APIConnectionError, True),
        ({"kind": "cut_body"}, openai.APIConnectionError, True),
        ({"kind": "status", "status": 503, "takes_effect": True}, openai.InternalServerError, True),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_a_create_that_goes_wrong_is_sent_exactly_once(
    call: Call, emulator: Emulator, training_file: str, fault: dict[str, Any], raised: type[Exception], exists: bool
) -> None:
    emulator.fault(method="POST", path="/fine_tuning/jobs", times=None, **fault)
    with pytest.raises(raised):
        call("create_job", model=MODEL, training_file=training_file)
    assert len(emulator.requests(*CREATE)) == 1
    assert len(emulator.jobs()) == exists


def test_a_create_that_times_out_is_sent_exactly_once(
    emulator: Emulator, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.fault("hang", *CREATE, times=None)
    extra = {"openai_client_kwargs": {"timeout": 0.3}}
    hook = connect(monkeypatch, "hasty", host=emulator.base_url, password=emulator.api_key, extra=extra)
    with hook.conn, pytest.raises(openai.APITimeoutError):
        hook.create_job(model=MODEL, training_file=training_file)
    assert len(emulator.requests(*CREATE)) == 1


def test_other_calls_are_tried_again_by_the_sdk(call: Call, emulator: Emulator, job: str) -> None:
    emulator.fault("status", "GET", status=500, retry_after=0)
    assert call("retrieve_job", job).status == "succeeded"


# -- every call


def test_every_call_has_an_async_twin_with_the_same_arguments_and_result() -> None:
    own = {name: member for name, member in vars(FineTuningHook).items() if inspect.isfunction(member)}
    public = {name for name in own if not name.startswith("_")} - {"get_conn", "aget_conn", "test_connection"}
    sync = {name for name in public if not inspect.iscoroutinefunction(own[name])}
    assert {f"a{name}" for name in sync} == public - sync
    for name in sync:
        assert inspect.signature(own[name]) == inspect.signature(own[f"a{name}"]), name


def test_the_calls_are_all_of_the_protocol() -> None:
    calls = {name for name in vars(FineTuningHook) if f"a{name}" in vars(FineTuningHook)}
    assert calls == {
        "create_job", "retrieve_job", "list_jobs", "cancel_job", "pause_job", "resume_job", "list_events",
        "list_checkpoints", "create_file", "retrieve_file", "list_files", "read_file", "delete_file", "list_models",
        "retrieve_model", "delete_model", "get_conn",
    }  # fmt: skip


def test_a_job_is_created_as_it_was_asked_for(call: Call, emulator: Emulator, training_file: str) -> None:
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "lora_rank": 8}}}
    job = call(
        "create_job", model=MODEL, training_file=training_file, validation_file=training_file, method=method,
        suffix="bot", seed=7, metadata={"team": "ml"}, extra_body={"priority": "low"},
    )  # fmt: skip
    (made,) = emulator.jobs()
    assert made["id"] == job.id
    assert (made["seed"], made["metadata"], made["validation_file"]) == (7, {"team": "ml"}, training_file)
    assert made["method"]["supervised"]["hyperparameters"]["n_epochs"] == 2
    assert made["method"]["supervised"]["hyperparameters"]["lora_rank"] == 8


def test_a_job_is_paused_resumed_and_cancelled(call: Call, emulator: Emulator, training_file: str, until: Call) -> None:
    emulator.set(job_seconds=6)
    job = call("create_job", model=MODEL, training_file=training_file)
    until(job.id, "running")
    assert call("pause_job", job.id).status == "pausing"
    until(job.id, "paused")
    assert call("resume_job", job.id).status == "queued"
    assert call("cancel_job", job.id).status == "cancelled"
    assert call("retrieve_job", job.id).status == "cancelled"


def test_all_pages_of_jobs_come_newest_first(
    call: Call, emulator: Emulator, hook: FineTuningHook, training_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "PAGE", 2)
    ids = [hook.create_job(model=MODEL, training_file=training_file).id for _ in range(5)]
    assert [job.id for job in call("list_jobs")] == ids[::-1]
    assert len(emulator.requests("GET", "/fine_tuning/jobs")) == 3


@pytest.mark.parametrize("ignored", [False, True])
def test_jobs_are_found_by_their_metadata_even_where_the_server_ignores_the_filter(
    call: Call, emulator: Emulator, hook: FineTuningHook, training_file: str, ignored: bool
) -> None:
    emulator.set(ignore_metadata_filter=ignored)
    wanted = {"airflow_submission": "abc", "team": "ml"}
    job = hook.create_job(model=MODEL, training_file=training_file, metadata=wanted)
    hook.create_job(model=MODEL, training_file=training_file, metadata={"airflow_submission": "def"})
    hook.create_job(model=MODEL, training_file=training_file)
    assert [found.id for found in call("list_jobs", {"airflow_submission": "abc"})] == [job.id]
    assert call("list_jobs", {"airflow_submission": "abc", "team": "other"}) == []


@pytest.mark.parametrize("repeats", [False, True])
def test_all_pages_of_events_come_once_each_in_the_order_they_happened(
    call: Call, emulator: Emulator, job: str, repeats: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [event.id for event in call("list_events", job)]
    monkeypatch.setattr(fine_tuning, "PAGE", 7)
    emulator.set(repeat_events=repeats)
    events = call("list_events", job)
    assert [event.id for event in events] == whole
    assert len(whole) == len(set(whole)) > 30
    assert events[0].message == f"Created fine-tuning job: {job}"
    assert events[-1].message == "The job has successfully completed"
    steps = [event.data["step"] for event in events if event.type == "metrics"]
    assert steps == sorted(steps)


def test_only_events_behind_the_last_one_seen_are_fetched(
    call: Call, emulator: Emulator, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "PAGE", 5)
    events = call("list_events", job)
    before = len(emulator.requests("GET", "/fine_tuning/jobs/*/events"))
    last = events[-4]
    newer = call("list_events", job, unseen=Unseen(last.id, last.created_at))
    assert [event.id for event in newer] == [event.id for event in events[-3:]]
    assert len(emulator.requests("GET", "/fine_tuning/jobs/*/events")) == before + 1


def test_all_pages_of_checkpoints_come_once_each(
    call: Call, emulator: Emulator, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "PAGE", 1)
    checkpoints = call("list_checkpoints", job)
    assert len({checkpoint.id for checkpoint in checkpoints}) == len(checkpoints) == 3
    assert checkpoints[0].step_number > checkpoints[-1].step_number


def test_a_base64_result_file_is_decoded_and_a_training_file_is_as_it_was(
    call: Call, hook: FineTuningHook, job: str, training_file: str
) -> None:
    (result_file,) = hook.retrieve_job(job).result_files
    assert not hook.conn.files.content(result_file).content.startswith(b"step,")
    assert call("read_file", result_file).startswith(b"step,train_loss,train_accuracy,valid_loss")
    assert json.loads(call("read_file", training_file).splitlines()[0])["messages"][0]["role"] == "user"


def test_files_are_uploaded_described_and_listed(call: Call, hook: FineTuningHook, tmp_path: Any) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": []}\n')
    from_path = call("create_file", path, expires_after=3600)
    from_memory = call("create_file", ("other.jsonl", b"{}\n"))
    assert call("retrieve_file", from_path.id).filename == "train.jsonl"
    assert from_path.expires_at == from_path.created_at + 3600
    assert {file.id for file in call("list_files")} == {from_path.id, from_memory.id}


def test_models_are_listed_described_and_deleted(
    call: Call, hook: FineTuningHook, job: str, emulator: Emulator
) -> None:
    model = hook.retrieve_job(job).fine_tuned_model
    emulator.add_model("old-model", "2026-12-31")
    assert {MODEL, "old-model", model} <= {found.id for found in call("list_models")}
    assert call("retrieve_model", "old-model").shutdown_date == "2026-12-31"
    assert call("delete_model", model).deleted
    assert model not in {found.id for found in call("list_models")}


# -- clients


async def test_async_calls_inside_the_block_share_one_client_and_it_is_closed(hook: FineTuningHook) -> None:
    async with hook:
        client = hook._async_client
        assert client is not None
        await asyncio.gather(*(hook.alist_models() for _ in range(3)))
        assert hook._async_client is client
    assert client.is_closed()


async def test_async_calls_outside_of_the_block_leave_no_client_open(
    hook: FineTuningHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    open_client = FineTuningHook.aget_conn

    async def opening(self: FineTuningHook) -> openai.AsyncOpenAI:
        opened.append(await open_client(self))
        return opened[-1]

    monkeypatch.setattr(FineTuningHook, "aget_conn", opening)
    await hook.alist_models()
    with pytest.raises(openai.NotFoundError):
        await hook.aretrieve_job("ftjob-nobody")
    assert len(opened) == 2
    assert all(client.is_closed() for client in opened)
    gc.collect()
