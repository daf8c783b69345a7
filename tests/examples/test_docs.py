"""The code in the documentation runs."""

from __future__ import annotations

import ast
import csv
import importlib.util
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.datasets import check
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.testing.run import hurry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_finetune.emulator import Emulator
    from tests.conftest import DagResult

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES_ON_PAGES = ("operators.dataset", "operators.job", "sensors.job")
BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_of_python_is_python(block: str) -> None:
    compile(block, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", ["emulator.md", "exactly-once.md", "waiting.md", "promotion.md", "how-to/storage.md"])
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, emulator: Emulator, training_file: str) -> None:
    from airflow.providers.common.compat.sdk import DAG

    operators = [importlib.import_module(f"airflow_provider_finetune.{name}") for name in NAMES_ON_PAGES]
    given = {name: value for module in operators for name, value in vars(module).items() if name[0] != "_"}
    given |= {"emulator": emulator, "MODEL": "gpt-4.1-mini-2025-04-14"}
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        given["job_id"] = client.fine_tuning.jobs.create(model=given["MODEL"], training_file=training_file).id
    with DAG("page", schedule=None):
        given["upload"] = given["UploadDatasetOperator"](task_id="given_upload", path="train.jsonl")
        given["create"] = given["CreateFineTuningJobOperator"](task_id="given", model="m", training_file="file-1")
        for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL):
            exec(compile(block, page, "exec"), given)


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Load an example beside a training file and a validation file; return its DAGs."""
    monkeypatch.chdir(tmp_path)
    lines = (EXAMPLES / "supervised.jsonl").read_text().splitlines(keepends=True)
    Path("train.jsonl").write_text("".join(lines))
    Path("valid.jsonl").write_text("".join(line.replace("How ", "Tell me how ") for line in lines if "How " in line))

    def load(name: str) -> dict[str, Any]:
        from airflow.providers.common.compat.sdk import DAG

        spec = importlib.util.spec_from_file_location(f"docs_example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        built = [value() for value in vars(module).values() if hasattr(value, "__wrapped__")]
        found = {dag.dag_id: dag for dag in built if isinstance(dag, DAG)}
        for dag in found.values():
            for task in dag.tasks:
                hurry(task)
        return found

    return load


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("fine_tune", {"upload": "success", "create": "success", "wait": "success", "deploy": "success"}),
        ("train", {"check": "success", "upload": "success", "upload_valid": "success", "create": "success"}),
        ("wait", {"create": "success", "deferred": "success", "rescheduled": "success"}),
        ("retrain_on_purpose", {"train": "success"}),
        ("use", {"train": "success", "ask": "success"}),
        ("sweep", {"train": "success", "best": "success"}),
        (
            "cancel",
            {
                "create": "success",
                "release": "failed",
                "wait": "upstream_failed",
                "clean_up": "success",
            },
        ),
    ],
)
def test_each_example_of_the_documentation_does_what_its_page_says(
    emulator: Emulator,
    dags: Callable[[str], dict[str, Any]],
    run_dag: Callable[..., DagResult],
    training_file: str,
    name: str,
    states: dict[str, str],
) -> None:
    if name == "cancel":
        emulator.set(job_seconds=3600)  # or the job may have ended before the task that cancels it starts
    (dag,) = dags(name).values()
    result = run_dag(dag, **({"file": training_file} if "file" in dag.params else {}))
    assert result.states == states
    jobs = [job["status"] for job in emulator.jobs()]
    assert jobs == {"cancel": ["cancelled"], "sweep": ["succeeded"] * 3}.get(name, ["succeeded"])


def test_at_azure_a_model_is_deployed_and_asked_by_the_name_of_its_deployment(
    emulator: Emulator,
    dags: Callable[[str], dict[str, Any]],
    run_dag: Callable[..., DagResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    token = SimpleNamespace(get_token=lambda scope: SimpleNamespace(token=emulator.api_key))
    monkeypatch.setitem(sys.modules, "azure.identity", SimpleNamespace(DefaultAzureCredential=lambda: token))
    connection = {**json.loads(emulator.connection), "extra": {"finetune": {"endpoint": "azure"}}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE", json.dumps(connection))
    emulator.set(like="azure")
    account = f"{emulator.base_url.removesuffix('/v1')}/subscriptions/a/resourceGroups/b/providers/c/accounts/d"
    result = run_dag(dags("azure")["azure"], account=account)
    assert set(result.states.values()) == {"success"}
    assert emulator.jobs()[0]["asked"]["trainingType"] == "GlobalStandard"
    assert result.xcom("ask") == "Open Settings and choose Reset password."


def test_a_dag_that_is_scheduled_on_data_trains_on_it(
    emulator: Emulator, dags: Callable[[str], dict[str, Any]], run_dag: Callable[..., DagResult]
) -> None:
    found = dags("retrain_on_data")
    assert [asset.name for asset in found["export_tickets"].get_task("export").outlets] == ["support-tickets"]
    result = run_dag(found["retrain_on_data"])
    assert result.states == {"upload": "success", "train": "success"}


def test_a_clean_up_is_dry_until_a_person_says_otherwise(
    emulator: Emulator, dags: Callable[[str], dict[str, Any]], run_dag: Callable[..., DagResult]
) -> None:
    found = dags("clean_up")
    assert run_dag(found["clean_up"]).xcom("clean_up")["dry_run"] is True
    assert run_dag(found["clean_up"], dry_run=False).xcom("clean_up")["dry_run"] is False
    assert run_dag(found["delete_model"], model="ft:gone").xcom("delete") == "ft:gone"


def test_a_model_is_promoted_served_and_read_through_the_rest_api(
    emulator: Emulator,
    dags: Callable[[str], dict[str, Any]],
    run_dag: Callable[..., DagResult],
    training_file: str,
    until: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("airflow_provider_finetune.hooks.champions.VariableStore.sleep", lambda *_: None)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        job = client.fine_tuning.jobs.create(model="gpt-4.1-mini-2025-04-14", training_file=training_file)
    model = until(job.id, "succeeded")["fine_tuned_model"]
    colours = [(f"{word} {n}", word.upper()) for n in range(100, 110) for word in ("red", "green", "blue")]
    turns = [[{"role": "user", "content": ask}, {"role": "assistant", "content": say}] for ask, say in colours]
    Path("evaluation.jsonl").write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in turns))
    found = dags("promote")
    try:
        result = run_dag(found["promote"], model=model)
        assert result.states == {"in_use": "success", "evaluate": "success", "promote": "success"}
        assert run_dag(found["serve"]).xcom("ask").isupper()
        assert "the first champion" in str(run_dag(found["roll_back"]).error("roll_back"))
        with variables_served() as (url, requests):
            monkeypatch.setenv("AIRFLOW_URL", url)
            monkeypatch.setenv("AIRFLOW_TOKEN", "token")
            monkeypatch.setattr(sys, "argv", ["champion.py", "support-bot"])
            runpy.run_path(str(EXAMPLES / "champion.py"), run_name="__main__")
        assert capsys.readouterr().out.splitlines()[-1] == model
        assert requests == [("/api/v2/variables/finetune_champion_support-bot", "Bearer token")]
    finally:
        from airflow.models import Variable

        Variable.delete("finetune_champion_support-bot")


@contextmanager
def variables_served() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve the Variables in the database in the form of Airflow's REST API; yield the URL and what was asked."""
    module = pytest.importorskip("airflow.api_fastapi.core_api.datamodels.variables", reason="the API of Airflow 3")
    requests: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            from airflow.models import Variable
            from airflow.utils.session import create_session

            requests.append((self.path, self.headers["authorization"]))
            with create_session() as session:
                row = session.query(Variable).filter(Variable.key == self.path.rpartition("/")[2]).one()
                body = module.VariableResponse.model_validate(row, from_attributes=True).model_dump_json(by_alias=True)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "module",
    [
        "datasets",
        "emulator",
        "hooks.fine_tuning",
        "models",
        "operators.dataset",
        "operators.job",
        "operators.model",
        "sensors.job",
        "testing",
        "triggers.job",
    ],
)
def test_each_public_class_and_function_is_in_the_reference(module: str) -> None:
    reference = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    found = importlib.import_module(f"airflow_provider_finetune.{module}")
    public = getattr(found, "__all__", None) or [
        name for name, value in vars(found).items() if inspect.isclass(value) and value.__module__ == found.__name__
    ]
    shown = [name for name in public if name[0] != "_" and isinstance(getattr(found, name), (type, FunctionType))]
    assert shown
    for name in shown:
        assert re.search(rf"\b{name}\b", reference), name


