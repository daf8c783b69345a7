"""Ten tasks at once on a real Airflow, at an endpoint that runs one job at a time."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import openai
import pytest

from airflow_provider_finetune.emulator import running
from demo.standalone import Standalone

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DAG_ID = "ten_at_once"
TURNS = [{"role": "user", "content": "Yes?"}, {"role": "assistant", "content": "yes"}]
EXAMPLES = "".join(json.dumps({"messages": TURNS}) + "\n" for _ in range(12)).encode()


def test_ten_tasks_queue_up_deferred_and_all_end_green_one_after_the_other() -> None:
    with running(like="unsloth", job_seconds=5) as emulator:
        with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
            file = client.files.create(file=("train.jsonl", EXAMPLES), purpose="fine-tune").id
        env = {"AIRFLOW_CONN_OPENAI_DEFAULT": emulator.connection, "PYTHONPATH": str(Path(__file__).parents[2])}
        with Standalone(Path(__file__).parent / "ten_at_once", env) as airflow:
            run = airflow.trigger(DAG_ID, {"file": file})
            assert airflow.wait_for_run(DAG_ID, run, 420) == "success"
            states = [task["state"] for task in airflow.tasks(DAG_ID, run)]
        jobs = emulator.jobs()
        assert states == ["success"] * 10
        assert sorted(job["asked"]["hyperparameters"]["n_epochs"] for job in jobs) == list(range(1, 11))
        assert all(job["created_at"] >= before["finished_at"] for before, job in pairwise(jobs))
        assert emulator.requests("POST", "/fine_tuning/jobs/*/cancel") == []
