"""What a thousand waits cost: this provider's trigger and the official OpenAI batch trigger, in one run.

    python benchmarks/waiting.py            # all of it, about six minutes
    python benchmarks/waiting.py --quick    # 1,000 of our waits only, one minute

Each measurement is a fresh process with one event loop, as a triggerer is one, against a counting server on loopback
whose answers take 20 ms (`counting_server`). Prints a table with the targets and `OK` or `MISSED`; exits with 1
when one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
INTERVAL = 5.0
ROUND_SLACK = 2.0


class Server:
    """The counting server, seen from a client."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    async def acontrol(self, path: str, method: str = "POST") -> Any:
        """As `control`, for the loop that is being measured: it must not wait."""
        return await asyncio.to_thread(self.control, path, method)

    def control(self, path: str, method: str = "POST") -> Any:
        request = urllib.request.Request(f"{self.url}/control/{path}", method=method)
        with self.opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def connection(self, number: int, connections: int) -> str:
        """The value of an `AIRFLOW_CONN_...` variable: a project of its own, which sees its own jobs."""
        key = f"benchmark-{number}-of-{connections}"
        return json.dumps({"conn_type": "openai", "password": key, "host": f"{self.url}/v1"})


@contextmanager
def serving() -> Iterator[Server]:
    """A running counting server."""
    command = [sys.executable, "-m", "benchmarks.counting_server"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE.parent)
    assert process.stdin
    assert process.stdout
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


# -- one measurement, in a process of its own


class Loop:
    """Watches an event loop from inside: the longest time for which it served nobody, in each phase."""

    def __init__(self) -> None:
        self.longest: dict[str, float] = {}
        self.longest_cpu: dict[str, float] = {}
        self.collecting: dict[str, float] = {}
        self.phase = ""
        gc.callbacks.append(self._collected)
        self.ours = 0.0
        self.watch()

    def watch(self) -> None:
        self.task = asyncio.create_task(self._tick())

    def look_away(self) -> None:
        """Stop watching, which takes as much of the processor as a thousand waits do."""
        self.task.cancel()

    async def _tick(self) -> None:
        while True:
            before, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.005)
            gap = time.monotonic() - before - 0.005 - self.ours
            self.ours = 0.0
            self.longest[self.phase] = max(gap, self.longest.get(self.phase, 0.0))
            cpu = min(gap, time.thread_time() - cpu)
            self.longest_cpu[self.phase] = max(cpu, self.longest_cpu.get(self.phase, 0.0))

    def _collected(self, event: str, info: dict[str, int]) -> None:
        """Note how long Python's garbage collector stopped everything."""
        if event == "start":
            self.collection_started = time.monotonic()
        else:
            took = time.monotonic() - self.collection_started
            self.collecting[self.phase] = max(took, self.collecting.get(self.phase, 0.0))

    def memory(self) -> float:
        """Memory of this process that nobody else shares, in KB. Looking takes a moment, which is not the waits'."""
        started = time.monotonic()
        gc.callbacks.remove(self._collected)
        gc.collect()
        gc.callbacks.append(self._collected)
        text = Path("/proc/self/smaps_rollup").read_text()
        self.ours += time.monotonic() - started
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))


