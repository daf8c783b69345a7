"""Two hundred waiting sensors on a real Airflow with PostgreSQL: what they hold and how soon they end.

    python benchmarks/waiting_on_airflow.py            # a quarter of an hour
    python benchmarks/waiting_on_airflow.py --sensors 20

One DAG run with mapped sensors, four workers, one triggerer, the emulator as the endpoint. When all sensors are
deferred, the jobs end one after the other. Prints worker-seconds, requests, and how long after its job's end each
sensor ended. PostgreSQL's server has to be installed (Debian: `postgresql`); it runs in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import openai  # noqa: E402
import psutil  # noqa: E402

from airflow_provider_finetune.emulator import Emulator, running  # noqa: E402
from demo import postgresql  # noqa: E402
from demo.standalone import Standalone  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG_ID, TASK_ID = "many_sensors", "wait"
STILL_RUNNING = {"status": "running", "finished_at": None, "fine_tuned_model": None, "trained_tokens": None}


@dataclass
class Workers:
    """How many workers have been at work, looked at every second."""

    airflow: Standalone
    seconds: float = 0.0
    deferred_seconds: float = 0.0
    all_deferred: bool = False
    stopped: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        last = time.monotonic()
        while not self.stopped.wait(1.0):
            with suppress(psutil.Error):
                tasks = len(self.airflow.pids("worker")) / 2  # a supervisor and the task itself
                now = time.monotonic()
                self.seconds += tasks * (now - last)
                if self.all_deferred:
                    self.deferred_seconds += tasks * (now - last)
                last = now


@dataclass
class Result:
    """What the waits took. Seconds after the end of each sensor's job, sorted: `seen`, `resumed`, `ended`."""

    states: Counter[str]
    waited: float
    held: float
    held_while_deferred: float
    requests: Counter[str]
    minutes: float
    most_in_a_minute: int
    seen: list[float]
    resumed: list[float]
    ended: list[float]
    progress: list[Any]
    blocked: list[float]


