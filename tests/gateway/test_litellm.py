"""The LiteLLM proxy, a gateway that nobody here wrote, in front of the emulator.

What was found, of the version in `requirements/litellm.txt`:

- Its routes of jobs (`/v1/fine_tuning/jobs`) need an enterprise licence; without one, each is answered 500. Those of
  files need none. What the routes of jobs call behind the check is open source and is called here directly: it forwards
  neither `method` nor `metadata`, takes a job's `/events` for a job, loses the `code` of an error, and sends a create
  again whose answer it lost, unless its `finetune_settings` say `max_retries: 0`.
- Its pass-through (`/openai_passthrough`) needs no licence and forwards everything but `metadata`, which it takes for
  its own. Events, checkpoints, pause and resume work. This is the way to run jobs through it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.emulator import Emulator, running
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator
from airflow_provider_finetune.operators.job import CreateFineTuningJobOperator
from airflow_provider_finetune.sensors.job import FineTuningJobSensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import DagResult

LITELLM = Path(__file__).parents[2] / ".venv" / "litellm"
KEY = "sk-gateway-key-not-secret"
MODEL = "gpt-4.1-mini-2025-04-14"
JOBS = "/fine_tuning/jobs"
SECONDS_TO_START = 120

pytestmark = pytest.mark.skipif(
    not (LITELLM / ".packages").exists(),
    reason="the LiteLLM proxy is not installed: `make gateway` does it, if the package registry can be reached",
)


@dataclass(frozen=True)
class Gateway:
    """A running LiteLLM proxy and the endpoint behind it."""

    url: str
    emulator: Emulator

    def connection(self, path: str) -> str:
        """The value of an `AIRFLOW_CONN_...` variable that goes through the gateway."""
        extra = {"openai_client_kwargs": {"default_query": {"custom_llm_provider": "openai"}}}
        return json.dumps({"conn_type": "openai", "host": self.url + path, "password": KEY, "extra": extra})


class BehindTheLicence:
    """What the gateway's routes of jobs call, and what they would answer (see `litellm_calls.py`)."""

    def __init__(self, process: subprocess.Popen[str], provider: dict[str, str]) -> None:
        self._process = process
        self._provider = provider

    def __call__(self, function: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([function, {**self._provider, **arguments}]) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def create(self, **arguments: Any) -> dict[str, Any]:
        return self("acreate_fine_tuning_job", model=MODEL, **arguments)

    def retrieve(self, job_id: str) -> dict[str, Any]:
        return self("aretrieve_fine_tuning_job", fine_tuning_job_id=job_id)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LITELLM_"))}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A LiteLLM proxy in front of an emulator."""
    directory = tmp_path_factory.mktemp("litellm")
    with running(job_seconds=1.5) as emulator, (directory / "log").open("w") as log:
        provider = _provider(emulator)
        config = {
            "general_settings": {"master_key": KEY},
            "finetune_settings": [provider],
            "files_settings": [provider],
        }
        (directory / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [LITELLM / "bin" / "litellm", "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # The pass-through reads where to go from here.
            env={**_environment(), "OPENAI_API_BASE": emulator.base_url, "OPENAI_API_KEY": emulator.api_key},
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_it_answers(process, url, directory / "log")
            yield Gateway(url, emulator)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        try:
            with opener.open(f"{url}/health/liveliness", timeout=5):
                return
        except OSError:
            time.sleep(0.2)


@pytest.fixture(scope="module")
def behind_the_licence(gateway: Gateway) -> Iterator[BehindTheLicence]:
    """The calls of the gateway's routes of jobs."""
    command = [LITELLM / "bin" / "python", Path(__file__).with_name("litellm_calls.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
    ) as process:
        yield BehindTheLicence(process, _provider(gateway.emulator))


def _provider(emulator: Emulator) -> dict[str, str]:
    return {"custom_llm_provider": "openai", "api_base": emulator.base_url, "api_key": emulator.api_key}


@pytest.fixture
def emulator(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The endpoint behind the gateway, without jobs or faults; both ways through the gateway are connections."""
    gateway.emulator.reset()
    monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", gateway.connection("/openai_passthrough"))
    monkeypatch.setenv("AIRFLOW_CONN_LICENSED", gateway.connection("/v1"))
    return gateway.emulator


@pytest.fixture
def training_file(emulator: Emulator) -> str:
    """Id of a training file that was uploaded through the gateway."""
    return FineTuningHook().create_file(("train.jsonl", examples(30))).id


def examples(count: int) -> bytes:
    """Chat examples from which three answers can be learned."""
    words = ("red", "green", "blue")
    rows = [(f"{words[n % 3]} {n}", words[n % 3].upper()) for n in range(count)]
    messages = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in rows]
    return b"".join(json.dumps({"messages": each}).encode() + b"\n" for each in messages)


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


# -- the pass-through, which needs no licence


def test_a_dag_trains_a_model_through_the_gateway(
    emulator: Emulator, run_dag: Callable[..., DagResult], tmp_path: Path
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    dataset = tmp_path / "train.jsonl"
    dataset.write_bytes(examples(30))
    with DAG("through_litellm", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        upload = UploadDatasetOperator(task_id="upload", path=str(dataset))
        create = CreateFineTuningJobOperator(
            task_id="create",
            model=MODEL,
            training_file=upload.output,
            method=supervised(n_epochs=2),
            suffix="farm",
            list_lag=0.2,
        )
        FineTuningJobSensor(task_id="wait", job_id=create.output, poll_interval=0.2)
    result = run_dag(dag)
    assert result.states == dict.fromkeys(("upload", "create", "wait"), "success")
    (job,) = emulator.jobs()
    assert job["asked"]["method"] == supervised(n_epochs=2)
    assert job["hyperparameters"]["n_epochs"] == 2
    outcome = result.xcom("wait")
    assert outcome["fine_tuned_model"] == job["fine_tuned_model"]
    assert [checkpoint["step"] for checkpoint in outcome["checkpoints"]] == [30, 60]
    assert any("Step 60/60" in line for line in result.log)
    messages = [{"role": "user", "content": "red 3"}]
    answer = FineTuningHook().conn.chat.completions.create(model=outcome["fine_tuned_model"], messages=messages)
    assert answer.choices[0].message.content == "RED"


def test_a_lost_answer_behind_the_gateway_makes_no_second_job(
    emulator: Emulator, training_file: str, run_dag: Callable[..., DagResult]
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    emulator.fault("lose_answer", "POST", JOBS)
    with DAG("lost_behind_litellm", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreateFineTuningJobOperator(task_id="create", model=MODEL, training_file=training_file, list_lag=0.2)
    result = run_dag(dag)
    assert result.states == {"create": "success"}
    (job,) = emulator.jobs()
    assert result.xcom("create") == job["id"]


def test_the_pass_through_forwards_all_but_the_metadata(emulator: Emulator, training_file: str) -> None:
    asked = {"model": MODEL, "training_file": training_file, "seed": 7, "suffix": "farm", "method": supervised()}
    FineTuningHook().create_job(**asked, metadata={"run": "1"})
    (job,) = emulator.jobs()
    assert job["asked"] == asked


def test_a_job_is_paused_resumed_and_cancelled_through_the_gateway(
    emulator: Emulator, training_file: str, until: Callable[..., dict[str, Any]]
) -> None:
    emulator.set(job_seconds=10)
    hook = FineTuningHook()
    job = hook.create_job(model=MODEL, training_file=training_file)
    until(job.id, "running")
    hook.pause_job(job.id)
    until(job.id, "paused")
    assert hook.retrieve_job(job.id).status == "paused"
    hook.resume_job(job.id)
    hook.cancel_job(job.id)
    until(job.id, "cancelled")
    assert hook.list_events(job.id)[-1].message == "Fine-tuning job cancelled"


def test_the_pass_through_sends_a_create_once_and_passes_errors_on_as_they_are(
    emulator: Emulator, training_file: str
) -> None:
    hook = FineTuningHook()
    emulator.fault("lose_answer", "POST", JOBS, times=None)
    with pytest.raises(openai.InternalServerError, match="disconnected"):
        hook.create_job(model=MODEL, training_file=training_file)
    assert len(emulator.jobs()) == 1
    emulator.clear_faults()
    with pytest.raises(openai.BadRequestError) as refused:
        hook.create_job(model="no-such-model", training_file=training_file)
    assert refused.value.code == "model_not_available"


# -- the gateway's own routes


def test_files_pass_without_a_licence(emulator: Emulator) -> None:
    hook = FineTuningHook(conn_id="licensed")
    content = examples(12)
    file = hook.create_file(("train.jsonl", content))
    assert hook.retrieve_file(file.id).bytes == len(content)
    assert hook.read_file(file.id) == content
    assert [listed.id for listed in hook.list_files()] == [file.id]


def test_jobs_do_not_pass_without_a_licence_and_nothing_is_created(
    emulator: Emulator, training_file: str, run_dag: Callable[..., DagResult]
) -> None:
    from airflow.providers.common.compat.sdk import DAG

    with DAG("without_licence", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        CreateFineTuningJobOperator(
            task_id="create",
            model=MODEL,
            training_file=training_file,
            conn_id="licensed",
            extra_body={"custom_llm_provider": "openai"},
            list_lag=0.2,
            execution_timeout=timedelta(seconds=100),
        )
    result = run_dag(dag)
    assert result.states == {"create": "failed"}
    assert "Only premium users can use this endpoint" in str(result.error("create"))
    assert emulator.jobs() == []


# -- what the routes of jobs do once there is a licence


def test_a_create_loses_method_and_metadata_and_trains_with_defaults(
    behind_the_licence: BehindTheLicence, emulator: Emulator, training_file: str
) -> None:
    asked = {"training_file": training_file, "seed": 7, "suffix": "farm"}
    lost = {"metadata": {"run": "1"}, "method": supervised(n_epochs=2)}
    made = behind_the_licence.create(**asked, **lost)
    (job,) = emulator.jobs()
    assert job["asked"].items() >= asked.items()
    assert not job["asked"].keys() & lost.keys()
    assert job["asked"]["hyperparameters"].get("n_epochs", "auto") == "auto"
    assert (made["job"]["seed"], made["job"]["metadata"]) == (7, None)


def test_the_older_hyperparameters_pass_with_whatever_is_in_them(
    behind_the_licence: BehindTheLicence, emulator: Emulator, training_file: str
) -> None:
    older = {"n_epochs": 2, "lora_r": 8}
    behind_the_licence.create(training_file=training_file, hyperparameters=older)
    (job,) = emulator.jobs()
    assert job["asked"]["hyperparameters"].items() >= older.items()


def test_a_job_in_a_status_that_the_sdk_does_not_list_cannot_be_retrieved(
    behind_the_licence: BehindTheLicence, emulator: Emulator, training_file: str
) -> None:
    job = FineTuningHook().create_job(model=MODEL, training_file=training_file)
    emulator.show(job.id, status="paused")
    assert behind_the_licence.retrieve(job.id)["status"] == 500


@pytest.mark.parametrize(("settings", "jobs"), [({}, 2), ({"max_retries": 0}, 1)], ids=["by default", "max_retries: 0"])
def test_the_gateway_makes_duplicate_jobs_unless_it_is_told_not_to(
    behind_the_licence: BehindTheLicence,
    emulator: Emulator,
    training_file: str,
    settings: dict[str, Any],
    jobs: int,
) -> None:
    emulator.fault("lose_answer", "POST", JOBS)
    behind_the_licence.create(training_file=training_file, seed=7, **settings)
    assert [job["seed"] for job in emulator.jobs()] == [7] * jobs


def test_the_emulators_litellm_answers_as_the_real_one(
    behind_the_licence: BehindTheLicence, emulator: Emulator, training_file: str, until: Callable[..., dict[str, Any]]
) -> None:
    job_id = behind_the_licence.create(training_file=training_file, seed=7)["job"]["id"]
    until(job_id, "succeeded")
    paths = [job_id, f"{job_id}/events", f"{job_id}/checkpoints", "ftjob-nobody"]
    real = [behind_the_licence.retrieve(path) for path in paths]
    real.append(behind_the_licence.create(training_file="file-nobody"))
    for answer in real[1:]:
        answer["error"]["message"] = answer["error"]["message"].partition("\n")[0]

    emulator.set(like="litellm")
    url, query = emulator.base_url + JOBS, "?custom_llm_provider=openai"
    body = {"model": MODEL, "training_file": "file-nobody", "custom_llm_provider": "openai"}
    ours = [_answer(emulator, f"{url}/{path}{query}") for path in paths] + [_answer(emulator, url, body)]
    job, method = ours[0]["job"], real[0]["job"].pop("method")
    assert method["supervised"] == job.pop("method")["supervised"]
    assert ours == real


def _answer(emulator: Emulator, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            return {"status": answer.status, "job": json.load(answer)}
    except urllib.error.HTTPError as e:
        with e:
            return {"status": e.code, **json.load(e)}