class Waits:
    """Triggers that wait, run as a triggerer runs them."""

    def __init__(self, who: str, connections: int) -> None:
        self.who = who
        self.connections = connections
        self.tasks: set[asyncio.Task[None]] = set()
        self.events: list[tuple[float, dict[str, Any]]] = []

    def trigger(self, number: int) -> Any:
        conn_id = f"bench_{number % self.connections}"
        if self.who == "official":
            from airflow.providers.openai.triggers.openai import OpenAIBatchTrigger

            return OpenAIBatchTrigger(conn_id, f"batch_{number:06d}", INTERVAL, timeout=3600)
        from airflow_provider_finetune.triggers.job import FineTuningJobTrigger
        from benchmarks.counting_server.jobs import EVENT_EVERY, Jobs

        # As it is deferred: the worker has looked once and knows the job's newest event.
        job_id, now = Jobs.job_id(number), time.time()
        newest = int(600 / EVENT_EVERY)
        return FineTuningJobTrigger(
            conn_id,
            job_id,
            INTERVAL,
            end_time=now + 3600,
            last_event_id=f"ftevent-{job_id}-{newest}",
            last_event_at=int(now - EVENT_EVERY),
        )

    async def start(self, numbers: range) -> None:
        for number in numbers:
            self.tasks.add(asyncio.create_task(self._run(self.trigger(number))))
            await asyncio.sleep(0)

    async def _run(self, trigger: Any) -> None:
        async for event in trigger.run():
            self.events.append((time.time(), event.payload))


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Wait for one job, then for all; let rounds pass; end all jobs; return what it took."""
    server = Server(options.port)
    await server.acontrol(f"start?jobs={options.waits if options.measure == 'ours' else 0}")
    waits = Waits(options.measure, options.connections)
    waits.trigger(0)  # imports what a triggerer imports when it reads the trigger's class
    await asyncio.sleep(0)
    loop = Loop()

    loop.phase = "first wait"
    await waits.start(range(1))
    await _requests(server, 2)
    memory_of_one = loop.memory()

    loop.phase = "start of the waits"
    started = time.monotonic()
    await waits.start(range(1, options.waits))
    await _round(server, options)
    memory_of_all = loop.memory()
    first_round = time.monotonic() - started

    loop.phase = "rounds"
    if options.measure == "ours":
        await asyncio.sleep(2.5 * INTERVAL)
    loop.look_away()
    cpu, wall = time.process_time(), time.time()
    if options.measure == "official":
        await _round(server, options)
    else:
        await asyncio.sleep(options.seconds)
    cpu, seconds = time.process_time() - cpu, time.time() - wall
    after = await server.acontrol("counts", "GET")

    loop.watch()
    loop.phase = "end"
    await server.acontrol("end?in=1")
    await asyncio.gather(*waits.tasks)
    ended_at = (await server.acontrol("counts", "GET"))["ended_at"]
    loop.look_away()
    late = sorted(at - ended_at for at, _ in waits.events)
    good = sum(event.get("event", event.get("status")) in ("ended", "success") for _, event in waits.events)

    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and task is not loop.task]
    in_time = [(at, kind) for at, kind in after["requests"] if wall <= at < wall + seconds]
    starts = [at for at, kind in in_time if kind == "first page of the list"]
    rounds, whole = float(len(starts) - 1), (wall, wall + seconds)
    if options.measure == "official":
        rounds = len(in_time) / options.waits  # a request a wait
    elif rounds > 0:
        whole = starts[0], starts[-1]
    kinds = Counter(kind for at, kind in in_time if whole[0] <= at < whole[1])
    return {
        "waits": options.waits,
        "connections": options.connections,
        "seconds": seconds,
        "rounds": rounds,
        "round_seconds": (whole[1] - whole[0]) / rounds * options.connections,
        "requests": kinds,
        "requests_a_round": sum(kinds.values()) / rounds * options.connections,
        "most_in_a_minute": _most_in_a_minute([at for at, _ in after["requests"]]),
        "longest_step_ms": max(loop.longest.values()) * 1000,
        "longest_steps_ms": {phase: round(gap * 1000) for phase, gap in loop.longest.items()},
        "longest_steps_cpu_ms": {phase: round(gap * 1000) for phase, gap in loop.longest_cpu.items()},
        "garbage_collector_ms": {phase: round(took * 1000) for phase, took in loop.collecting.items()},
        "memory_kb": (memory_of_all - memory_of_one) / max(1, options.waits - 1),
        "memory_of_one_mb": memory_of_one / 1024,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "first_round_seconds": first_round,
        "cpu_a_minute": cpu / seconds * 60,
        "late_median": statistics.median(late),
        "late_max": late[-1],
        "good": good,
        "tasks_left": len(left),
    }


async def _requests(server: Server, count: int) -> None:
    """Return when the server has seen so many requests."""
    while True:
        seen = await server.acontrol("counts", "GET")
        await asyncio.sleep(0.2)
        if sum(seen["kinds"].values()) >= count:
            return


async def _round(server: Server, options: argparse.Namespace) -> None:
    """Return when every wait has been looked at once more."""
    if options.measure == "official":
        seen = sum((await server.acontrol("counts", "GET"))["kinds"].values())
        await _requests(server, seen + options.waits - 1)
    else:
        pages = -(-options.waits // 100)
        await asyncio.sleep(max(2.5 * INTERVAL, 2.5 * pages / 5))


def _most_in_a_minute(times: list[float]) -> int:
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def measured(server: Server, who: str, waits: int, *, connections: int = 1, seconds: float = 30, limit: float) -> Any:
    """Measure in a fresh process; None when it does not end within `limit` seconds."""
    command = [sys.executable, __file__, "--measure", who, "--port", str(server.url.rpartition(":")[2])]
    command += ["--waits", str(waits), "--connections", str(connections), "--seconds", str(seconds)]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        **{f"AIRFLOW_CONN_BENCH_{n}": server.connection(n, connections) for n in range(connections)},
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"],
        "NO_PROXY": "127.0.0.1,localhost",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    print(f"... {waits:,} waits, {who}, {connections} connection(s)", file=sys.stderr, flush=True)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    if process.returncode:
        raise SystemExit(f"{who} with {waits} waits failed")
    return json.loads(output.splitlines()[-1])


# -- the table


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as a Markdown table; the first is the head."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


TARGETS: list[tuple[str, str, float, str]] = [
    ("requests a round", "requests_a_round", 12, "{:.1f}"),
    ("longest step of the event loop, ms", "longest_step_ms", 100, "{:.0f}"),
    ("memory a wait beyond the first, KB", "memory_kb", 20, "{:.1f}"),
    ("CPU seconds a minute", "cpu_a_minute", 2, "{:.2f}"),
    ("a job's end to its event, the last of all, s", "late_max", INTERVAL + ROUND_SLACK, "{:.1f}"),
]


def comparison(official: dict[str, Any] | None, runs: list[dict[str, Any]]) -> tuple[str, bool]:
    """The issue's table; and whether all targets are met by the median of the runs."""
    waits = official["waits"] if official else 0
    rows: list[tuple[str, ...]] = [
        (
            f"{runs[0]['waits']:,} waits, {INTERVAL:.0f} s rounds, 1 connection",
            f"official, {waits:,} waits",
            "ours (median)",
            "runs",
            "target",
            "",
        )
    ]
    fine = True
    for name, key, target, form in TARGETS:
        values = [run[key] for run in runs]
        value = statistics.median(values)
        fine &= value <= target
        theirs = form.format(official[key]) if official else "-"
        each = " ".join(form.format(v) for v in values)
        rows.append((name, theirs, form.format(value), each, f"<= {target:g}", "OK" if value <= target else "MISSED"))
    return table(rows), fine


