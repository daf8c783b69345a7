"""The table in docs/endpoints.md is what the emulator's dialects do, asked through the hook."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.endpoints import ENDPOINTS
from airflow_provider_finetune.exceptions import FineTuningError
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook, explained
from tests.airflow.test_every_endpoint import KNOWN_BY, MODEL, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.emulator import Emulator

__all__ = ["connect"]
DOCS = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()
ROWS = {name: cells.split(" | ") for name, cells in re.findall(r"^\| `(\w+)` \| (.*) \|$", DOCS, re.MULTILINE)}
SUBMITS = {"metadata": "by metadata", "seed": "by seed", "nothing": "a person is asked"}


def works(doing: Callable[[], Any]) -> bool:
    """Return whether a request is answered with something."""
    try:
        with explained("try it"):
            return bool(doing())
    except FineTuningError:
        return False


def yes(value: bool) -> str:
    return "yes" if value else "no"


def ended(hook: FineTuningHook, job_id: str) -> str:
    deadline = time.monotonic() + 30
    while (status := hook.retrieve_job(job_id).status) not in ("succeeded", "failed", "cancelled"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return status


def test_every_known_endpoint_has_a_row() -> None:
    assert list(ROWS) == list(ENDPOINTS)


@pytest.mark.parametrize("like", list(ENDPOINTS))
def test_the_table_says_what_the_endpoint_does(
    like: str, emulator: Emulator, connect: Callable[..., None], training_file: str
) -> None:
    connect(like, job_seconds=0)
    hook = FineTuningHook(conn_id="openai_default")
    hook.conn = hook.conn.with_options(max_retries=0)
    request = {"model": MODEL, "training_file": training_file, "extra_body": dict(hook.settings.get("extra_body", {}))}
    with hook.conn:
        job = hook.create_job(**request)
        waited = ended(hook, job.id) == "succeeded"
        model = hook.retrieve_job(job.id).fine_tuned_model or emulator.jobs()[0]["fine_tuned_model"]
        turn = {"role": "user", "content": "red 1"}
        row = [
            SUBMITS[KNOWN_BY[like]],
            yes(waited),
            yes(works(lambda: hook.list_events(job.id))),
            yes(works(lambda: hook.list_checkpoints(job.id))),
        ]
        at_once = works(lambda: hook.conn.chat.completions.create(model=model, messages=[turn]))
        emulator.set(job_seconds=10)  # it runs from its first second on
        other = hook.create_job(**request)
        emulator_says = lambda: next(one["status"] for one in emulator.jobs() if one["id"] == other.id)  # noqa: E731
        deadline = time.monotonic() + 10
        while emulator_says() != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        # Where a pause is a cancel, it is answered all the same; what became of the job tells.
        paused = works(lambda: hook.pause_job(other.id)) and emulator_says() in ("pausing", "paused")
        assert paused is ("pause" not in hook.endpoint.cannot), "what is known of the endpoint"
        cancelled = emulator_says() == "cancelled" or works(lambda: hook.cancel_job(other.id))
        listed = [file.id for file in hook.list_files()]
        row += [yes(paused), yes(cancelled), yes(training_file in listed), "yes" if at_once else "deploy first"]
    assert ROWS[like] == row
    assert bool(hook.endpoint.deploy) is not at_once, "what is known of the endpoint"
