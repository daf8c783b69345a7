"""An endpoint whose answers a test decides, and the operator without an Airflow around it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.operators.model import EvaluateModelOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EQUAL = {
    "type": "string_check",
    "name": "equal",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "operation": "eq",
}
SECRET = "s3cr3t-example-text"


class TaskInstance:
    """Keeps what is pushed to XCom."""

    dag_id, run_id, task_id, map_index = "dag", "run", "evaluate", -1

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = json.loads(json.dumps(value))


@dataclass
class Endpoint:
    """Answers chat requests with what ``reply`` makes of them, and keeps them."""

    reply: Callable[[dict[str, Any]], Any] = lambda body: body["messages"][-1]["content"]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        with self.lock:
            self.bodies.append(body)
            said = self.reply(body)
        if isinstance(said, tuple):
            status, headers, content = said
            return status, headers, content
        message = said if isinstance(said, dict) else {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, {}, {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint that repeats the question, unless a test says otherwise; ``openai_default`` points at it."""
    found = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, headers, content = found.answer(self.path, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "content-type": "application/json", "content-length": len(data)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    connection = {
        "conn_type": "openai",
        "password": "sk-not-secret-0123456789",
        "host": f"http://127.0.0.1:{server.server_port}/v1",
    }
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", json.dumps(connection))
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def chat(count: int, reply: Callable[[int], str] = lambda n: f"{SECRET} {n}") -> list[dict[str, Any]]:
    """Examples whose reference is the question itself, unless told otherwise."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"{SECRET} {n}"},
                {"role": "assistant", "content": reply(n), "weight": 1},
            ]
        }
        for n in range(count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    return write(tmp_path / "evaluation.jsonl", chat(20))


def evaluate(**arguments: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the operator; return the result and the XComs."""
    ti = TaskInstance()
    operator = EvaluateModelOperator(task_id="evaluate", **{"models": "tuned", "grader": EQUAL, **arguments})
    return json.loads(json.dumps(operator.execute({"ti": ti}))), ti.xcom