def scale(runs: list[dict[str, Any]]) -> str:
    """What larger numbers cost."""
    columns: list[tuple[str, str, str]] = [
        ("waits", "waits", "{:,}"),
        ("connections", "connections", "{}"),
        ("seconds a round", "round_seconds", "{:.1f}"),
        ("requests a minute, at most", "most_in_a_minute", "{}"),
        ("longest step, ms", "longest_step_ms", "{:.0f}"),
        ("KB a wait", "memory_kb", "{:.1f}"),
        ("CPU s a minute", "cpu_a_minute", "{:.2f}"),
        ("end to event: median, s", "late_median", "{:.1f}"),
        ("last, s", "late_max", "{:.1f}"),
        ("events", "good", "{:,}"),
        ("tasks left", "tasks_left", "{}"),
    ]
    head = tuple(name for name, _, _ in columns)
    return table([head, *(tuple(form.format(run[key]) for _, key, form in columns) for run in runs)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="1,000 of our waits only, once")
    add("--runs", type=int, default=3, help="how often ours is measured (default: %(default)s)")
    add("--official-waits", type=int, default=200, metavar="N", help="(default: %(default)s)")
    add("--official-limit", type=float, default=400, metavar="S", help="give up on it after (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write every number there too")
    add("--measure", choices=("ours", "official"), help=argparse.SUPPRESS)
    add("--port", type=int, help=argparse.SUPPRESS)
    add("--waits", type=int, default=1000, help=argparse.SUPPRESS)
    add("--connections", type=int, default=1, help=argparse.SUPPRESS)
    add("--seconds", type=float, default=30, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return _measure_here(options)

    import tempfile

    with tempfile.TemporaryDirectory(prefix="airflow-home-") as home, serving() as server:
        os.environ["AIRFLOW_HOME"] = home
        print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
        official = None
        if not options.quick:
            official = measured(server, "official", options.official_waits, limit=options.official_limit)
        runs = [measured(server, "ours", 1000, limit=180) for _ in range(1 if options.quick else options.runs)]
        text, fine = comparison(official, runs)
        print(text)
        first = runs[0]
        print("\nOurs, the first run:")
        print(f"- requests a round: { {kind: round(n / first['rounds'], 1) for kind, n in first['requests'].items()} }")
        print(f"- longest step in each phase, ms: {first['longest_steps_ms']}")
        print(f"- the same, processor time only, ms: {first['longest_steps_cpu_ms']}")
        print(f"- longest run of Python's garbage collector, ms: {first['garbage_collector_ms']}")
        if official:
            print(f"The official trigger's rounds took {official['round_seconds']:.0f} s instead of {INTERVAL:.0f}.")
        if not options.quick:
            if official is None:
                print(f"\nThe official trigger was not done after {options.official_limit:.0f} s and was stopped.")
            more = [
                measured(server, "ours", 1000, connections=50, limit=240),
                measured(server, "ours", 10_000, seconds=60, limit=300),
            ]
            print(f"\n{scale([*runs[:1], *more])}")
            runs += more
        if options.json:
            options.json.write_text(json.dumps({"official": official, "ours": runs}, indent=1))
    return 0 if fine else 1


def _measure_here(options: argparse.Namespace) -> int:
    # As in a triggerer: everything from INFO on is formatted and written somewhere.
    logging.basicConfig(level=logging.INFO, filename=os.devnull, force=True)
    with suppress(KeyboardInterrupt):
        found = asyncio.run(measure(options))
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
