"""One real Airflow with two unkind endpoints, for all tests of what survives a crash."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.emulator import Emulator, running
from demo.standalone import AirflowTrouble, Standalone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@dataclass
class Platform:
    """A real Airflow and its endpoints.

    ``slow`` takes effect a second after it was asked to create a job, and lists it another second later. ``deaf`` does
    too, and never answers a create. ``endless`` is as slow, and its jobs do not end.
    """

    airflow: Standalone
    slow: Emulator
    deaf: Emulator
    endless: Emulator

    @property
    def emulators(self) -> dict[str, Emulator]:
        """The endpoints by the ids of their connections."""
        return {"slow": self.slow, "deaf": self.deaf, "endless": self.endless}

    def reset(self, *, job_seconds: float) -> dict[str, str]:
        """Forget all jobs; return the conf for a run: the id of a training file for each connection."""
        for emulator in self.emulators.values():
            emulator.reset()
            emulator.set(job_seconds=600 if emulator is self.endless else job_seconds, list_lag_seconds=1)
            emulator.fault("lose_answer" if emulator is self.deaf else "delay", "POST", "/fine_tuning/jobs", **SLOW)
        return {conn_id: _upload(emulator) for conn_id, emulator in self.emulators.items()}

    def jobs(self, task_id: str) -> list[dict[str, Any]]:
        """Return all jobs of a task, oldest first, whatever became of them."""
        jobs = [job for emulator in self.emulators.values() for job in emulator.jobs()]
        return [job for job in jobs if (job["metadata"] or {}).get("airflow_task_id") == task_id]

    def cancels(self) -> list[dict[str, Any]]:
        """Return the requests that asked to cancel a job."""
        return [
            request
            for emulator in self.emulators.values()
            for request in emulator.requests("POST", "/fine_tuning/jobs/*/cancel")
        ]

    def act(self, what: Callable[[], object]) -> None:
        """Do something through Airflow's API, again where its SQLite database is locked by somebody else."""

        def done() -> bool:
            try:
                what()
            except AirflowTrouble as trouble:
                if "Database error" not in str(trouble):
                    raise
                return False
            return True

        assert self.until(done, 60)

    @staticmethod
    def until(happened: Callable[[], object], timeout: float) -> bool:
        """Return whether something has happened in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if happened():
                return True
            time.sleep(0.2)
        return bool(happened())


def _upload(emulator: Emulator) -> str:
    rows = [
        {"messages": [{"role": "user", "content": f"{word} {n}"}, {"role": "assistant", "content": word.upper()}]}
        for n in range(10)
        for word in ("red", "green", "blue")
    ]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        return client.files.create(file=("train.jsonl", content), purpose="fine-tune").id


SLOW: dict[str, Any] = {"seconds": 1, "times": None}


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """A running platform; started once, since that takes most of a minute."""
    with running() as slow, running() as deaf, running() as endless:
        env = {
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_CONN_SLOW": slow.connection,
            "AIRFLOW_CONN_DEAF": deaf.connection,
            "AIRFLOW_CONN_ENDLESS": endless.connection,
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        }
        with Standalone(Path(__file__).parent / "dags", env=env, parallelism=8, mode="components") as airflow:
            yield Platform(airflow, slow, deaf, endless)
