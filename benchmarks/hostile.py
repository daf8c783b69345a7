"""What a hostile endpoint does to a triggerer: its event loop, its memory, and the looks at other endpoints' jobs.

    python benchmarks/hostile.py                  # all attacks, about five minutes
    python benchmarks/hostile.py bomb "deep"      # some of them

One process with one event loop, as a triggerer is one. Ten waits on an honest endpoint, a look a second each, and ten
on the hostile one, of which each attack is one (`tests/hostile/endpoint.py`, a process of its own). The first line is
the same without an attack. Prints a table with the targets and `OK` or `MISSED`; exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
HONEST = "honest too"
INTERVAL = 1.0
WAITS = 10
SECONDS = 10.0
#: Milliseconds, MB, and share of the calm rhythm.
LONGEST_STEP, MOST_MEMORY, LEAST_RHYTHM = 100.0, 32.0, 0.9


@contextmanager
def serving() -> Iterator[int]:
    """A running hostile endpoint: its port."""
    command = [sys.executable, "-m", "tests.hostile.endpoint"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE.parent)
    assert process.stdin
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class Loop:
    """Watches an event loop from inside: the longest time for which it served nobody, and what of it was computing.

    On a busy machine a step lasts longer than it computes. A thread that computes holds up the loop too, so the time of
    the whole process counts.
    """

    def __init__(self) -> None:
        self.longest = self.longest_cpu = 0.0
        self.task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            before, cpu = time.monotonic(), time.process_time()
            await asyncio.sleep(0.005)
            gap = time.monotonic() - before - 0.005
            self.longest = max(self.longest, gap)
            self.longest_cpu = max(self.longest_cpu, min(gap, time.process_time() - cpu))


def memory(name: str) -> float:
    """Return a figure of this process's memory in MB: VmRSS as it is, VmHWM at its highest."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def memory_now() -> float:
    """Return the memory of this process in MB; from here on, VmHWM is the highest since."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


async def measure(port: int, attack: str, seconds: float) -> dict[str, float]:
    """Wait on the honest and the attacked endpoint for so long; return what it took."""
    from airflow_provider_finetune.triggers.job import FineTuningJobTrigger

    for conn_id in ("calm", "hostile"):
        host = f"http://127.0.0.1:{port}/{(HONEST if conn_id == 'calm' else attack).replace(' ', '_')}/v1"
        os.environ[f"AIRFLOW_CONN_BENCH_{conn_id.upper()}"] = (
            f'{{"conn_type": "openai", "password": "benchmark-key", "host": "{host}"}}'
        )

    def wait(conn_id: str, number: int) -> Any:
        return FineTuningJobTrigger(f"bench_{conn_id}", f"ftjob-{number}", INTERVAL, end_time=time.time() + 3600)

    async def run(trigger: Any) -> None:
        async for _ in trigger.run():
            pass

    before = memory_now()
    tasks = [asyncio.create_task(run(wait("calm", number))) for number in range(WAITS)]
    looked = (await asyncio.to_thread(counts, port)).get(HONEST, 0)
    while (await asyncio.to_thread(counts, port)).get(HONEST, 0) <= looked:  # noqa: ASYNC110 - another process counts
        await asyncio.sleep(0.2)
    loop, looks = Loop(), await asyncio.to_thread(counts, port)
    tasks += [asyncio.create_task(run(wait("hostile", number))) for number in range(WAITS)]
    await asyncio.sleep(seconds)
    loop.task.cancel()
    calm = (await asyncio.to_thread(counts, port)).get(HONEST, 0) - looks.get(HONEST, 0)
    found = {"step": loop.longest * 1000, "cpu": loop.longest_cpu * 1000, "memory": memory("VmHWM") - before}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found | {"looks": calm / seconds}


def counts(port: int) -> dict[str, int]:
    """Return how many requests each attack has got."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://127.0.0.1:{port}/counts/"
    ) as answer:
        found: dict[str, int] = json.load(answer)
    return found


def main() -> int:
    from tests.hostile.endpoint import ATTACKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", help="; ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each attack")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    table, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115 - what the waits log is no part of it
    print(f"{'attack':24} {'longest step':>12} {'computing':>10} {'memory':>8} {'looks/s':>8}", file=table)
    missed = 0
    baseline: dict[str, float] = {}
    with serving() as port:
        for attack in ("none", "none", *(options.attacks or list(ATTACKS)[2:])):
            found = asyncio.run(measure(port, "calm" if attack == "none" else attack, options.seconds))
            if attack == "none":
                warm_up, baseline = not baseline, found
                if warm_up:  # imports, and the memory that they take
                    continue
            # What the machine does to a loop that is not attacked is not the attack's.
            good = (
                min(found["step"] - baseline["step"], found["cpu"]) <= LONGEST_STEP
                and found["memory"] <= MOST_MEMORY
                # Two looks more or less are chance.
                and found["looks"] + 2 / options.seconds >= LEAST_RHYTHM * baseline["looks"]
            )
            missed += not good
            print(
                f"{attack:24} {found['step']:9.0f} ms {found['cpu']:7.0f} ms {found['memory']:5.1f} MB "
                f"{found['looks']:8.2f}  {'OK' if good else 'MISSED'}",
                file=table,
                flush=True,
            )
    print(
        f"Targets: no step longer than {LONGEST_STEP:.0f} ms, no more than {MOST_MEMORY:.0f} MB, and at least "
        f"{LEAST_RHYTHM:.0%} of the looks at the honest endpoint that it gets without an attack (the first line).",
        file=table,
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
