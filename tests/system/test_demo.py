"""The demo shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.running_demo import running_demo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]


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
