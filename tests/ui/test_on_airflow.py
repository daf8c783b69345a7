"""The tab and the page on a real Airflow, in a real Chromium: live, mapped, cleared, with and without rights.

Airflow is served below a path, people log in, and larger XComs are kept in object storage.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import openai
import pytest

from airflow_provider_finetune.emulator import running
from demo.standalone import Standalone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from airflow_provider_finetune.emulator import Emulator

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

#: Bytes above which a value goes to object storage: more than the curves of a short job, less than those of a long one.
LARGE = 8000


def _examples() -> bytes:
    rows = (
        [{"role": "user", "content": f"{word} {n}"}, {"role": "assistant", "content": word.upper()}]
        for n in range(20)
        for word in ("red", "green", "blue")
    )
    return b"".join(json.dumps({"messages": messages}).encode() + b"\n" for messages in rows)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(job_seconds=2) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def file(emulator: Emulator) -> str:
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        return client.files.create(file=("train.jsonl", _examples()), purpose="fine-tune").id


@pytest.fixture(scope="module")
def airflow(browser: Browser, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    env = {
        "AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": tmp_path_factory.mktemp("xcom").as_uri(),
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": str(LARGE),
    }
    users = {"ann": "ADMIN", "visitor": ""}
    with Standalone(Path(__file__).parent / "dags", env, path="/airflow", users=users) as airflow:
        yield airflow


def page_of(airflow: Standalone, run: str, *, dag: str = "training_page", index: int = -1) -> str:
    """The page behind the task's button "Training"."""
    path = f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances/train/links?map_index={index}"
    links = airflow.api("GET", path)["extra_links"]
    return f"{airflow.url}/{links['Training']}"


def test_a_deferred_task_shows_its_job_live_whole_at_the_end_and_anew_when_it_is_cleared(
    airflow: Standalone, emulator: Emulator, file: str, opened: Callable[..., Page]
) -> None:
    emulator.set(job_seconds=50)
    run = airflow.trigger("training_page", {"file": file})
    task = f"{airflow.url}/dags/training_page/runs/{quote(run)}/tasks/train"
    tab = opened(f"{task}/plugin/training", token=airflow.token("ann"))
    tab.locator(".ft-badge").wait_for(timeout=60_000)
    tab.locator("svg.ft-chart").first.wait_for(timeout=90_000)
    assert airflow.task("training_page", run, "train")["state"] == "deferred"
    first = tab.locator(".ft-tiles dd").first.inner_text()
    tab.locator(".ft-tiles dd").filter(has_not_text=first).first.wait_for(timeout=60_000)
    assert airflow.wait_for_run("training_page", run, 200) == "success"
    tab.get_by_text("succeeded", exact=True).first.wait_for(timeout=60_000)
    metrics = airflow.xcom("training_page", run, "train", "metrics")
    progress = airflow.xcom("training_page", run, "train", "progress")
    assert metrics["step"] == list(range(1, progress["total_steps"] + 1))

    button = opened(task, token=airflow.token("ann")).get_by_role("link", name="Training", exact=True)
    button.first.wait_for(timeout=30_000)
    page = opened(page_of(airflow, run), token=airflow.token("ann"), storage={"theme": "dark"})
    page.locator("svg.ft-chart").first.wait_for()
    assert "dark" in (page.locator("html").get_attribute("class") or "")

    airflow.clear_task("training_page", run, "train")
    tab.get_by_text("attempt 2").wait_for(timeout=90_000)
    assert airflow.wait_for_run("training_page", run, 100) == "success"
    tab.get_by_text("succeeded", exact=True).first.wait_for(timeout=60_000)


def test_each_mapped_task_has_its_own_page_and_what_is_in_object_storage_is_said_to_be_there(
    airflow: Standalone, emulator: Emulator, file: str, opened: Callable[..., Page]
) -> None:
    emulator.set(job_seconds=2)
    run = airflow.trigger("mapped_pages", {"file": file})
    state = airflow.wait_for_run("mapped_pages", run, 200)
    assert state == "success", [airflow.log("mapped_pages", run, "train", 1, index)[-3000:] for index in (0, 1)]
    ids = [airflow.xcom("mapped_pages", run, "train", "job_id", index) for index in (0, 1)]
    assert len(set(ids)) == 2
    token = airflow.token("ann")
    short, long = (opened(page_of(airflow, run, dag="mapped_pages", index=index), token=token) for index in (0, 1))
    for page, job_id in zip((short, long), ids, strict=True):
        page.get_by_text(job_id).first.wait_for()
    short.locator("svg.ft-chart").first.wait_for()
    long.get_by_text("kept in object storage").wait_for()
    assert long.locator("svg.ft-chart").count() == 0


@pytest.mark.parametrize(("user", "word"), [(None, "Log in to Airflow again"), ("visitor", "You may not see")])
def test_who_may_not_see_the_task_in_airflow_sees_nothing_on_its_page(
    airflow: Standalone, file: str, opened: Callable[..., Page], user: str | None, word: str
) -> None:
    run = airflow.trigger("training_page", {"file": file})
    airflow.wait_for_task("training_page", run, "train", {"deferred", "success"}, 60)
    page = opened(page_of(airflow, run), token=user and airflow.token(user))
    page.get_by_text(word).wait_for()
    assert page.locator(".ft-chart, .ft-tiles, .ft-head").count() == 0
