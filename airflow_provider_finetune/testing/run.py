"""Runs one DAG file with ``dag.test()`` in a process of its own, whose Airflow is a throw-away one.

``python -m airflow_provider_finetune.testing.run`` reads ``{"file", "dag_id", "conf"}`` from its standard input and
writes what became of the run to the file that its only argument names. The log goes to its standard output.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from inspect import signature
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two looks at a job while a DAG is tested; jobs of the emulator take seconds, not hours.
POLL_INTERVAL = 0.5


def main() -> None:
    """Run the DAG that standard input names."""
    asked = json.load(sys.stdin)
    dag, bag = _load(asked["file"], asked["dag_id"])
    errors: dict[str, str] = {}
    for task in dag.tasks:
        hurry(task)
        _listen(task, errors)
    _serialize(bag)
    run = dag.test(run_conf=asked["conf"] or None)
    found = {
        "dag_id": dag.dag_id,
        "run_id": run.run_id,
        "state": _word(run.state),
        "states": {_name(ti): _word(ti.state) for ti in run.get_task_instances()},
        "errors": errors,
        "xcoms": [[_name(row), row.key, value] for row, value in _xcoms(dag.dag_id, run.run_id)],
    }
    Path(sys.argv[1]).write_text(json.dumps(found, default=str), encoding="utf-8")


def _load(file: str, dag_id: str | None) -> tuple[Any, Any]:
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    bag: Any
    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:  # Airflow 2, and 3.0
        from airflow.models.dagbag import DagBag

        bag = DagBag(file, include_examples=False, safe_mode=False)
    else:
        bag = BundleDagBag(file, bundle_path=Path(folder), bundle_name="dags-folder", safe_mode=False)
    for trouble in bag.import_errors.values():
        raise SystemExit(f"{file} cannot be imported as a DAG file:\n{trouble}")
    names = ", ".join(sorted(bag.dags))
    if not names:
        raise SystemExit(f"{file} has no DAG. A function with @dag has to be called at the end of the file")
    if dag_id is None and len(bag.dags) > 1:
        raise SystemExit(f"{file} has these DAGs: {names}. Say which one to run: run_dag(..., dag_id=...)")
    dag_id = dag_id or names
    if dag_id not in bag.dags:
        raise SystemExit(f"{file} has no DAG {dag_id!r}, but {names}")
    return bag.dags[dag_id], bag


def hurry(task: Any) -> None:
    """Let a task look at its job, and be tried again, at once: nobody wants to wait a minute for a job of a second."""
    arguments = _arguments(task)
    arguments["retry_delay"] = timedelta(0)
    cls = getattr(task, "operator_class", type(task))
    if not cls.__module__.startswith("airflow_provider_finetune.") or "poll_interval" not in signature(cls).parameters:
        return
    arguments["poll_interval"] = POLL_INTERVAL
    if "poke_interval" in arguments:
        arguments["poke_interval"] = POLL_INTERVAL


def _listen(task: Any, errors: dict[str, str]) -> None:
    def failed(context: Any) -> None:
        error = context.get("exception")
        errors[_name(context["ti"])] = f"{type(error).__name__}: {error}"

    arguments = _arguments(task)
    own = arguments.get("on_failure_callback") or []
    arguments["on_failure_callback"] = [*(own if isinstance(own, (list, tuple)) else [own]), failed]


def _arguments(task: Any) -> dict[str, Any]:
    """Return where a task keeps its arguments; a mapped one keeps them for the tasks that it will become."""
    mapped: dict[str, Any] | None = getattr(task, "partial_kwargs", None)
    return vars(task) if mapped is None else mapped


def _serialize(bag: Any) -> None:
    """Write the DAG to the database, without which Airflow 3 does not test it."""
    try:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import sync_bag_to_db
    except ImportError:  # Airflow 2 does not need it
        return
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(bag, "dags-folder", None)


def _xcoms(dag_id: str, run_id: str) -> list[tuple[Any, Any]]:
    from airflow.utils.session import create_session

    read: Callable[[Any], Any]
    try:
        from airflow.models.xcom import XComModel as XCom

        read = XCom.deserialize_value
    except ImportError:  # Airflow 2 reads the value as it loads the row
        from airflow.models.xcom import XCom  # type: ignore[no-redef]

        read = attrgetter("value")
    with create_session() as session:
        return [(row, read(row)) for row in session.query(XCom).filter_by(dag_id=dag_id, run_id=run_id)]


def _name(ti: Any) -> str:
    map_index = -1 if ti.map_index is None else ti.map_index
    return str(ti.task_id) if map_index < 0 else f"{ti.task_id}[{map_index}]"


def _word(state: Any) -> str:
    return str(getattr(state, "value", state))


if __name__ == "__main__":
    main()
