"""The demo leaves nothing behind, however it is interrupted."""

from __future__ import annotations

import signal
import tempfile
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.running_demo import running_demo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

COMPONENTS = 5  # airflow standalone and its four


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


def until_airflow_is_up(pid: int) -> list[psutil.Process]:
    """Return all processes of the demo once Airflow's components are among them."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        processes = psutil.Process(pid).children(recursive=True)
        if len(processes) > COMPONENTS + 1:
            return processes
        time.sleep(0.2)
    raise AssertionError(f"Airflow did not start in {tempfile.gettempdir()}")
