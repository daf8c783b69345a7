"""How fast a dataset is checked, beside the usual checker; and how much memory a gigabyte takes.

    python benchmarks/dataset_check.py

Speed is CPU time on one core, baseline and check by turns, so that what else the machine does hits both. The baseline
loads every line with ``json.loads`` and loops over the messages, as the format check of OpenAI's cookbook does
(https://cookbook.openai.com/examples/chat_finetuning_data_prep); it neither hashes, nor finds duplicates, nor counts
tokens. The check does all of that.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MB = 1_000_000
PROSE = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what about "
    "than into them can only other time new some could these two may first then do any like my now over such man even "
    "most made after also did many off before must well back through years much your way down should because long"
)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50_000, help="of about 1 KB, for speed")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-examples", type=int, default=900_000, help="for memory; 0 leaves it out")
    parser.add_argument("--measure-memory", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        print(json.dumps(peak_over_idle(options.measure_memory)))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="dataset-check-") as folder:
        print(f"{'dataset':<22}{'cookbook':>12}{'bare loop':>12}{'check':>12}{'over cookbook':>15}{'over loop':>11}")
        print(f"{'':<22}{'MB/s':>12}{'MB/s':>12}{'MB/s':>12}{'times':>15}{'times':>11}")
        for name, made in DATASETS.items():
            path = Path(folder, "train.jsonl")
            write(path, made, options.examples)
            compare(name, path, options.rounds)
        if options.memory_examples:
            path = Path(folder, "large.jsonl")
            write(path, plain, options.memory_examples)
            own = [sys.executable, __file__, "--measure-memory", str(path)]
            found = json.loads(subprocess.run(own, check=True, capture_output=True, text=True).stdout)
            print(
                f"\nmemory for {path.stat().st_size / MB:,.0f} MB, {found['examples']:,} examples, "
                f"{found['duplicates']} duplicates found: {found['megabytes']:.0f} MB over the idle process "
                f"(limit 100), in {found['seconds']:.1f} s"
            )


def compare(name: str, path: Path, rounds: int) -> None:
    """Print a line of the table: medians over the rounds."""
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        times["cookbook"].append(seconds(lambda: cookbook(path)))
        times["loop"].append(seconds(lambda: loop(path)))
        times["check"].append(seconds(lambda: check(path, tokens="estimate")))
    megabytes = path.stat().st_size / MB
    speed = {what: megabytes / statistics.median(taken) for what, taken in times.items()}
    over = {
        what: statistics.median(a / b for a, b in zip(times[what], times["check"], strict=True))
        for what in ("cookbook", "loop")
    }
    print(
        f"{name:<22}{speed['cookbook']:>12.0f}{speed['loop']:>12.0f}{speed['check']:>12.0f}"
        f"{over['cookbook']:>15.2f}{over['loop']:>11.2f}",
        flush=True,
    )


def seconds(work: Callable[[], Any]) -> float:
    """Return the CPU time that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cookbook(path: Path) -> dict[str, int]:
    """Return the format errors of a file, as the checker of OpenAI's cookbook counts them."""
    errors: dict[str, int] = defaultdict(int)
    with path.open() as file:
        for line in file:
            example = json.loads(line)
            if not isinstance(example, dict):
                errors["data_type"] += 1
                continue
            messages = example.get("messages", None)
            if not messages:
                errors["missing_messages_list"] += 1
                continue
            for message in messages:
                if "role" not in message or "content" not in message:
                    errors["message_missing_key"] += 1
                if any(k not in ("role", "content", "name", "function_call", "weight") for k in message):
                    errors["message_unrecognized_key"] += 1
                if message.get("role", None) not in ("system", "user", "assistant", "function"):
                    errors["unrecognized_role"] += 1
                content = message.get("content", None)
                function_call = message.get("function_call", None)
                if (not content and not function_call) or not isinstance(content, str):
                    errors["missing_content"] += 1
            if not any(message.get("role", None) == "assistant" for message in messages):
                errors["example_missing_assistant_message"] += 1
    return errors


