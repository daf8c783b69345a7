"""Champions in the registry of a real MLflow server, as docs/promotion.md shows it.

It runs in an environment of its own, which ``make mlflow`` makes: ``.venv/mlflow/bin/python -m pytest tests/registry``.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.exceptions import PromotionRefused
from airflow_provider_finetune.hooks.champions import carry_out, open_store
from airflow_provider_finetune.models import champion
from airflow_provider_finetune.models.history import Champion, History
from airflow_provider_finetune.models.promotion import Decision, roll_back

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("mlflow", reason="MLflow is not installed here: `make mlflow` makes an environment with it")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "mlflow_store.py"
SECONDS_TO_START = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
             "--artifacts-destination", str(folder), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture(scope="module")
def module() -> Any:
    spec = importlib.util.spec_from_file_location("mlflow_store", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    found = sys.modules["mlflow_store"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def store(server: str, module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return open_store("mlflow_store.MLflowStore")


def promote(store: Any, name: str, model: str, *, after: str | None) -> Decision:
    """Promote a model that was compared with the champion ``after``."""

    def decide(history: History) -> Decision:
        now = history.champion
        if (now and now.model) != after:
            raise PromotionRefused(f"{now and now.model} is the champion now")
        return Decision(name, "promoted", Champion(number=0, model=model, conn_id="openai_default"), now, "better")

    return carry_out(store, name, decide, promoted_by="Ada")


def test_a_champion_is_promoted_found_by_its_alias_and_rolled_back(store: Any) -> None:
    assert store.read("support-bot") == History("support-bot")
    promote(store, "support-bot", "ft:a", after=None)
    promote(store, "support-bot", "ft:b", after="ft:a")
    assert champion("support-bot", store=store).predecessor == "ft:a"
    by_alias = store.client.get_model_version_by_alias("support-bot", "champion")
    assert by_alias.source == "finetune://openai_default/ft:b"
    carry_out(store, "support-bot", roll_back, tries=1)
    now = champion("support-bot", store="mlflow_store.MLflowStore")
    assert (now.number, now.model, now.restores) == (3, "ft:a", 1)
    assert "support-bot" in store.names()


def test_of_several_runs_at_once_one_promotes(store: Any) -> None:
    promote(store, "race", "ft:0", after=None)

    def run(number: int) -> bool:
        try:
            return promote(store, "race", f"ft:{number}", after="ft:0").outcome == "promoted"
        except PromotionRefused:
            return False

    with ThreadPoolExecutor(4) as runs:
        promoted = list(runs.map(run, range(1, 5)))
    assert sum(promoted) == 1
    history = store.read("race")
    assert [record.number for record in history.records] == [2, 1]
    assert history.records[0].model == f"ft:{promoted.index(True) + 1}"
    assert len(store.client.search_model_versions("name='race'")) == 2, "the others are deleted"
    by_alias = store.client.get_model_version_by_alias("race", "champion")
    assert by_alias.source == f"finetune://openai_default/{history.records[0].model}"


def test_a_run_that_died_before_it_set_the_alias_sets_it_when_it_is_tried_again(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, "dies", "ft:a", after=None)
    history = store.read("dies").followed_by(Champion(number=0, model="ft:b", conn_id="openai_default"))

    def dies(*_: Any) -> None:
        raise OSError("the worker died")

    with monkeypatch.context() as patched:
        patched.setattr(store.client, "set_registered_model_alias", dies)
        with pytest.raises(OSError, match="died"):
            store.write(history)
    assert champion("dies", store=store).model == "ft:b", "what stands does not depend on the alias"
    assert store.write(history)
    assert store.client.get_model_version_by_alias("dies", "champion").source.endswith("/ft:b")
    assert len(store.read("dies").records) == 2
