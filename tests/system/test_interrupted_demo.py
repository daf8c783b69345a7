"""The demo leaves nothing behind, however it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
COMPONENTS = 5  # airflow standalone and its four


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-m", "demo"], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_leaves_no_process_and_no_file(
    demo: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals, code: int
) -> None:
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
