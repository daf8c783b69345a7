"""A throw-away PostgreSQL in a temporary directory, for the system tests and the benchmarks.

    with running() as url:
        Standalone("dags", database_url=url)

PostgreSQL refuses to run as root; root runs it as the system's user `postgres` or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN = Path("/usr/lib/postgresql")
UNPRIVILEGED = ("postgres", "nobody")


def binaries() -> Path | None:
    """Return the directory of PostgreSQL's server programs; None when it is not installed."""
    # Debian keeps them off the PATH, one directory a version.
    versions = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    for found in [*versions, *([Path(on_path).resolve().parent] if on_path else [])]:
        if all((found / program).exists() for program in ("initdb", "postgres", "pg_ctl")):
            return found
    return None


@contextmanager
def running() -> Iterator[str]:
    """Run a server with an empty database; yield its SQLAlchemy URL.

    :raises FileNotFoundError: PostgreSQL's server is not installed.
    """
    if (programs := binaries()) is None:
        raise FileNotFoundError("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    home = Path(tempfile.mkdtemp(prefix="postgresql-"))
    data, password, port = home / "data", secrets.token_hex(16), _free_port()
    (home / "password").write_text(password)
    user = _unprivileged()
    if user is not None:
        for path in (home, home / "password"):
            os.chown(path, user.pw_uid, user.pw_gid)

    def run(program: str, *arguments: str) -> None:
        # Not into a pipe: the server inherits the output, and would keep it open.
        with (home / "output").open("ab") as output:
            done = subprocess.run(
                [programs / program, *arguments],
                cwd=home,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{(home / 'output').read_text(errors='replace')[-4000:]}")

    try:
        run("initdb", "-D", str(data), "-U", "airflow", "-A", "scram-sha-256", f"--pwfile={home}/password")
        settings = f"-p {port} -h 127.0.0.1 -k {home} -c max_connections=200 -c fsync=off -c full_page_writes=off"
        try:
            run("pg_ctl", "-D", str(data), "-l", str(home / "server.log"), "-w", "-o", settings, "start")
            yield f"postgresql+psycopg2://airflow:{password}@127.0.0.1:{port}/postgres"
        finally:
            if (data / "postmaster.pid").exists():
                run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run the server as; None when this process is not root's."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in UNPRIVILEGED if name in known)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
