"""The pictures of the page in Airflow's UI that the documentation shows, made from the running demo.

``python -m demo.screenshots FOLDER`` writes ``ui-live.png`` and ``ui-narrow.png`` while the job trains, and
``ui-light.png`` and ``ui-dark.png`` when it has ended. It needs Chromium.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_finetune.emulator import running
from demo import chromium
from demo.standalone import Standalone

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DAG_ID = "retrain_on_airflow_config"
DAGS = Path(__file__).parents[1] / "example_dags"
JOB_SECONDS = 75
WIDE = (1280, 1000)
NARROW = (390, 844)
#: Milliseconds until a page must show what is awaited.
PATIENCE = 90_000


def main() -> None:
    """Run the demo's DAG and take the pictures."""
    folder = Path(sys.argv[1])
    with running(job_seconds=JOB_SECONDS) as emulator, chromium.running() as browser:
        env = {"AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection}
        with Standalone(DAGS, env) as airflow:
            run_id = airflow.trigger(DAG_ID, {"folder": str(airflow.home / "dataset")})
            airflow.wait_for_task(DAG_ID, run_id, "wait", "deferred", 120)
            tab = f"{airflow.url}/dags/{DAG_ID}/runs/{quote(run_id)}/tasks/wait/plugin/training"
            links = airflow.api("GET", f"/dags/{DAG_ID}/dagRuns/{quote(run_id)}/taskInstances/wait/links")
            page = f"{airflow.url}/{links['extra_links']['Training']}"

            live, narrow = opened(browser, tab, WIDE, "light"), opened(browser, page, NARROW, "light")
            first = live.locator(".ft-tiles dd").first.inner_text(timeout=PATIENCE)
            live.locator(".ft-tiles dd").filter(has_not_text=first).first.wait_for(timeout=PATIENCE)
            live.screenshot(path=folder / "ui-live.png")
            narrow.locator("svg.ft-chart").first.wait_for(timeout=PATIENCE)
            narrow.screenshot(path=folder / "ui-narrow.png")

            airflow.wait_for_run(DAG_ID, run_id, 300)
            for theme in ("light", "dark"):
                ended = opened(browser, tab, WIDE, theme)
                ended.locator(".ft-is-good").first.wait_for(timeout=PATIENCE)
                ended.locator("svg.ft-chart").first.wait_for(timeout=PATIENCE)
                ended.screenshot(path=folder / f"ui-{theme}.png")


def opened(browser: Browser, url: str, size: tuple[int, int], theme: str) -> Page:
    """Open a page in a window of its own, as somebody who has chosen a theme in Airflow's UI."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="en-US")
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    page = context.new_page()
    page.goto(url)
    return page


if __name__ == "__main__":
    main()
