"""The demo shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def test_the_first_model_becomes_champion_the_spoiled_one_does_not_and_the_champion_is_used_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--job-seconds", "5"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "becomes the first champion of airflow-config" in done.stdout
    assert re.search(r"stays the champion of airflow-config: .* is 0\.\d+ worse than .* wins, ", done.stdout)
    assert "ran 1 time(s)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == []
