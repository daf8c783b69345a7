"""What it takes to test a DAG of your own: pytest fixtures, registered with pytest when this package is installed.

::

    def test_my_dag_makes_one_job_although_the_answer_gets_lost(emulator, run_dag):
        emulator.fault("lose_answer", "POST", "/fine_tuning/jobs")
        run = run_dag("dags/fine_tune.py", data="train.jsonl")
        assert run.state == "success", run.log
        assert len(emulator.jobs()) == 1
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["TestedRun"]


@dataclass(frozen=True)
class TestedRun:
    """What became of a DAG run.

    ``states`` has the state of each task, ``errors`` what a failed task raised at last (``"InvalidRequest: …"``); a
    mapped task is called ``task_id[map_index]`` in both. ``log`` is all that Airflow and the tasks logged.
    """

    __test__ = False  # pytest takes a class of this name for one of tests

    dag_id: str
    run_id: str
    state: str
    states: dict[str, str]
    errors: dict[str, str]
    log: str = field(repr=False)
    xcoms: dict[tuple[str, str], Any] = field(repr=False)

    def xcom(self, task: str, key: str = "return_value") -> Any:
        """Return the XCom that a task pushed; None when it did not.

        :param task: the task's id, ``task_id[map_index]`` for one of a mapped task.
        """
        return self.xcoms.get((task, key))