@contextmanager
def platform() -> Iterator[tuple[Standalone, Emulator]]:
    """A real Airflow with PostgreSQL, its connection `openai_default` pointing at an emulator."""
    with postgresql.running() as url, running(job_seconds=0) as emulator:
        env = {"AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection, "AIRFLOW__CORE__MAX_MAP_LENGTH": "4096"}
        with Standalone(ROOT / "benchmarks" / "waiting_dags", env, database_url=url) as airflow:
            yield airflow, emulator


def measure(airflow: Standalone, emulator: Emulator, sensors: int, *, spread: float, rest: float) -> Result:
    """Let so many sensors wait, end their jobs one after the other, and return what it took.

    :param spread: seconds over which the jobs end.
    :param rest: seconds for which all sensors are deferred before the first job ends.
    """
    jobs = finished_jobs(emulator, sensors)
    for job in jobs:
        emulator.show(job, **STILL_RUNNING)
    already = len(emulator.requests())
    workers = Workers(airflow)
    watch = threading.Thread(target=workers.watch)
    watch.start()
    try:
        run_id = airflow.trigger(DAG_ID, {"jobs": jobs})
        _until(lambda: _states(airflow, run_id)["deferred"] == sensors, 60 + 10 * sensors)
        say(f"all {sensors} sensors are deferred")
        _until(lambda: not airflow.pids("worker"), 60)  # the last one is said to be deferred a moment before it exits
        workers.all_deferred = True
        time.sleep(rest)
        workers.all_deferred = False
        progress = [airflow.xcom(DAG_ID, run_id, TASK_ID, "progress", n) for n in range(min(sensors, 10))]
        job_ends = {}
        for job in jobs:
            emulator.show(job)
            job_ends[job] = time.time()
            time.sleep(spread / sensors)
        say("all jobs have ended")
        airflow.wait_for_run(DAG_ID, run_id, 60 + 10 * sensors)
    finally:
        workers.stopped.set()
        watch.join()

    tasks = [task for task in airflow.tasks(DAG_ID, run_id) if task["task_id"] == TASK_ID]
    requests = emulator.requests()[already:]
    starts, ends = (
        [datetime.fromisoformat(task[at]).timestamp() for task in tasks] for at in ("start_date", "end_date")
    )
    ended_after = [end - job_ends[jobs[task["map_index"]]] for task, end in zip(tasks, ends, strict=True)]
    times = sorted(request["at"] for request in requests)
    log = "\n".join(path.read_text(errors="replace") for path in airflow.home.glob("*.out"))
    return Result(
        states=Counter(str(task["state"]) for task in tasks),
        waited=sum(ends) - sum(starts),
        held=workers.seconds,
        held_while_deferred=workers.deferred_seconds,
        requests=Counter(_kind(request["path"]) for request in requests),
        minutes=(max(times) - min(times)) / 60,
        most_in_a_minute=max(
            sum(at <= other < at + 60 for other in times) for at in times[:: max(1, len(times) // 50)]
        ),
        seen=sorted(_first_after(requests, end, _shows(job)) for job, end in job_ends.items()),
        resumed=sorted(_first_after(requests, end, _checkpoints(job)) for job, end in job_ends.items()),
        ended=sorted(ended_after),
        progress=progress,
        blocked=[float(found) for found in re.findall(r"async thread was blocked for ([\d.]+) seconds", log)],
    )


def finished_jobs(emulator: Emulator, count: int) -> list[str]:
    """Create so many jobs; return their ids when they have ended."""
    rows = (
        {"messages": [{"role": "user", "content": f"{word} {n}"}, {"role": "assistant", "content": word.upper()}]}
        for n in range(4)
        for word in ("red", "green", "blue")
    )
    content = "\n".join(map(json.dumps, rows)).encode()
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        file = client.files.create(file=("train.jsonl", content), purpose="fine-tune").id
        create = client.fine_tuning.jobs.create
        jobs = [create(model="gpt-4.1-mini-2025-04-14", training_file=file).id for _ in range(count)]
    _until(lambda: all(job["status"] == "succeeded" for job in emulator.jobs()), 60 + count)
    return jobs


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _shows(job: str) -> re.Pattern[str]:
    return re.compile(rf".*/fine_tuning/jobs(/{job})?$")


def _checkpoints(job: str) -> re.Pattern[str]:
    return re.compile(rf".*/fine_tuning/jobs/{job}/checkpoints$")


def _first_after(requests: list[dict[str, Any]], moment: float, path: re.Pattern[str]) -> float:
    found = (request["at"] for request in requests if request["at"] >= moment and path.match(request["path"]))
    return next(found, float("nan")) - moment


def _kind(path: str) -> str:
    last = path.rstrip("/").rpartition("/")[2]
    return {"jobs": "list", "events": "events", "checkpoints": "checkpoints"}.get(last, "retrieve")


def _states(airflow: Standalone, run_id: str) -> Counter[str]:
    return Counter(str(task["state"]) for task in airflow.tasks(DAG_ID, run_id) if task["task_id"] == TASK_ID)


def _until(happened: Any, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:.0f} s")
        time.sleep(1.0)


def say(text: str) -> None:
    """Tell whoever watches how far it is."""
    print(f"... {text}", file=sys.stderr, flush=True)


def middle(values: list[float]) -> str:
    """Return median, 95th percentile and maximum of sorted values."""
    return f"{statistics.median(values):.1f} / {values[int(0.95 * (len(values) - 1))]:.1f} / {values[-1]:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sensors", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--spread", type=float, metavar="S", help="seconds over which the jobs end (2 a sensor)")
    parser.add_argument("--rest", type=float, default=60, metavar="S", help="seconds of pure waiting (%(default)s)")
    options = parser.parse_args()
    if postgresql.binaries() is None:
        print("Skipped: PostgreSQL's server is not installed (Debian: apt-get install postgresql).")
        return 0
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    sensors = options.sensors
    spread = 2.0 * sensors if options.spread is None else options.spread
    with platform() as (airflow, emulator):
        result = measure(airflow, emulator, sensors, spread=spread, rest=options.rest)
    rows = [
        (f"{sensors} sensors, poll_interval 5 s, jobs end over {spread:.0f} s", ""),
        ("task states", dict(result.states)),
        ("sensor-seconds waited", f"{result.waited:,.0f}"),
        ("worker-seconds held, starts and ends of the tasks", f"{result.held:,.0f}"),
        (f"worker-seconds held in {options.rest:.0f} s with all deferred", f"{result.held_while_deferred:.0f}"),
        ("requests", f"{sum(result.requests.values()):,} in {result.minutes:.1f} min {dict(result.requests)}"),
        ("requests, most in a minute", result.most_in_a_minute),
        ("after its job's end, s: median / p95 / max", ""),
        ("- the endpoint told the triggerer", middle(result.seen)),
        ("- a worker fetched the checkpoints", middle(result.resumed)),
        ("- the sensor had ended", middle(result.ended)),
        ("progress in XCom while deferred (of the first 10)", sum(one is not None for one in result.progress)),
        ("Airflow's warnings of a blocked triggerer loop, s", result.blocked or "none"),
    ]
    for name, value in rows:
        print(f"| {name:<55} | {value}")
    return 0 if result.states == {"success": sensors} else 1


if __name__ == "__main__":
    sys.exit(main())
