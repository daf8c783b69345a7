"""How many paid jobs one task creates when something goes wrong, by who creates them.

    python benchmarks/paid_jobs.py

Runs the same mishaps on a real Airflow (scheduler, workers, API server) against the official provider's batch
operator, a plain ``client.fine_tuning.jobs.create`` in a ``@task``, and our operator; prints a table. Every task has
two retries. Takes about two minutes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import openai

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from airflow_provider_finetune.emulator import Emulator, running  # noqa: E402
from demo.standalone import Standalone  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CASES = {
    "lost_answer": "The answer to the create is lost",
    "error_500": "The endpoint creates the job, then answers 500",
    "worker_killed": "The worker is killed (SIGKILL) after the create",
    "task_fails": "The task fails after the create, and is retried",
    "two_at_once": "A worker stalls before its create, is given up, and comes back after its retry",
}
WHO = {
    "batch": "`OpenAITriggerBatchOperator` (batches)",
    "plain": "`client.fine_tuning.jobs.create` in a `@task`",
    "ours": "`CreateFineTuningJobOperator`",
}
FAULTS: dict[str, dict[str, Any]] = {
    "lost_answer": {"kind": "lose_answer"},
    "error_500": {"kind": "status", "status": 500, "takes_effect": True},
}


class Batches(BaseHTTPRequestHandler):
    """Just enough of the batches API to count what is created, below a path for each case."""

    created: ClassVar[Counter[str]] = Counter()
    cancelled: ClassVar[dict[str, set[str]]] = defaultdict(set)

    def do_POST(self) -> None:
        case = self.path.split("/")[1]
        self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.endswith("/cancel"):
            self.cancelled[case].add(self.path)
            self._answer(200, {"id": self.path.split("/")[-2], "object": "batch", "status": "cancelling"})
            return
        self.created[case] += 1
        first = self.created[case] == 1
        if first and case == "lost_answer":
            self.close_connection = True
            return
        if first and case == "error_500":
            self._answer(500, {"error": {"message": "server error"}})
            return
        self._answer(200, {"id": f"batch_{case}_{self.created[case]}", "object": "batch", "status": "in_progress"})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def batches() -> Iterator[str]:
    """Serve batches; give the URL below which the cases are."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Batches)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(emulator: Emulator) -> str:
    row = {"messages": [{"role": "user", "content": "red"}, {"role": "assistant", "content": "RED"}]}
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        content = "\n".join([json.dumps(row)] * 12).encode()
        return client.files.create(file=("train.jsonl", content), purpose="fine-tune").id


def until(happened: Callable[[], object], what: str, timeout: float = 400) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not happen in time that {what}")
        time.sleep(0.2)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def thaw(airflow: Standalone, run: str, task_id: str) -> None:
    """Let a stalled worker go on once its retry is over, and wait until it has ended."""
    until(lambda: airflow.task("paid_jobs", run, task_id)["state"] == "success", f"the retry of {task_id} succeeds")
    pids = [int(pid) for pid in Path(airflow.home, f"frozen-{task_id}").read_text().split()]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    until(lambda: not is_alive(pids[1]), f"the stalled try of {task_id} ends")


def measure() -> dict[tuple[str, str], tuple[int, int]]:
    """Return how many jobs were created, and are left running, by who and case."""
    with ExitStack() as stack:
        emulators = {"calm": stack.enter_context(running(job_seconds=600))}
        for who in ("plain", "ours"):
            for case, fault in FAULTS.items():
                emulator = emulators[f"{who}_{case}"] = stack.enter_context(running(job_seconds=600))
                emulator.fault(method="POST", path="/fine_tuning/jobs", **fault)
        url = stack.enter_context(batches())
        connections = {name: emulator.connection for name, emulator in emulators.items()}
        for case in CASES:
            host = f"{url}/{case}/v1"
            connections[f"batches_{case}"] = json.dumps({"conn_type": "openai", "password": "none", "host": host})
        env = {
            "PYTHONPATH": str(ROOT),
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            **{f"AIRFLOW_CONN_{name.upper()}": connection for name, connection in connections.items()},
        }
        airflow = stack.enter_context(Standalone(ROOT / "benchmarks" / "dags", env=env, parallelism=6))
        files = {name: upload(emulator) for name, emulator in emulators.items()}
        run = airflow.trigger("paid_jobs", {"training_files": files})
        for who in WHO:
            thaw(airflow, run, f"{who}-two_at_once")
        if airflow.wait_for_run("paid_jobs", run, timeout=400) != "success":
            raise SystemExit(f"the run did not succeed:\n{airflow.log_tail()}")
        jobs = [job for emulator in emulators.values() for job in emulator.jobs()]
    counts = {
        ("batch", case): (Batches.created[case], Batches.created[case] - len(Batches.cancelled[case])) for case in CASES
    }
    for who in ("plain", "ours"):
        for case in CASES:
            own = [job for job in jobs if (job["metadata"] or {}).get("created_for") == f"{who}-{case}"]
            counts[who, case] = (len(own), sum(job["status"] != "cancelled" for job in own))
    return counts


def main() -> None:
    counts = measure()
    print("| What goes wrong | " + " | ".join(WHO.values()) + " |")
    print("|---|" + "---:|" * len(WHO))
    for case, description in CASES.items():
        cells = []
        for who in WHO:
            created, left = counts[who, case]
            cells.append(f"{created}" if created == left else f"{left} ({created - left} more cancelled at once)")
        print(f"| {description} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
