"""How fast 512 MB go to an endpoint over loopback, beside ``curl -F``; and how much memory that takes.

    python benchmarks/dataset_upload.py

All send the same form to the same server, which reads and drops it. Ways by turns; the table has medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 1024 * 1024
FILE = {"id": "file-1", "object": "file", "bytes": 0, "created_at": 0, "filename": "", "purpose": "fine-tune"}
WAYS = {
    "curl -F": "curl",
    "UploadDatasetOperator, sending only": "window",
    "openai SDK, open file": "file",
    "openai SDK, path (reads it whole)": "path",
}


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=3, metavar=("WAY", "FILE", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    elif options.send:
        print(json.dumps(send(*options.send)))
    elif shutil.which("curl") is None:
        sys.exit("curl is not installed")
    else:
        compare(options.megabytes, options.rounds)


def compare(megabytes: int, rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="dataset-upload-") as folder, server() as url:
        path = Path(folder, "train.jsonl")
        line = b'{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "yes"}]}\n' % (
            b"x" * 900
        )
        with path.open("wb") as file:
            size = megabytes * MB
            while size > 0:
                size -= file.write((line * 1000)[:size])
        taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, name in WAYS.items():
                taken[way].append(by_curl(path, url) if name == "curl" else by_process(name, path, url))
        curl = taken["curl -F"]
        print(f"{megabytes} MB over loopback, {rounds} rounds\n")
        print(f"{'':<38}{'seconds':>9}{'times curl':>12}{'memory growth':>15}")
        for way, found in taken.items():
            seconds = statistics.median(one["seconds"] for one in found)
            times = statistics.median(one["seconds"] / base["seconds"] for one, base in zip(found, curl, strict=True))
            memory = f"{max(one['megabytes'] for one in found):.0f} MB" if "megabytes" in found[0] else ""
            print(f"{way:<38}{seconds:>9.2f}{times:>12.2f}{memory:>15}")


def by_curl(path: Path, url: str) -> dict[str, float]:
    """Return how long curl takes."""
    start = time.perf_counter()
    form = ["-F", "purpose=fine-tune", "-F", f"file=@{path}", "-H", "Expect:"]
    command = ["curl", "-sS", "--noproxy", "*", *form, "-o", os.devnull, f"{url}/files"]
    subprocess.run(command, check=True)
    return {"seconds": time.perf_counter() - start}


def by_process(way: str, path: Path, url: str) -> dict[str, float]:
    """Return how long a fresh Python process takes, once it is ready to send, and how much its memory grows."""
    own = [sys.executable, __file__, "--send", way, str(path), url]
    out = subprocess.run(own, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def send(way: str, path: str, url: str) -> dict[str, float]:
    """Send a file in one of the ways; return seconds and megabytes of growth."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    os.environ["AIRFLOW_CONN_OPENAI_DEFAULT"] = json.dumps({"conn_type": "openai", "password": "key", "host": url})
    from airflow_provider_finetune.datasets.stored import Content
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.hooks.upload import DatasetUpload, Source

    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with open(path, "rb", buffering=0) as file:
        upload = DatasetUpload(
            FineTuningHook(),
            Source(path, file, Content(sha256, os.path.getsize(path))),
            purpose="fine-tune",
            seconds_kept=None,
            poll_interval=1,
            timeout=60,
            log=logging.getLogger(__name__),
        )
        client = upload.hook.conn
        client.files.list()  # the first request imports and connects
        idle = resident("VmRSS")
        start = time.perf_counter()
        if way == "window":
            upload.sent()
        elif way == "file":
            client.files.create(file=("train.jsonl", file), purpose="fine-tune")
        else:
            client.files.create(file=Path(path), purpose="fine-tune")
        return {"seconds": time.perf_counter() - start, "megabytes": (resident("VmHWM") - idle) / 1024}


def resident(name: str) -> int:
    """Return a memory figure of this process in KiB, as Linux counts it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)))


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server, in a process of its own, that drops what it is sent."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def serve() -> None:
    """Answer every request with a file, once its body has come; forget the body."""
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """Serve one connection until the client leaves."""
    buffer = bytearray(MB)
    with connection, connection.makefile("rb") as reader:
        while first := reader.readline():
            length = 0
            while (header := reader.readline().strip()) != b"":
                name, _, value = header.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            while length > 0:
                length -= reader.readinto(memoryview(buffer)[: min(length, MB)])
            shown = {"object": "list", "data": [], "has_more": False} if first.startswith(b"GET") else FILE
            body = json.dumps(shown).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)


if __name__ == "__main__":
    main()
