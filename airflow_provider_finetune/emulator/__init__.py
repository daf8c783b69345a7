"""A local server of the OpenAI fine-tuning protocol, for demonstrations, for our tests and for yours.

    from airflow_provider_finetune.emulator import running

    with running(job_seconds=2) as emulator:
        client = openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key)

The server is a process of its own; this module needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Emulator", "Endpoint", "running"]

Endpoint = Literal[
    "openai",
    "azure",
    "bedrock",
    "nebius",
    "crusoe",
    "unsloth",
    "llmariner",
    "tenstorrent",
    "zhipu",
    "litellm",
    "portkey",
]
"""An endpoint that the emulator can be like."""

SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 5.0


@dataclass(frozen=True)
class Emulator:
    """A running emulator: where it is, and how to make it misbehave."""

    base_url: str
    api_key: str = field(repr=False)
    pid: int

    @property
    def connection(self) -> str:
        """The value of an ``AIRFLOW_CONN_...`` variable for an Airflow connection to this emulator."""
        return json.dumps({"conn_type": "openai", "password": self.api_key, "host": self.base_url})

    def fault(self, kind: str, method: str = "*", path: str = "/**", **more: Any) -> dict[str, Any]:
        """Make the next request that matches go wrong; return the fault as the emulator keeps it.

        :param kind: ``lose_request``, ``lose_answer``, ``cut_body``, ``status``, ``delay``, ``hang``, ``drip``,
            ``flood``, ``bomb``, ``redirect`` or ``impostor``.
        :param path: below ``/v1``; ``*`` is anything but a slash, ``**`` anything.
        :param more: ``times`` (1; ``None`` for always), ``skip``, ``status``, ``code``, ``type``, ``message``,
            ``param``, ``retry_after``, ``takes_effect``, ``seconds``, ``megabytes``, ``location``.
        """
        kept: dict[str, Any] = self._admin("POST", "/faults", {"kind": kind, "method": method, "path": path, **more})
        return kept

    def faults(self) -> list[dict[str, Any]]:
        """Return all faults, with ``hits`` so far and ``times`` left."""
        found: list[dict[str, Any]] = self._admin("GET", "/faults")["data"]
        return found

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._admin("DELETE", "/faults")

    def set(self, **settings: Any) -> dict[str, Any]:
        """Change switches of the emulator; return all of them.

        :param settings: ``like``, ``job_seconds``, ``refuse_training``, ``list_lag_seconds``,
            ``ignore_metadata_filter``, ``drop_metadata``, ``keeps``, ``refuses``, ``duplicate_jobs``, ``late_seconds``,
            ``repeat_events``, ``job_fields``.
        """
        changed: dict[str, Any] = self._admin("PATCH", "/settings", settings)
        return changed

    def jobs(self) -> list[dict[str, Any]]:
        """Return every job as it is, oldest first, whatever faults, lag and filters hide from clients."""
        found: list[dict[str, Any]] = self._admin("GET", "/jobs")["data"]
        return found

    def show(self, job_id: str, **fields: Any) -> None:
        """Make a job show these fields instead of its own (``status="pending"``); without fields, its own again."""
        self._admin("PUT", f"/jobs/{job_id}/shown", fields)

    def add_model(self, name: str, shutdown_date: str | None = None) -> None:
        """Add a base model, or change its shutdown date (YYYY-MM-DD)."""
        self._admin("POST", "/models", {"name": name, "shutdown_date": shutdown_date})

    def deploy(self, model: str, name: str | None = None) -> None:
        """Make a fine-tuned model answer under a name (its own by default), where it has to be deployed first.

        :raises ValueError: there is no such model.
        """
        self._admin("POST", "/deployments", {"model": model, "name": name or ""})

    def requests(self, method: str = "*", path: str = "/**") -> list[dict[str, Any]]:
        """Return the requests that reached the server: ``{method, path, at, status, fault}``, oldest first."""
        query = urllib.parse.urlencode({"method": method, "path": path})
        found: list[dict[str, Any]] = self._admin("GET", f"/requests?{query}")["data"]
        return found

    def reset(self) -> None:
        """Forget jobs, files, fine-tuned models, faults and requests; switches are as at the start."""
        self._admin("POST", "/reset", {})

    def _admin(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the URL is our own
            self.base_url.removesuffix("/v1") + "/admin" + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"},
        )
        # Without the proxies of the environment, which do not know this machine's loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                body = json.load(e)
                raise ValueError(body.get("detail") or body["error"]["message"]) from None


@contextmanager
def running(
    *,
    like: Endpoint = "openai",
    job_seconds: float = 2,
    port: int = 0,
    api_key: str | None = None,
    faults: Sequence[str] = (),
    models: Mapping[str, str | None] | None = None,
    options: Sequence[str] = (),
) -> Iterator[Emulator]:
    """Start an emulator; yield it. It is stopped at the end of the block, and also when this process dies.

    :param like: the endpoint that it behaves like.
    :param job_seconds: seconds that a job takes; 0 is as fast as possible.
    :param port: 0 takes a free one.
    :param api_key: the key that clients have to send; a random one by default.
    :param faults: as ``--fault`` takes them, such as ``"lose_answer POST /fine_tuning/jobs"``.
    :param models: further base models, with their shutdown dates (YYYY-MM-DD or ``None``).
    :param options: further options of the command line.
    :raises RuntimeError: it does not start; its stderr says why.
    """
    key = api_key or secrets.token_urlsafe(24)
    command = [sys.executable, "-m", f"{__name__}", "--stop-with-stdin"]
    command += ["--like", like, "--port", str(port), "--job-seconds", str(job_seconds), *options]
    for fault in faults:
        command += ["--fault", fault]
    for name, date in (models or {}).items():
        command += ["--model", f"{name}={date}" if date else name]
    environment = {
        **os.environ,
        # The server has to find the same package, and the key must not show in the list of processes.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "FINETUNE_EMULATOR_API_KEY": key,
    }
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    try:
        yield Emulator(_base_url(process), key, process.pid)
    finally:
        _stop(process)


def _base_url(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    is_ready, _, _ = select.select([process.stdout], [], [], SECONDS_TO_START)
    line = process.stdout.readline().decode().strip() if is_ready else ""
    if not line:
        raise RuntimeError("The emulator did not start; see its message on stderr.")
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
