"""The demo shows what it promises, and leaves nothing behind, however it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
COMPONENTS = 5  # airflow standalone and its four


@contextmanager
def running_demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the demo as a shell starts what runs in its background: with Ctrl-C ignored."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running_demo() as demo:
        started = until_airflow_is_up(demo.pid)
        demo.send_signal(number)
        demo.communicate(timeout=60)
    assert demo.returncode == code
    _, left = psutil.wait_procs(started, timeout=5)
    assert left == []
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_first_model_becomes_champion_the_spoiled_one_does_not_and_the_champion_is_used_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lines: list[str] = []
    with running_demo("--ui", "--job-seconds", "5") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line)
            if found := re.search(r"Airflow goes on at (\S+) until", line):
                look_around(found[1])
                demo.send_signal(signal.SIGINT)
        demo.wait(60)
    said = "".join(lines)
    assert demo.returncode == 0, said
    assert "becomes the first champion of airflow-config" in said
    assert re.search(r"stays the champion of airflow-config: .* is 0\.\d+ worse than .* wins?, ", said)
    assert "ran 1 time" in said
    assert [path.name for path in tmp_path.iterdir()] == []


def look_around(url: str) -> None:
    """Do in Airflow what a person does in its UI: look at the connections, and run a DAG with its own settings."""
    token = ask(f"{url}/auth/token")["access_token"]
    dag_runs = f"{url}/api/v2/dags/retrain_and_promote/dagRuns"
    connections = ask(f"{url}/api/v2/connections", token)["connections"]
    assert [connection["connection_id"] for connection in connections] == ["openai_default"]
    run_id = ask(dag_runs, token, {"logical_date": None})["dag_run_id"]
    deadline = time.monotonic() + 120
    while ask(f"{dag_runs}/{quote(run_id)}/taskInstances/write_dataset", token)["state"] != "success":
        assert time.monotonic() < deadline
        time.sleep(0.5)


def ask(url: str, token: str = "", body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, headers if token else {})
    with build_opener(ProxyHandler({})).open(request, timeout=60) as answer:
        return json.load(answer)


def until_airflow_is_up(pid: int) -> list[psutil.Process]:
    """Return all processes of the demo once Airflow's components are among them."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        processes = psutil.Process(pid).children(recursive=True)
        if len(processes) > COMPONENTS + 1:
            return processes
        time.sleep(0.2)
    raise AssertionError(f"Airflow did not start in {tempfile.gettempdir()}")
