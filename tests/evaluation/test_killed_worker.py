"""A worker that is killed in the middle of an evaluation: a real process, counted at the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.evaluation.conftest import chat, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.evaluation.conftest import Endpoint

WORKER = """
import json, sys
from tests.evaluation.conftest import evaluate
result, _ = evaluate(dataset=sys.argv[1], answers=sys.argv[2], concurrency=4)
print("RESULT", json.dumps(result["models"][0]["score"]))
"""
EXAMPLES, CONCURRENCY, KILLS = 120, 4, 2


def asked(endpoint: Endpoint) -> Counter[str]:
    return Counter(body["messages"][-1]["content"] for body in list(endpoint.bodies))


def test_no_answer_that_was_kept_is_asked_for_again(endpoint: Endpoint, tmp_path: Path) -> None:
    def reply(body: dict[str, list[dict[str, str]]]) -> str:
        time.sleep(0.005)
        return body["messages"][-1]["content"]

    endpoint.reply = reply
    dataset, answers = write(tmp_path / "e.jsonl", chat(EXAMPLES)), tmp_path / "answers.jsonl"
    command = [sys.executable, "-W", "ignore", "-c", WORKER, dataset, str(answers)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for kill in range(1, KILLS + 1):
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not answers.exists() or answers.read_bytes().count(b"\n") < kill * EXAMPLES // 5:
            assert worker.poll() is None, "the worker ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        kept = {
            json.loads(line)["example"] for line in answers.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
        }
        before = asked(endpoint)
        # What was under way when the worker died cannot be known; all else was kept before the next was asked.
        assert sum(before.values()) <= len(kept) + kill * CONCURRENCY
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "RESULT 1.0" in done.stdout
    times = asked(endpoint)
    assert len(times) == EXAMPLES
    assert sum(times.values()) <= EXAMPLES + KILLS * CONCURRENCY
    lines = [json.loads(line) for line in answers.read_text().splitlines() if line.endswith("}")]
    assert len({line["example"] for line in lines}) == EXAMPLES == len(lines)
