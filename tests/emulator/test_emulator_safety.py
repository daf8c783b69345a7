"""The emulator with requests and options that are made to hurt it, and what it leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.emulator import folder as module
from airflow_provider_finetune.emulator import running
from airflow_provider_finetune.emulator.__main__ import _is_loopback
from airflow_provider_finetune.emulator.folder import Folder
from airflow_provider_finetune.emulator.requests import matches

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_finetune.emulator import Emulator

MODEL = "gpt-4.1-mini-2025-04-14"


def post(emulator: Emulator, path: str, body: bytes, key: str | None = None) -> tuple[int, Any]:
    """Send a body as it is, which the SDK would not."""
    headers = {"authorization": f"Bearer {key or emulator.api_key}", "content-type": "application/json"}
    request = urllib.request.Request(emulator.base_url + path, body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_a_number_that_json_cannot_write_is_refused_and_breaks_no_list(
    emulator: Emulator, training_file: str, number: str
) -> None:
    hyperparameters = {"learning_rate_multiplier": "NUMBER"}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    body = json.dumps({"model": MODEL, "training_file": training_file, "method": method}).replace('"NUMBER"', number)
    status, answer = post(emulator, "/fine_tuning/jobs", body.encode())
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        assert list(client.fine_tuning.jobs.list()) == []


@pytest.mark.parametrize("pattern", ["/**a**b**c**d**e**f**g", "/" + "*a" * 99 + "b", "/" + "**" * 99 + "b"])
def test_a_pattern_of_many_stars_is_matched_at_once(pattern: str) -> None:
    assert not matches("*", pattern, "GET", "/" + "a" * 2000)


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8))
def test_a_pattern_means_what_it_always_meant(pattern: str, path: str) -> None:
    usual = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    assert matches("*", pattern, "GET", path) == (re.fullmatch(usual, path) is not None)


def test_who_has_no_key_uses_up_no_fault_and_is_not_in_the_record(emulator: Emulator) -> None:
    emulator.fault("status", "GET", "/models", status=503)
    assert post(emulator, "/models", b"{}", key="guessed")[0] == 401
    assert emulator.requests() == []
    with (
        openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.models.list()
    assert [request["status"] for request in emulator.requests()] == [503]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.7", "", "my-host")),
    ],
)
def test_an_address_that_others_can_reach_is_known(host: str, is_loopback: bool) -> None:
    assert _is_loopback(host) == is_loopback


def test_a_server_that_others_can_reach_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with running(options=["--host", "0.0.0.0"]):
        assert "0.0.0.0 may be reached from other machines" in capfd.readouterr().err


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory for temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_what_a_killed_server_leaves_behind_is_removed_by_the_next(temporary: Path) -> None:
    taking = "from airflow_provider_finetune.emulator.folder import Folder; f = Folder(); input(f.files)"
    command = [sys.executable, "-c", taking]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        while not killed.stdout.read(1):
            pass
        (left,) = temporary.iterdir()
        (left / "files" / "train.jsonl").write_text("data")
        aged(left)
        first = Folder()
        assert left.exists(), "its server lives"
        killed.send_signal(signal.SIGKILL)
    second = Folder()
    assert not left.exists()
    assert first.files.is_dir(), "its server lives"
    for folder in (first, second):
        folder.close()
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_not_surely_abandoned_stays(temporary: Path) -> None:
    young, foreign = temporary / f"{module.PREFIX}young", temporary / f"{module.PREFIX}foreign"
    for folder in (young, foreign):
        folder.mkdir()
    (young / "lock").touch()
    (temporary / "target").touch()
    (foreign / "lock").symlink_to(temporary / "target")
    aged(foreign)
    Folder().close()
    assert young.exists()
    assert foreign.exists()
    with (young / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aged(young)
        Folder().close()
        assert young.exists()
    Folder().close()
    assert not young.exists()
