"""What an evaluation costs beside the answers: throughput, CPU time and memory, at a server that answers in 100 ms.

Everything is asked over HTTP on loopback; the server is a process of its own and does as little as possible. Beside it
runs the same work with a bare loop around the SDK's client, which keeps and grades nothing, and, where a Python with
inspect-ai is given (``--inspect``), inspect-ai's own runner::

    python benchmarks/evaluation.py [--examples 3200] [--many 100000] [--inspect /path/to/its/python]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CONCURRENCY, SECONDS = 32, 0.1
LEAST_OF_THE_ALLOWED, MOST_CPU_MS, MOST_MB = 0.9, 1.0, 150
GRADER = {
    "type": "string_check",
    "name": "equal",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "operation": "eq",
}
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)


class _Server(asyncio.Protocol):
    """Reads requests with a content-length, and answers each after a while."""

    seconds = SECONDS

    def connection_made(self, transport: Any) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + size:
                return
            self.data = self.data[end + 4 + size :]
            asyncio.get_running_loop().call_later(self.seconds, self.transport.write, HEAD + ANSWER)


async def serve(seconds: float) -> None:
    _Server.seconds = seconds
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def measured(work: Any) -> dict[str, float]:
    """Run the work; return wall and CPU seconds, and by how many MB the peak of memory rose."""
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    work()
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "rise": (after.ru_maxrss - before.ru_maxrss) / 1024}


def ours(path: str, port: int, concurrency: int) -> dict[str, float]:
    """The operator, with all that it does: checks, answers file, grades, statistics, report."""
    connection = {"conn_type": "openai", "password": "none", "host": f"http://127.0.0.1:{port}/v1"}
    os.environ["AIRFLOW_CONN_OPENAI_DEFAULT"] = json.dumps(connection)
    from airflow_provider_finetune.operators.model import EvaluateModelOperator

    class TaskInstance:
        dag_id, run_id, task_id, map_index, try_number = "benchmark", "run", "evaluate", -1, 1

        def xcom_push(self, key: str, value: Any) -> None:
            pass

    def work(dataset: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            result = EvaluateModelOperator(
                task_id="evaluate",
                models="m",
                dataset=dataset,
                grader=GRADER,
                answers=f"{folder}/answers.jsonl",
                concurrency=concurrency,
            ).execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]
            assert result["models"][0]["score"] == 1

    with tempfile.TemporaryDirectory() as folder:
        work(write(Path(folder) / "one.jsonl", 1))  # loads all that is loaded when it is first used
    return measured(lambda: work(path))


def bare(path: str, port: int, concurrency: int) -> dict[str, float]:
    """The SDK's client in as many tasks; nothing is kept or graded."""
    import openai

    rows = [json.loads(line)["messages"][:-1] for line in Path(path).read_text().splitlines()]

    async def run(left: Iterator[Any]) -> None:
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:

            async def worker() -> None:
                for messages in left:
                    await client.chat.completions.create(model="m", messages=messages, temperature=0)

            await asyncio.gather(*(worker() for _ in range(concurrency)))

    asyncio.run(run(iter(rows[:1])))
    return measured(lambda: asyncio.run(run(iter(rows))))


INSPECT = """
import json, resource, sys, tempfile, time
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import get_model, ChatMessageUser
from inspect_ai.scorer import exact
path, port, concurrency = sys.argv[1], sys.argv[2], int(sys.argv[3])
rows = [json.loads(line)["messages"] for line in open(path)]
samples = [Sample(input=m[0]["content"], target=m[-1]["content"]) for m in rows]
model = get_model("openai/m", base_url=f"http://127.0.0.1:{port}/v1", api_key="none", responses_api=False)
with tempfile.TemporaryDirectory() as folder:
    eval(Task(dataset=samples[:1], scorer=exact()), model=model, log_dir=folder, display="none")
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    log = eval(Task(dataset=samples, scorer=exact()), model=model, max_connections=concurrency,
               max_samples=4*concurrency, log_dir=folder, display="none", temperature=0)[0]
assert log.status == "success", log.error
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps({"wall": time.monotonic() - started, "cpu": cpu, "rise": (after.ru_maxrss - before.ru_maxrss) / 1024}))
"""


def in_a_process(*command: str) -> dict[str, float]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(path: Path, count: int) -> str:
    with path.open("w") as file:
        for n in range(count):
            turns = [{"role": "user", "content": f"Is {n} a number?"}, {"role": "assistant", "content": "yes"}]
            file.write(json.dumps({"messages": turns}) + "\n")
    return str(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=3200)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--inspect", help="a Python that has inspect-ai")
    arguments = parser.parse_args()
    here = [sys.executable, "-W", "ignore", __file__]
    servers = [
        subprocess.Popen([*here, "serve", str(seconds)], stdout=subprocess.PIPE, text=True)
        for seconds in (SECONDS, 0.001)
    ]
    try:
        ports = [str(int(server.stdout.readline())) for server in servers if server.stdout]
        with tempfile.TemporaryDirectory() as folder:
            some = write(Path(folder) / "some.jsonl", arguments.examples)
            many = write(Path(folder) / "many.jsonl", arguments.many)
            task = (some, ports[0], str(CONCURRENCY))
            runs = {
                "EvaluateModelOperator": in_a_process(*here, "ours", *task),
                "bare loop around the SDK": in_a_process(*here, "bare", *task),
            }
            if arguments.inspect:
                runs["inspect-ai"] = in_a_process(arguments.inspect, "-c", INSPECT, *task)
            large = in_a_process(*here, "ours", many, ports[1], str(CONCURRENCY))
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    allowed = CONCURRENCY / SECONDS
    print(f"{arguments.examples:,} examples, {CONCURRENCY} at a time, {SECONDS * 1000:.0f} ms an answer")
    print(f"{'':<28}{'answers/s':>10}{'of allowed':>12}{'CPU ms/example':>16}{'memory, MB':>12}")
    for name, run in runs.items():
        rate, cpu = arguments.examples / run["wall"], 1000 * run["cpu"] / arguments.examples
        print(f"{name:<28}{rate:>10.0f}{rate / allowed:>12.1%}{cpu:>16.2f}{run['rise']:>12.0f}")
    own, sdk = runs["EvaluateModelOperator"], runs["bare loop around the SDK"]
    overhead = 1000 * (own["cpu"] - sdk["cpu"]) / arguments.examples
    print(f"CPU beyond the SDK's own: {overhead:.2f} ms an example; expected at most {MOST_CPU_MS}")
    print(f"{arguments.many:,} examples: {large['rise']:.0f} MB over idle; expected at most {MOST_MB}")
    # Where the SDK alone takes a whole core for less than the server allows, no more can be had.
    kept = max(arguments.examples / own["wall"] / allowed, sdk["wall"] / own["wall"])
    print(f"Throughput: {kept:.1%} of what the server allows, or of the bare loop; expected {LEAST_OF_THE_ALLOWED:.0%}")
    is_good = kept >= LEAST_OF_THE_ALLOWED and overhead <= MOST_CPU_MS and large["rise"] <= MOST_MB
    return 0 if is_good else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", seconds]:
            asyncio.run(serve(float(seconds)))
        case [("ours" | "bare") as name, path, port, concurrency]:
            print(json.dumps({"ours": ours, "bare": bare}[name](path, int(port), int(concurrency))))
        case _:
            sys.exit(main())
