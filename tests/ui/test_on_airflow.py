"""The tab and the page on a real Airflow, in a real Chromium: live while deferred, whole at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import openai
import pytest

from airflow_provider_finetune.emulator import running
from demo.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

DAG_ID = "training_page"


def _examples() -> bytes:
    rows = (
        [{"role": "user", "content": f"{word} {n}"}, {"role": "assistant", "content": word.upper()}]
        for n in range(20)
        for word in ("red", "green", "blue")
    )
    return b"".join(json.dumps({"messages": messages}).encode() + b"\n" for messages in rows)


def test_a_deferred_task_shows_its_job_live_and_whole_at_the_end(opened: Callable[..., Page]) -> None:
    with running(job_seconds=60) as emulator:
        with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
            file = client.files.create(file=("train.jsonl", _examples()), purpose="fine-tune").id
        env = {"AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection, "PYTHONPATH": str(Path(__file__).parents[2])}
        with Standalone(Path(__file__).parent / "dags", env) as airflow:
            run = airflow.trigger(DAG_ID, {"file": file})
            tab = opened(f"{airflow.url}/dags/{DAG_ID}/runs/{quote(run)}/tasks/train/plugin/training")
            tab.locator(".ft-badge").wait_for(timeout=60_000)
            at = tab.locator(".ft-tiles dd").first
            tab.locator("svg.ft-chart").first.wait_for(timeout=90_000)
            assert airflow.task(DAG_ID, run, "train")["state"] == "deferred"
            first = at.inner_text()
            _picture(tab, "live")
            tab.locator(".ft-tiles dd").filter(has_not_text=first).first.wait_for(timeout=60_000)
            assert airflow.wait_for_run(DAG_ID, run, 200) == "success"
            tab.get_by_text("succeeded", exact=True).first.wait_for(timeout=60_000)
            metrics = airflow.xcom(DAG_ID, run, "train", "metrics")
            progress = airflow.xcom(DAG_ID, run, "train", "progress")
            assert metrics["step"] == list(range(1, progress["total_steps"] + 1))
            links = airflow.api("GET", f"/dags/{DAG_ID}/dagRuns/{quote(run)}/taskInstances/train/links")["extra_links"]
            page = opened(f"{airflow.url}/{links['Training']}", storage={"theme": "dark"})
            page.locator("svg.ft-chart").first.wait_for()
            assert "dark" in (page.locator("html").get_attribute("class") or "")
            _picture(page, "dark")


def _picture(page: Page, name: str) -> None:
    """Keep a picture of the page where someone asks for it."""
    if folder := os.environ.get("FINETUNE_PICTURES"):
        page.set_viewport_size({"width": 1280, "height": 1000})
        page.screenshot(path=Path(folder) / f"ui-{name}.png")