def loop(path: Path) -> int:
    """Return the number of messages with a good role and content: the least that a checker could do."""
    good = 0
    with path.open("rb") as file:
        for line in file:
            for message in json.loads(line)["messages"]:
                role, content = message.get("role"), message.get("content")
                if role in ("system", "user", "assistant", "tool") and isinstance(content, str):
                    good += 1
    return good


def peak_over_idle(path: str) -> dict[str, Any]:
    """Return how much memory a check takes at its peak, over the process that is ready to check."""
    idle = resident("VmRSS")
    start = time.perf_counter()
    report = check(path, tokens="estimate")
    return {
        "seconds": time.perf_counter() - start,
        "megabytes": (resident("VmHWM") - idle) * 1024 / MB,
        "examples": report.training.examples,
        "duplicates": report.warnings.by_kind["duplicate"],
    }


def resident(name: str) -> int:
    """Return a memory figure of this process in KiB, as Linux counts it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))


def text(length: int) -> str:
    """Return prose with line breaks, quotes and a few accents."""
    vocabulary = PROSE.split()
    words: list[str] = []
    while length > 0:
        word = random.choice(vocabulary)
        length -= len(word) + 1
        words.append(random.choices([word, word + ".\n", f'"{word}"', word + "é"], [100, 3, 1, 1])[0])
    return " ".join(words)


TEXTS: list[str] = []


def said(length: int) -> str:
    """Return one of many texts of a length; making new ones takes longer than checking them."""
    start = random.randrange(len(TEXTS[0]) - length)
    return TEXTS[0][start : start + length]


def plain(n: int) -> dict[str, Any]:
    """Return an example of 1 KB: system, user, assistant."""
    return {
        "messages": [
            {"role": "system", "content": said(60)},
            {"role": "user", "content": f"{n} {said(400)}"},
            {"role": "assistant", "content": said(400)},
        ]
    }


def turns(n: int) -> dict[str, Any]:
    """Return an example of one to five turns, half of them with a system message."""
    messages = [{"role": "system", "content": said(60)}] if n % 2 else []
    for _ in range(random.randint(1, 5)):
        messages += [{"role": "user", "content": f"{n} {said(150)}"}, {"role": "assistant", "content": said(150)}]
    return {"messages": messages}


def weighted(n: int) -> dict[str, Any]:
    """Return an example of several turns, of which some are not to be learned."""
    row = turns(n)
    for message in row["messages"]:
        if message["role"] == "assistant":
            message["weight"] = random.choice([0, 1, 1])
    return row


def calling(n: int) -> dict[str, Any]:
    """Return an example of 1 KB with a tool, a call and its result."""
    function = {"name": "find", "arguments": json.dumps({"text": said(60)})}
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {
        "messages": [
            {"role": "user", "content": f"{n} {said(150)}"},
            {"role": "assistant", "tool_calls": [{"id": f"call_{n}", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": f"call_{n}", "content": said(150)},
            {"role": "assistant", "content": said(150)},
        ],
        "tools": [{"type": "function", "function": {"name": "find", "parameters": parameters}}],
    }


def damaged(n: int) -> dict[str, Any]:
    """Return an example of 1 KB; one of a hundred is bad."""
    row = plain(n)
    if n % 100 == 50:
        row["messages"][1]["role"] = "usr"
    return row


DATASETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "1 KB lines": plain,
    "1 to 5 turns": turns,
    "turns with weights": weighted,
    "tool calls": calling,
    "1 % bad lines": damaged,
}


def write(path: Path, made: Callable[[int], dict[str, Any]], count: int) -> None:
    """Write a file of examples; the last repeats the first."""
    random.seed(4)
    if not TEXTS:
        TEXTS.append(text(400_000))

    def rows() -> Iterator[dict[str, Any]]:
        first = made(0)
        yield first
        yield from (made(n) for n in range(1, count - 1))
        yield first

    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows())


if __name__ == "__main__":
    main()