@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_the_line_of_each_method_is_one_that_the_check_takes(method: str) -> None:
    assert check(EXAMPLES / f"{method}.jsonl", method=method).ok  # type: ignore[arg-type]


def test_the_line_for_reinforcement_is_one_that_the_check_takes(tmp_path: Path) -> None:
    path = EXAMPLES / "reinforcement.jsonl"
    other = tmp_path / "valid.jsonl"
    other.write_text('{"messages": [{"role": "user", "content": "Is it late?"}], "reference": "No."}\n')
    assert check(path, validation_path=other, method="reinforcement").ok


def test_the_commands_of_the_page_about_csv_files_run(tmp_path: Path) -> None:
    rows = [
        [message["content"] for message in json.loads(line)["messages"]]
        for line in (EXAMPLES / "supervised.jsonl").read_text().splitlines()
    ]
    with (tmp_path / "faq.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer"], *rows])
    (tmp_path / "valid.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "No."}]}\n'
    )
    for commands in shell_blocks(ROOT / "docs" / "how-to" / "csv.md"):
        done = in_shell(commands, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


CONNECTIONS = dict(
    re.findall(r"^AIRFLOW_CONN_(\w+)='(.*)'$", (ROOT / "docs" / "how-to" / "connect.md").read_text(), re.MULTILINE)
)


@pytest.mark.parametrize(
    ("name", "base_url"),
    [
        ("OPENAI_DEFAULT", "https://api.openai.com/v1/"),
        ("AZURE", "https://my-resource.openai.azure.com/openai/v1/"),
        ("OWN", "https://models.example.com/v1/"),
    ],
)
def test_each_connection_gives_a_client_for_its_endpoint(
    name: str, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", CONNECTIONS[name])
    with FineTuningHook(conn_id=name.lower()).get_conn() as client:
        assert str(client.base_url) == base_url


def shell_blocks(page: Path) -> Iterator[str]:
    return iter(re.findall(r"```shell\n(.*?)```", page.read_text(), re.DOTALL))


def in_shell(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
