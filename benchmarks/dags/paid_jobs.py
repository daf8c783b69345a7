"""The same task three times over, the official operator, a plain SDK call and ours, each met by the same mishaps."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.openai.operators.openai import OpenAITriggerBatchOperator
from airflow.sdk import DAG, task

from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator

MODEL = "gpt-4.1-mini-2025-04-14"


def around_create(*, before: bool, do: Any) -> None:
    """Make the SDK's call that creates a paid job run into something, whoever calls it."""
    from openai.resources.batches import Batches
    from openai.resources.fine_tuning.jobs import Jobs

    for resource in (Batches, Jobs):

        def create(self: Any, *args: Any, create: Any = resource.create, **kwargs: Any) -> Any:
            if before:
                do()
            answer = create(self, *args, **kwargs)
            if not before:
                do()
            return answer

        resource.create = create  # type: ignore[method-assign]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze(context: Any) -> None:
    """Stop this task and its supervisor, as a host does that stalls; the benchmark lets them go on."""
    pids = [os.getppid(), os.getpid()]
    file = Path(os.environ["AIRFLOW_HOME"], f"frozen-{context['ti'].task_id}")
    file.with_suffix(".part").write_text(" ".join(map(str, pids)))
    file.with_suffix(".part").rename(file)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def mishap(context: Any) -> None:
    """Prepare the first try of a task for what its id says will happen."""
    case = context["ti"].task_id.split("-")[1]
    if context["ti"].try_number == 1:
        if case == "worker_killed":
            around_create(before=False, do=die)
        elif case == "two_at_once":
            around_create(before=True, do=lambda: freeze(context))


def fail_once(context: Any, _: Any) -> None:
    """Fail the first try after its job was created, as a callback or a full disk does."""
    if context["ti"].task_id.endswith("-task_fails") and context["ti"].try_number == 1:
        raise RuntimeError("the first try fails after it has created its job")


def endpoint(who: str, case: str) -> str:
    """Return the connection; a fault hits the next request, so a task that meets one has an endpoint to itself."""
    return f"{who}_{case}" if case in ("lost_answer", "error_500") else "calm"


def training_file(conn_id: str) -> str:
    """Return the template that gives the id of the training file at an endpoint."""
    return f"{{{{ dag_run.conf['training_files']['{conn_id}'] }}}}"


with DAG(
    "paid_jobs",
    schedule=None,
    catchup=False,
    max_active_tasks=32,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=1),
        "pre_execute": mishap,
        "post_execute": fail_once,
    },
):
    for case in ("lost_answer", "error_500", "worker_killed", "task_fails", "two_at_once"):
        OpenAITriggerBatchOperator(
            task_id=f"batch-{case}",
            conn_id=f"batches_{case}",
            file_id="file-1",
            endpoint="/v1/chat/completions",
            wait_for_completion=False,
        )

        @task(task_id=f"plain-{case}")
        def plain(conn_id: str, training_file: str, created_for: str) -> str:
            from airflow.providers.openai.hooks.openai import OpenAIHook

            client = OpenAIHook(conn_id=conn_id).conn
            metadata = {"created_for": created_for}
            return client.fine_tuning.jobs.create(model=MODEL, training_file=training_file, metadata=metadata).id

        plain(endpoint("plain", case), training_file(endpoint("plain", case)), f"plain-{case}")

        CreateFineTuningJobOperator(
            task_id=f"ours-{case}",
            conn_id=endpoint("ours", case),
            model=MODEL,
            training_file=training_file(endpoint("ours", case)),
            metadata={"created_for": f"ours-{case}"},
            list_lag=3,
        )
