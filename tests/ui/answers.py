"""A small server that answers as Airflow's REST API does, for states that a real run does not reach cheaply."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from airflow_provider_finetune.plugin import HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

UI = Path(__file__).parents[2] / "airflow_provider_finetune" / "ui"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass
class Answers:
    """One task instance and its XComs, as they are to be answered.

    :param below: the path that Airflow is served under.
    """

    below: str = ""
    instance: dict[str, Any] | None = None
    xcoms: dict[str, Any] = field(default_factory=dict)
    version: str = "3.3.2"
    status: int = 200
    requests: list[str] = field(default_factory=list)
    url: str = ""
    _set_at: dict[str, int] = field(default_factory=dict)

    def task(self, state: str = "deferred", operator: str = "FineTuningJobSensor", try_number: int = 1) -> None:
        self.instance = {"state": state, "operator": operator, "operator_name": operator, "try_number": try_number}

    def set(self, **xcoms: Any) -> None:
        """Set XComs, as a trigger or a worker does; each setting has a time of its own."""
        for key, value in xcoms.items():
            self.xcoms[key] = value
            self._set_at[key] = self._set_at.get(key, 0) + 1

    def clear(self) -> None:
        self.xcoms.clear()

    def page(self, **also: str) -> str:
        task = {"dag": "train", "run": "manual__2026-11-25T01:02:03+00:00", "task": "wait", "map": "-1", **also}
        return f"{self.url}{self.below}/finetune/page.html?{urlencode(task)}"

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return what the API answers; None where it does not know it."""
        if path.endswith("/version"):
            return {"version": self.version}
        run = "/dags/train/dagRuns/manual__2026-11-25T01:02:03+00:00/taskInstances/wait"
        index = query.get("map_index", ["-1"])[0]
        if path in (run, f"{run}/7"):
            return self.instance
        if path == f"{run}/xcomEntries":
            entries = [{"key": key, "timestamp": str(at), "map_index": index} for key, at in self._set_at.items()]
            return {"xcom_entries": [entry for entry in entries if entry["key"] in self.xcoms]}
        key = path.removeprefix(f"{run}/xcomEntries/")
        if key in self.xcoms:
            return {"key": key, "timestamp": str(self._set_at[key]), "value": self.xcoms[key]}
        return None


@contextmanager
def serving(answers: Answers) -> Iterator[Answers]:
    """Serve the page and the answers on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            at = urlsplit(self.path)
            path = unquote(at.path)
            answers.requests.append(path)
            if path.startswith(f"{answers.below}/finetune/"):
                file = UI / path.rpartition("/")[2]
                self._send(200, TYPES[file.suffix], file.read_bytes(), HEADERS)
                return
            for version in ("v1", "v2"):
                if path.startswith(f"{answers.below}/api/{version}/"):
                    found = answers.answer(path.removeprefix(f"{answers.below}/api/{version}"), parse_qs(at.query))
                    status = answers.status if answers.status != 200 else 200 if found is not None else 404
                    self._send(status, "application/json", json.dumps(found).encode(), {})
                    return
            self._send(404, "text/plain", b"", {})

        def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "content-type": kind, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    answers.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
