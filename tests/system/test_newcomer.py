"""The README alone leads from a clone and a CSV file to a green run of one's own DAG."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.newcomer import ROOT, follow, script_of

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.system
@pytest.mark.timeout(600)
def test_whoever_follows_the_readme_gets_a_green_run(tmp_path: Path) -> None:
    done = follow(README, tmp_path, environment=Path(sys.prefix))
    assert done.returncode == 0
    assert "train.jsonl: 200 good examples" in done.stdout
    assert "1 passed" in done.stdout


def test_a_block_that_breaks_ends_the_newcomers_way(tmp_path: Path) -> None:
    script = script_of("## One\n```shell\nfalse\n```\n## Two\n```shell\ntouch reached\n```\n")
    assert subprocess.run(["bash", "-c", script], cwd=tmp_path, check=False).returncode
    assert not (tmp_path / "reached").exists()
    assert len((tmp_path / "faq.csv").read_text().splitlines()) == 201


def test_code_that_nobody_knows_where_to_save_is_an_error() -> None:
    with pytest.raises(ValueError, match="'Test it' does not say what its Python code is saved as"):
        script_of("## Test it\n```python\npass\n```\n")
