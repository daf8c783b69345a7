"""pytest's fixtures for testing a DAG on the emulator: ``emulator``, ``airflow_home`` and ``run_dag``.

pytest finds this module by the package's entry point. It imports neither Airflow nor the emulator's server, and does
nothing until a test asks for a fixture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.emulator import Emulator, running
from airflow_provider_finetune.testing import TestedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def _running_emulator() -> Iterator[Emulator]:
    with running(job_seconds=1) as emulator:
        yield emulator


@pytest.fixture
def emulator(_running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """A running emulator without jobs, files or faults. The connection ``openai_default`` leads to it.

    For a connection of another name: ``monkeypatch.setenv("AIRFLOW_CONN_MINE", emulator.connection)``.
    """
    _running_emulator.reset()
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", _running_emulator.connection)
    return _running_emulator


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a throw-away Airflow with an empty database; made once for all tests, in a few seconds."""
    home = tmp_path_factory.mktemp("airflow")
    _airflow(home, home, [sys.executable, "-m", "airflow", "db", "migrate"])
    return home


@pytest.fixture
def run_dag(airflow_home: Path, tmp_path: Path) -> Callable[..., TestedRun]:
    """Run a DAG file with ``dag.test()`` in the throw-away Airflow; returns what became of the run.

    It runs in a process of its own, with this process's environment (connections, variables), so that your own Airflow
    is left alone. Retries come at once, and jobs are looked at twice a second.

    ``run_dag(file, dag_id=None, **conf)``: the DAG file, which one of its DAGs if it has more than one, and the conf of
    the run, which sets the DAG's params.
    """

    def run(file: str | os.PathLike[str], dag_id: str | None = None, **conf: Any) -> TestedRun:
        path = Path(file).resolve()
        if not path.is_file():
            raise FileNotFoundError(f"There is no DAG file {path}; the path is taken from {Path.cwd()}")
        answer = tmp_path / "finetune-run.json"
        answer.unlink(missing_ok=True)
        log = _airflow(
            airflow_home,
            path.parent,
            [sys.executable, "-m", "airflow_provider_finetune.testing.run", str(answer)],
            json.dumps({"file": str(path), "dag_id": dag_id, "conf": conf}),
        )
        found = json.loads(answer.read_text(encoding="utf-8"))
        found["xcoms"] = {(task, key): value for task, key, value in found["xcoms"]}
        return TestedRun(**found, log=log)

    return run


def _airflow(home: Path, dags_folder: Path, command: list[str], given: str | None = None) -> str:
    """Run a command with the throw-away Airflow; return its output.

    :raises RuntimeError: it ended with an error; its output says which.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    }
    done = subprocess.run(
        command,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"Airflow could not run this, and ended with {done.returncode}:\n{done.stdout}")
    return done.stdout
