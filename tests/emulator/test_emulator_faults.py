"""The emulator misbehaves when told to, and a real client sees what it would see in the wild."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import openai
import pytest

import airflow_provider_finetune.emulator as emulator_module
from airflow_provider_finetune.emulator import running

BASE = "gpt-4.1-mini-2025-04-14"
JOBS = "/fine_tuning/jobs"


@pytest.fixture
def submit(client, upload, animals):
    """Creates a job from a file that is already there."""
    file = upload(animals).id

    def submit(**arguments):
        return client.fine_tuning.jobs.create(model=BASE, training_file=file, **arguments)

    return submit


def test_a_lost_request_has_no_effect(emulator, submit):
    emulator.fault("lose_request", "POST", JOBS)
    with pytest.raises(openai.APIConnectionError) as e:
        submit()
    assert not isinstance(e.value, openai.APITimeoutError)
    assert emulator.jobs() == []
    submit()
    assert len(emulator.jobs()) == 1


def test_a_lost_answer_comes_after_the_effect(emulator, submit):
    emulator.fault("lose_answer", "POST", JOBS)
    with pytest.raises(openai.APIConnectionError):
        submit()
    assert len(emulator.jobs()) == 1


def test_the_sdk_as_it_comes_makes_three_jobs_of_one_create_when_answers_get_lost(emulator, client, upload, animals):
    emulator.fault("lose_answer", "POST", JOBS, times=2)
    file = upload(animals).id
    client.with_options(max_retries=2).fine_tuning.jobs.create(model=BASE, training_file=file)
    assert len(emulator.jobs()) == 3
    assert [r["fault"] for r in emulator.requests("POST", JOBS)] == ["lose_answer", "lose_answer", None]


def test_an_answer_can_break_off_in_the_middle(emulator, submit):
    emulator.fault("cut_body", "POST", JOBS)
    with pytest.raises(openai.APIConnectionError) as e:
        submit()
    assert "incomplete" in str(e.value.__cause__) or "without sending complete" in str(e.value.__cause__)
    assert len(emulator.jobs()) == 1
    assert emulator.requests("POST", JOBS)[0]["status"] == 200


@pytest.mark.parametrize(
    ("fault", "error", "code", "kind"),
    [
        ({"status": 429, "retry_after": 7}, openai.RateLimitError, "rate_limit_exceeded", "invalid_request_error"),
        (
            {"status": 429, "code": "insufficient_quota"},
            openai.RateLimitError,
            "insufficient_quota",
            "insufficient_quota",
        ),
        ({"status": 500}, openai.InternalServerError, "server_error", "server_error"),
        (
            {"status": 503, "message": "busy", "type": "overloaded"},
            openai.InternalServerError,
            "server_error",
            "overloaded",
        ),
        ({"status": 403}, openai.PermissionDeniedError, "training_not_available", "invalid_request_error"),
        ({"status": 409, "param": "x"}, openai.ConflictError, None, "invalid_request_error"),
    ],
)
def test_any_error_can_be_answered_without_an_effect(emulator, submit, fault, error, code, kind):
    emulator.fault("status", "POST", JOBS, **fault)
    with pytest.raises(error) as e:
        submit()
    assert e.value.status_code == fault["status"]
    assert (e.value.code, e.value.type, e.value.param) == (code, kind, fault.get("param"))
    assert e.value.response.headers.get("retry-after") == (
        str(fault["retry_after"]) if "retry_after" in fault else None
    )
    assert emulator.jobs() == []


def test_an_error_can_come_although_the_request_took_effect(emulator, submit):
    emulator.fault("status", "POST", JOBS, status=500, takes_effect=True)
    with pytest.raises(openai.InternalServerError):
        submit()
    assert len(emulator.jobs()) == 1


def test_a_delayed_answer_is_the_right_one(emulator, submit):
    emulator.fault("delay", "POST", JOBS, seconds=0.5)
    started = time.monotonic()
    assert submit().status == "validating_files"
    assert time.monotonic() - started >= 0.5


def test_a_request_can_hang_until_the_client_gives_up(emulator, client, upload, animals):
    file = upload(animals).id
    emulator.fault("hang", "POST", JOBS)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).fine_tuning.jobs.create(model=BASE, training_file=file)
    assert emulator.jobs() == []
    assert emulator.requests("POST", JOBS)[0]["status"] is None


def test_a_hang_can_have_an_end(emulator, client):
    emulator.fault("hang", "GET", "/models", seconds=0.3)
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_a_fault_meets_only_what_matches_and_only_so_often(emulator, client, submit):
    job = submit()
    emulator.fault("status", "GET", JOBS + "/*", times=2, skip=1)
    emulator.fault("status", "GET", JOBS + "/*/events", status=503, times=None)
    client.fine_tuning.jobs.list()
    client.fine_tuning.jobs.retrieve(job.id)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            client.fine_tuning.jobs.retrieve(job.id)
    client.fine_tuning.jobs.retrieve(job.id)
    for _ in range(3):
        with pytest.raises(openai.InternalServerError):
            client.fine_tuning.jobs.list_events(job.id)
    assert [(fault["hits"], fault["times"]) for fault in emulator.faults()] == [(2, 0), (3, None)]
    emulator.clear_faults()
    assert client.fine_tuning.jobs.list_events(job.id).data


def test_a_pattern_with_two_stars_meets_everything_below(emulator, client, submit):
    job = submit()
    emulator.fault("status", path="/fine_tuning/**", times=None)
    for call in (client.fine_tuning.jobs.list, lambda: client.fine_tuning.jobs.list_events(job.id)):
        with pytest.raises(openai.InternalServerError):
            call()
    assert client.models.list().data


def test_an_unknown_fault_is_refused(emulator):
    with pytest.raises(ValueError, match="kind"):
        emulator.fault("explode")


def test_an_unknown_switch_or_a_date_that_is_none_is_refused(emulator):
    with pytest.raises(ValueError, match="job_second"):
        emulator.set(job_second=1)
    with pytest.raises(ValueError, match="shutdown_date"):
        emulator.add_model("a", "soon")


@pytest.mark.parametrize(
    ("option", "message"),
    [("--fault=explode", "kind"), ("--model=a=soon", "soon"), ("--job-seconds=-1", "job_seconds")],
)
def test_a_wrong_option_is_refused_by_name(option, message):
    process = subprocess.run(
        [sys.executable, "-m", "airflow_provider_finetune.emulator", "--api-key", "k", "--port", "0", option],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert message in process.stderr
    assert "Traceback" not in process.stderr


def test_the_list_can_lag_behind(emulator, client, submit):
    emulator.set(list_lag_seconds=1)
    job = submit(metadata={"run": "1"})
    created = time.monotonic()
    assert client.fine_tuning.jobs.list().data == []
    assert client.fine_tuning.jobs.retrieve(job.id).id == job.id
    assert len(emulator.jobs()) == 1
    while not client.fine_tuning.jobs.list(metadata={"run": "1"}).data:
        assert time.monotonic() - created < 30
    assert time.monotonic() - created >= 0.9


def test_the_metadata_filter_can_be_ignored_and_metadata_dropped(emulator, client, submit):
    submit(metadata={"run": "1"})
    emulator.set(ignore_metadata_filter=True, drop_metadata=True)
    submit(metadata={"run": "2"})
    listed = client.fine_tuning.jobs.list(metadata={"run": "2"}).data
    assert [job.metadata for job in listed] == [None, {"run": "1"}]


def test_events_can_repeat_across_pages(emulator, client, submit, until):
    job = until(submit().id, "succeeded")
    emulator.set(repeat_events=True)
    ids = [event.id for event in client.fine_tuning.jobs.list_events(job.id, limit=5)]
    assert len(ids) > len(set(ids))
    emulator.set(repeat_events=False)
    assert list(dict.fromkeys(ids)) == [event.id for event in client.fine_tuning.jobs.list_events(job.id)]


def test_a_job_can_show_what_nobody_expects(emulator, client, submit, until):
    job = until(submit().id, "succeeded")
    emulator.show(job.id, status="pending", fine_tuned_model=None, error={}, hyperparameters=None)
    odd = client.fine_tuning.jobs.retrieve(job.id)
    assert (odd.status, odd.fine_tuned_model, odd.hyperparameters) == ("pending", None, None)
    assert client.fine_tuning.jobs.list().data[0].status == "pending"
    assert emulator.jobs()[0]["status"] == "succeeded"
    emulator.show(job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == job.fine_tuned_model
    emulator.set(job_fields={"result_files": None})
    assert client.fine_tuning.jobs.retrieve(job.id).result_files is None


def test_faults_do_not_touch_the_admin_routes(emulator):
    emulator.fault("lose_request", times=None)
    assert emulator.faults()[0]["hits"] == 0
    assert emulator.requests() == []


def test_the_connection_after_a_cut_is_a_new_one_that_works(emulator, client):
    for kind in ("lose_request", "lose_answer", "cut_body"):
        emulator.fault(kind, "GET", "/models")
        with pytest.raises(openai.APIConnectionError):
            client.models.list()
        assert client.models.list().data


def test_faults_and_models_come_from_the_command_line_too():
    with (
        running(
            job_seconds=0,
            faults=["status GET /models status=429 retry_after=1 message='one moment' times=2"],
            models={"house-model": "2031-05-01", "other/model": None},
            options=["--refuse-training"],
        ) as emulator,
        openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as client,
    ):
        with pytest.raises(openai.RateLimitError, match="one moment") as e:
            client.models.list()
        assert e.value.response.headers["retry-after"] == "1"
        assert client.models.retrieve("house-model").shutdown_date == "2031-05-01"
        assert client.models.retrieve("other/model").shutdown_date is None
        assert emulator.set()["refuse_training"] is True


def test_the_server_waits_neither_for_a_hanging_request_nor_for_a_running_job_to_stop(animals, monkeypatch):
    import json
    import threading

    # Out of reach, so that the server has to stop by itself; it may still be importing scikit-learn.
    monkeypatch.setattr(emulator_module, "SECONDS_TO_STOP", 300.0)
    with running(job_seconds=60, faults=["hang GET /models"]) as emulator:
        client = openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0)
        data = "".join(json.dumps(row) + "\n" for row in animals).encode()
        file = client.files.create(file=("a.jsonl", data), purpose="fine-tune")
        client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        outcome = []

        def hang() -> None:
            try:
                client.models.list()
            except openai.APIConnectionError as e:
                outcome.append(e)

        hanging = threading.Thread(target=hang)
        hanging.start()
        while not emulator.requests("GET", "/models"):
            pass
        started = time.monotonic()
    assert time.monotonic() - started < 45
    hanging.join(5)
    assert len(outcome) == 1
    client.close()
    with pytest.raises(ProcessLookupError):
        os.kill(emulator.pid, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_command_cleanly_and_the_key_stays_secret(number):
    process = subprocess.Popen(
        [sys.executable, "-m", "airflow_provider_finetune.emulator", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "FINETUNE_EMULATOR_API_KEY": "the-key"},
    )
    url = process.stdout.readline().decode().strip()
    with openai.OpenAI(base_url=url, api_key="the-key") as client:
        assert client.models.list().data
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_cut_connections_and_clients_that_leave_are_no_server_errors(capfd):
    with running() as emulator:
        address = ("127.0.0.1", int(emulator.base_url.split(":")[2].split("/")[0]))
        head = (
            f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {emulator.api_key}\r\ncontent-length: 9\r\n"
        )
        for part in ("content-type: multipart/form-data; boundary=x\r\n\r\n--x", "content-type: text/plain\r\n\r\n{"):
            with socket.create_connection(address) as leaving:
                leaving.sendall((head + part).encode())
        with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as client:
            for kind in ("lose_request", "lose_answer", "cut_body"):
                emulator.fault(kind, "GET", "/models")
                with pytest.raises(openai.APIConnectionError):
                    client.models.list()
            assert client.models.list().data
    assert capfd.readouterr().err == ""


def test_without_a_key_the_command_says_what_is_missing():
    process = subprocess.run(
        [sys.executable, "-m", "airflow_provider_finetune.emulator"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "FINETUNE_EMULATOR_API_KEY"},
        check=False,
    )
    assert process.returncode == 2
    assert "FINETUNE_EMULATOR_API_KEY" in process.stderr


def test_the_emulator_goes_when_the_process_that_started_it_is_killed():
    script = (
        "import os, signal\n"
        "from airflow_provider_finetune.emulator import running\n"
        "with running() as emulator:\n"
        "    print(emulator.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False).stdout)
    deadline = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_user_gets_is_small_and_tells_no_key():
    with running() as emulator:
        assert emulator.api_key not in repr(emulator)
        assert emulator.api_key in emulator.connection
        assert emulator.base_url in emulator.connection
        assert emulator.base_url.startswith("http://127.0.0.1:")


def test_importing_the_package_loads_nothing_but_the_standard_library():
    script = (
        "import sys; import airflow_provider_finetune.emulator; "
        "print({'starlette', 'uvicorn', 'pydantic', 'sklearn', 'numpy', 'openai', 'airflow'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_a_flood_ends_when_the_client_has_had_enough_and_the_emulator_goes_on(emulator, client):
    emulator.fault("flood", "GET", JOBS)
    with client.with_streaming_response.fine_tuning.jobs.list() as answer:
        read = sum(len(piece) for piece, _ in zip(answer.iter_bytes(65536), range(50), strict=False))
    assert read == 50 * 65536
    assert client.fine_tuning.jobs.list().data == []


def test_a_flood_may_end_by_itself(emulator, client):
    emulator.fault("flood", "GET", JOBS, megabytes=2)
    assert len(client.fine_tuning.jobs.list().data[0]) == 2 << 20


def test_a_bomb_is_small_until_it_is_unpacked(emulator, client):
    emulator.fault("bomb", "GET", JOBS, megabytes=3)
    with client.with_streaming_response.fine_tuning.jobs.list() as answer:
        assert len(answer.http_response.read()) > 3 << 20
        assert answer.http_response.num_bytes_downloaded < 20_000


def test_a_redirect_leads_to_another_host(emulator, client):
    emulator.fault("redirect", "GET", JOBS, location="http://192.0.2.7/v1")
    with pytest.raises(openai.APIStatusError) as e:
        client.with_options(http_client=openai.DefaultHttpxClient(follow_redirects=False)).fine_tuning.jobs.list()
    assert e.value.response.headers["location"] == f"http://192.0.2.7/v1{JOBS}"


def test_an_impostor_is_right_but_for_the_ids(emulator, client, submit):
    job = submit()
    emulator.fault("impostor", "GET", f"{JOBS}/*")
    other = client.fine_tuning.jobs.retrieve(job.id)
    assert other.id != job.id
    assert other.model == job.model


def test_a_drip_is_the_right_answer_if_one_waits(emulator, client):
    emulator.fault("drip", "GET", JOBS, seconds=0.001)
    assert client.fine_tuning.jobs.list().data == []
