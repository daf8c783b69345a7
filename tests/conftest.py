"""A throw-away Airflow and a running emulator for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest

from airflow_provider_finetune.emulator import Emulator, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import DAG

# Airflow reads its settings when it is first imported, which collecting the tests does.
_home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ |= {
    "AIRFLOW_HOME": _home.name,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": os.path.join(_home.name, "dags"),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home.name}/airflow.db",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "NO_PROXY": "127.0.0.1,localhost",
}

# Each SDK client reads all certificate authorities, 40 ms of CPU. No test speaks TLS: one authority will do.
_end = "-----END CERTIFICATE-----\n"
_authority = Path(_home.name, "authority.pem")
_authority.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition(_end)[0] + _end, encoding="utf-8")
os.environ["SSL_CERT_FILE"] = str(_authority)

MODEL = "gpt-4.1-mini-2025-04-14"


#: What takes longest in one piece: begun last, it would keep one worker busy while the others have nothing to do.
BEGUN_FIRST = ("testing", "gateway", "triggers", "airflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; refuse a system test where ``make test`` does not look for it."""
    items.sort(key=lambda item: item.path.parent.name not in BEGUN_FIRST)
    for item in items:
        if item.get_closest_marker("system") and item.path.parent.name not in ("system", "ui"):
            raise pytest.UsageError(f"{item.nodeid}: system tests stand in tests/system and tests/ui")


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """An initialised Airflow metadata database."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    os.makedirs(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], exist_ok=True)


@pytest.fixture(scope="session")
def _shared_emulator() -> Iterator[Emulator]:
    with running(job_seconds=1.5, api_key="test-key-not-secret-0123456789") as emulator:
        yield emulator


@pytest.fixture
def emulator(_shared_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """A running emulator without jobs or faults, reached by the connection ``openai_default``."""
    _shared_emulator.reset()
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", _shared_emulator.connection)
    return _shared_emulator


@pytest.fixture
def training_file(emulator: Emulator) -> str:
    """Id of an uploaded training file with thirty examples."""
    return upload(emulator, examples(30))


@pytest.fixture
def uploaded(emulator: Emulator) -> Callable[[bytes], str]:
    """Upload a training file; return its id."""
    return lambda content: upload(emulator, content)


def examples(count: int) -> bytes:
    """Chat examples that are easy to learn."""
    import json

    rows = (
        [{"role": "user", "content": f"{word} {n}"}, {"role": "assistant", "content": word.upper()}]
        for n in range(count)
        for word in [("red", "green", "blue")[n % 3]]
    )
    return b"".join(json.dumps({"messages": messages}).encode() + b"\n" for messages in rows)


def upload(emulator: Emulator, content: bytes, name: str = "train.jsonl") -> str:
    """Upload a file with the real SDK; return its id."""
    import openai

    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        return client.files.create(file=(name, content), purpose="fine-tune").id


@pytest.fixture
def until(emulator: Emulator) -> Callable[..., dict[str, Any]]:
    """Wait until a job has one of the statuses, by the emulator's own account; return the job."""

    def until(job_id: str, *statuses: str, seconds: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            job = next(job for job in emulator.jobs() if job["id"] == job_id)
            if job["status"] in statuses:
                return job
            assert job["status"] not in ("succeeded", "failed", "cancelled"), f"{job['status']}, not {statuses}"
            assert time.monotonic() < deadline, f"still {job['status']}, not {statuses}"
            time.sleep(0.02)

    return until


@dataclass
class DagResult:
    """What became of a DAG run: the states of its tasks, what they raised, what was logged, and their XComs."""

    dag_id: str
    run_id: str
    states: dict[str, str]
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def error(self, task_id: str) -> BaseException:
        """Return what the task's last try raised."""
        return self.errors[task_id][-1]

    def xcoms(self) -> dict[tuple[str, str], Any]:
        """Return all XComs, by task and key."""
        from airflow.utils.session import create_session

        try:
            from airflow.models.xcom import XComModel as XCom

            read = XCom.deserialize_value
        except ImportError:  # Airflow 2 reads the value as it loads the row
            from airflow.models.xcom import XCom

            read = attrgetter("value")
        with create_session() as session:
            rows = session.query(XCom).filter_by(dag_id=self.dag_id, run_id=self.run_id)
            return {(row.task_id, row.key): read(row) for row in rows}

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """Return an XCom that a task pushed; None when it did not."""
        return self.xcoms().get((task_id, key))


@pytest.fixture
def run_dag(airflow_database: None, caplog: pytest.LogCaptureFixture) -> Callable[..., DagResult]:
    """Run a DAG with ``dag.test()``: real operators, real templates and XComs, the trigger inline."""

    def run(dag: DAG, **conf: Any) -> DagResult:
        try:
            from structlog.testing import capture_logs
        except ImportError:  # Airflow 2 logs by the standard library
            capture_logs = lambda: nullcontext([])  # noqa: E731

        errors: dict[str, list[BaseException]] = {}

        def failed(context: Any) -> None:
            errors.setdefault(context["ti"].task_id, []).append(context["exception"])

        for task in dag.tasks:
            task.on_failure_callback = task.on_retry_callback = [failed]
        _serialize(dag)
        caplog.clear()
        with capture_logs() as logged:
            dag_run = dag.test(run_conf=conf or None)
        log = [str(entry.get("event")) for entry in logged] + caplog.messages
        print(*log, sep="\n")
        states = {ti.task_id: str(getattr(ti.state, "value", ti.state)) for ti in dag_run.get_task_instances()}
        return DagResult(dag.dag_id, dag_run.run_id, states, errors, log)

    return run


def _serialize(dag: DAG) -> None:
    """Write the DAG to the database, without which Airflow 3 does not test it."""
    try:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    except ImportError:  # Airflow 2 needs the aliases among the outlets only
        dag.sync_to_db()
        return
    DagBundlesManager().sync_bundles_to_db()
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    bag.dags[dag.dag_id] = dag
    dag.fileloc = os.path.join(folder, f"{dag.dag_id}.py")
    with open(dag.fileloc, "w", encoding="utf-8") as source:  # Airflow keeps it beside the serialized DAG
        source.write(f"# {dag.dag_id}\n")
    sync_bag_to_db(bag, "dags-folder", None)
