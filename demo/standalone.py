"""A real Airflow in a temporary home on free ports, for the demo, the system tests and the benchmarks.

    with Standalone("example_dags", env={"AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection}) as airflow:
        run_id = airflow.trigger("retrain")
        state = airflow.wait_for_run("retrain", run_id, timeout=300)

Whatever happens, Ctrl-C and SIGTERM included, everything that was started is stopped again.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType, TracebackType

PASSWORDS = "passwords.json"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
FINISHED = frozenset({"success", "failed"})
SECONDS_TO_START = 240.0
SECONDS_TO_STOP = 5.0


class AirflowTrouble(RuntimeError):
    """Airflow did not start, a DAG does not import, or the API refused."""


class Standalone:
    """Airflow's scheduler, DAG processor, triggerer and API server, with a LocalExecutor.

    :param dags_folder: the folder with the DAG files.
    :param env: further environment: settings and connections. No ``AIRFLOW_…`` variable of this process is inherited.
    :param database_url: SQLAlchemy URL of an empty metadata database; SQLite in the home by default.
    :param parallelism: worker processes.
    :param python: the interpreter whose Airflow is run.
    :param path: the path that Airflow is served under, such as ``/airflow``.
    :param users: people who log in, each with a role (``VIEWER``, ``USER``, ``OP``, ``ADMIN``, or empty for none); the
        first one is this class's own. By default everybody may do everything.
    :param mode: one ``airflow standalone``, or its four components as processes of their own, which can be killed and
        started again one by one.
    """

    def __init__(
        self,
        dags_folder: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        *,
        database_url: str | None = None,
        parallelism: int = 4,
        python: str = sys.executable,
        path: str = "",
        users: Mapping[str, str] | None = None,
        mode: Literal["standalone", "components"] = "standalone",
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="airflow-standalone-"))
        self.python = python
        self.mode = mode
        port, *log_ports = _free_ports(3)
        self.url = f"http://127.0.0.1:{port}{path}"
        self.users = dict(users or {})
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
            # `airflow standalone` finds its components on the PATH.
            "PATH": os.pathsep.join([str(Path(python).parent), os.environ.get("PATH", os.defpath)]),
            "NO_PROXY": "127.0.0.1,localhost",
            "TMPDIR": str(self.home / "tmp"),  # what tasks leave behind there goes with the home
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(Path(dags_folder).resolve()),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": str(not self.users),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / PASSWORDS),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in self.users.items()),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[0]),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[1]),
            **({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url} if database_url else {}),
            **(env or {}),
        }
        (self.home / "tmp").mkdir()
        (self.home / PASSWORDS).write_text(json.dumps({name: secrets.token_hex(8) for name in self.users}))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._sessions: list[int] = []
        self._token: str | None = None
        self._handled: list[signal.Signals] = []
        # Without the proxies of the environment, which do not know this machine's loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    # -- life

    def __enter__(self) -> Standalone:
        """Start, and wait until Airflow is healthy."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything, and remove the home."""
        self.stop()

    def start(self) -> None:
        """Start, and return when all components are healthy.

        :raises AirflowTrouble: one of them ended, or is not healthy in time; with the end of the log.
        """
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _leave)
                    self._handled.append(number)
        if self.mode == "standalone":
            self._spawn("standalone")
        else:
            self._spawn("db", "migrate")
            if self._processes.pop("db").wait() != 0:
                raise AirflowTrouble(f"airflow db migrate failed:\n{self.log_tail()}")
            for component in COMPONENTS:
                self._spawn(component)
        self.wait_until_healthy()

    def stop(self) -> None:
        """Stop everything that was started, and remove the home. A second Ctrl-C does not interrupt this."""
        main = threading.current_thread() is threading.main_thread()
        sigint = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
        try:
            for process in self._processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
            # A scheduler says goodbye for ten seconds; in a home that is thrown away nobody needs all of that.
            psutil.wait_procs(self._all_processes(), timeout=SECONDS_TO_STOP)
            while left := self._all_processes():
                for survivor in left:
                    with suppress(psutil.Error):
                        survivor.kill()
                psutil.wait_procs(left, timeout=1)
            for started in self._processes.values():
                started.wait()
            self._processes.clear()
            shutil.rmtree(self.home, ignore_errors=True)
        finally:
            if main:
                signal.signal(signal.SIGINT, sigint)
                while self._handled:
                    signal.signal(self._handled.pop(), signal.SIG_DFL)

    def wait_until_healthy(self, timeout: float = SECONDS_TO_START) -> None:
        """Return when the API server answers and all components have a heartbeat."""
        for _ in self.until(timeout):
            if any(process.poll() is not None for process in self._processes.values()):
                break
            with suppress(OSError, ValueError):
                health = self.api("GET", "/monitor/health")
                if all((health.get(part) or {}).get("status") == "healthy" for part in _HEARTBEATS):
                    return
        raise AirflowTrouble(f"Airflow is not healthy:\n{self.log_tail()}")

    def log_tail(self, lines: int = 40) -> str:
        """Return the end of Airflow's output."""
        found = [path.read_text(errors="replace").splitlines()[-lines:] for path in self.home.glob("*.out")]
        return "\n".join(line for log in found for line in log)

    def pids(self, component: str) -> list[int]:
        """Return the processes of a component with all their descendants, the first one first.

        :param component: ``scheduler``, ``triggerer``, ``dag-processor``, ``api-server``; or ``worker``: the processes
            that run a task just now (supervisor and task), which also count as the scheduler's.
        """
        found = self._all_processes()
        if component == "worker":
            return [process.pid for process in found if _is_running_a_task(process)]
        own = self._processes.get(component)
        for process in found:
            with suppress(psutil.Error):
                if process.pid == own.pid if own else _is_component(process, component):
                    return [process.pid, *(child.pid for child in process.children(recursive=True))]
        return []

    def kill(self, component: str) -> list[int]:
        """Kill a component with SIGKILL, all of its processes at once; return their ids."""
        pids = self.pids(component)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if component in self._processes:
            self._processes.pop(component).wait()
        return pids

    def start_component(self, component: str) -> None:
        """Start a component that was killed. In mode ``components`` only: ``airflow standalone`` restarts nothing.

        :meth:`wait_until_healthy` may still see the heartbeat of the one that was killed, for 30 seconds by default.
        """
        if self.mode != "components":
            raise ValueError('a component can be started on its own in mode="components" only')
        self._spawn(component)

    # -- the REST API

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, *, timeout: float = 120) -> str:
        """Start a run of a DAG, as soon as it is parsed; return the run id.

        :raises AirflowTrouble: a DAG file does not import, or the DAG does not appear in time.
        """
        self.wait_for_dag(dag_id, timeout)
        run = self.api("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def wait_for_dag(self, dag_id: str, timeout: float = 120) -> None:
        """Return when a DAG is parsed and can run."""
        for _ in self.until(timeout):
            with suppress(NotFound):
                if not self.api("GET", f"/dags/{dag_id}")["is_stale"]:
                    return
            if errors := self.api("GET", "/importErrors")["import_errors"]:
                raise AirflowTrouble("\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors))
        raise AirflowTrouble(f"DAG {dag_id} did not appear within {timeout:.0f} s")

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.api("GET", f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run as the API has them: task_id, state, start_date, try_number, trigger …"""
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", f"{path}?limit=100&offset={len(found)}&order_by=id")
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        path = self._task_path(dag_id, run_id, task_id)
        found: dict[str, Any] = self.api("GET", path if map_index < 0 else f"{path}/{map_index}")
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task pushed; None when it pushed nothing under this key."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/xcomEntries/{_quoted(key)}"
        try:
            return self.api("GET", f"{path}?map_index={map_index}&deserialize=false")["value"]
        except NotFound:
            return None

    def wait_for_run(
        self,
        dag_id: str,
        run_id: str,
        timeout: float,
        on_change: Callable[[list[dict[str, Any]]], None] | None = None,
    ) -> str:
        """Return the state of a run when it has ended.

        :param on_change: called with the task instances whenever the state of one has changed.
        """
        before: dict[str, Any] = {}
        for _ in self.until(timeout):
            state = self.run_state(dag_id, run_id)
            if on_change is not None:
                tasks = self.tasks(dag_id, run_id)
                now = {task["id"]: (task["state"], task["try_number"]) for task in tasks}
                if now != before:
                    before = now
                    on_change(tasks)
            if state in FINISHED:
                return state
        raise AirflowTrouble(f"run {run_id} of {dag_id} is not over after {timeout:.0f} s:\n{self.log_tail()}")

    def wait_for_task(
        self, dag_id: str, run_id: str, task_id: str, states: str | set[str], timeout: float, map_index: int = -1
    ) -> dict[str, Any]:
        """Return a task instance when it is in one of the states."""
        wanted = {states} if isinstance(states, str) else states
        found: dict[str, Any] = {}
        for _ in self.until(timeout):
            found = self.task(dag_id, run_id, task_id, map_index)
            if found["state"] in wanted:
                return found
        raise AirflowTrouble(f"task {task_id} is {found['state']!r} after {timeout:.0f} s, not {sorted(wanted)}")

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of a try so far, a line an event."""
        path = f"{self._task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        content = self.api("GET", f"{path}?full_content=true&map_index={map_index}")["content"]
        return "\n".join(line if isinstance(line, str) else str(line["event"]) for line in content)

    def clear_task(self, dag_id: str, run_id: str, task_id: str, *, downstream: bool = False) -> None:
        """Clear a task, as a person does."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "include_downstream": downstream,
        }
        self.api("POST", f"/dags/{dag_id}/clearTaskInstances", body)

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task, as a person does."""
        path = self._task_path(dag_id, run_id, task_id)
        self.api("PATCH", path if map_index < 0 else f"{path}/{map_index}", {"new_state": state})

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer of Airflow's REST API.

        :param path: below ``/api/v2``.
        :raises NotFound: the answer was 404.
        :raises AirflowTrouble: the API refused.
        """
        if self._token is None and path != "/monitor/health":
            self._token = self.token(next(iter(self.users), None))
        return self._send(method, f"/api/v2{path}", body)

    def token(self, user: str | None = None) -> str:
        """Return a token with which a user is logged in."""
        if user is None:
            return str(self._send("GET", "/auth/token")["access_token"])
        password = json.loads((self.home / PASSWORDS).read_text())[user]
        return str(self._send("POST", "/auth/token", {"username": user, "password": password})["access_token"])

    # -- below

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the URL is our own
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Accept": "application/json",
                "Content-Type": "application/json",
                **({"Authorization": f"Bearer {self._token}"} if self._token else {}),
            },
        )
        try:
            with self._opener.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")[:2000]
            kind = NotFound if error.code == 404 else AirflowTrouble
            raise kind(f"{method} {path}: HTTP {error.code} {said}") from None

    def _spawn(self, *command: str) -> None:
        with (self.home / f"{command[0]}.out").open("ab") as output:
            process = subprocess.Popen(
                [self.python, "-m", "airflow", *command],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C does not reach it behind our back, and its members can be counted.
                start_new_session=True,
            )
        self._processes[command[0]] = process
        self._sessions.append(process.pid)

    def _all_processes(self) -> list[psutil.Process]:
        """Return every process that was started and still runs: tasks leave the process group, but not the session."""
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getsid(process.pid) in self._sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    @staticmethod
    def until(timeout: float, every: float = 0.5) -> Iterator[None]:
        """Yield now and then, until the time is over."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            yield
            time.sleep(every)

    @staticmethod
    def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
        return f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task_id)}"


class NotFound(AirflowTrouble):
    """The API does not know it (yet)."""


_HEARTBEATS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def _is_component(process: psutil.Process, component: str) -> bool:
    command = [part for word in process.cmdline() for part in word.replace("_", "-").split()]
    return component in command and "standalone" not in command


def _is_running_a_task(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        title = " ".join(process.cmdline())
        return "<idle>" not in title and title.startswith(("airflow worker -- ", "airflow supervisor: "))
    return False


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _quoted(part: str) -> str:
    return urllib.parse.quote(part, safe="")
