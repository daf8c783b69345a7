"""What the documentation of evaluations shows runs as it stands, with another place for the files."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.evaluation.conftest import SECRET, TaskInstance, chat, write

if TYPE_CHECKING:
    from tests.evaluation.conftest import Endpoint

DOCS = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
FIRST, SECOND = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)


def test_the_examples_run(endpoint: Endpoint, tmp_path: Path) -> None:
    write(tmp_path / "evaluation.jsonl", chat(5, lambda n: '{"a": 1}'))
    write(tmp_path / "train.jsonl", [{"messages": [{"role": "user", "content": "x"}], "y": 1}])
    endpoint.reply = lambda body: '{"a": 1}' if body["model"].startswith("ft:") else '{"a": 2}'
    outcome = {"fine_tuned_model": "ft:m", "checkpoints": [], "job_id": "ftjob-1", "model": "gpt"}
    names: dict[str, Any] = {"wait": SimpleNamespace(output=outcome)}
    code = (FIRST + SECOND).replace("s3://bucket", str(tmp_path))
    exec(compile(code, "docs/evaluation.md", "exec"), names)
    result = names["evaluate"].execute({"ti": TaskInstance()})
    assert result["comparisons"][0]["wins"] == 5
    assert SECRET in Path(result["report"]).read_text()
    assert 0 < names["judge_json"].execute({"ti": TaskInstance()})["models"][0]["score"] < 1
