"""Checking and uploading datasets: real operators, the real SDK, the emulator, and an S3 server on loopback."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_finetune.exceptions import DatasetError, EndpointUnreachable, FineTuningError, InvalidRequest
from airflow_provider_finetune.hooks import storage
from airflow_provider_finetune.hooks import upload as module
from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
from airflow_provider_finetune.operators import dataset as operators
from airflow_provider_finetune.operators.dataset import UploadDatasetOperator, ValidateDatasetOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_finetune.emulator import Emulator

SECRET = "s3cr3t-training-text"


class TaskInstance:
    """Keeps what is pushed to XCom."""

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        # Airflow would refuse what is not JSON only at run time.
        self.xcom[key] = json.loads(json.dumps(value))


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{SECRET} {n}"},
                {"role": "assistant", "content": f"answer {n} {SECRET}"},
            ],
            **more,
        }
        for n in range(count)
    ]


def write(path: Path, examples: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in examples))
    return str(path)


@pytest.fixture
def train(tmp_path: Path) -> str:
    return write(tmp_path / "train.jsonl", rows(20))


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        yield client


def validate(**arguments: Any) -> dict[str, Any]:
    return ValidateDatasetOperator(task_id="validate", **arguments).execute({})


def upload(**arguments: Any) -> tuple[str, dict[str, Any]]:
    ti = TaskInstance()
    operator = UploadDatasetOperator(task_id="upload", **{"poll_interval": 0.1, **arguments})
    return operator.execute({"ti": ti}), ti.xcom


# -- validate


def test_a_good_dataset_gives_a_report_that_is_plain_json_without_training_text(train: str) -> None:
    report = validate(path=train, n_epochs=3, price_per_million_tokens=25)
    assert report["ok"]
    assert report["training"]["examples"] == 20
    assert report["training"]["sha256"] == hashlib.sha256(Path(train).read_bytes()).hexdigest()
    assert report["trained_tokens"] == 3 * report["training"]["tokens"]["total"]
    assert report["cost"] == pytest.approx(report["trained_tokens"] * 25 / 1e6, abs=1e-4)
    assert SECRET not in json.dumps(report)


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything that was logged so far: Airflow 3 prints it, Airflow 2 uses Python's logging."""
    caplog.set_level(logging.INFO)
    return lambda: capsys.readouterr().out + caplog.text


def test_a_bad_dataset_fails_without_retries_and_names_the_place(tmp_path: Path, logged: Callable[[], str]) -> None:
    bad = rows(20)
    bad[16]["messages"][1]["role"] = "asistant"
    path = write(tmp_path / "train.jsonl", bad)
    with pytest.raises(DatasetError) as raised:
        validate(path=path)
    assert isinstance(raised.value, AirflowFailException)
    place = f'{path} line 17: messages[1].role is "asistant"; expected one of system, developer, user, assistant, tool'
    assert place in str(raised.value)
    log = logged()
    assert place in log
    assert SECRET not in str(raised.value) + log


def test_a_cost_above_the_ceiling_fails_without_retries(train: str) -> None:
    cost = validate(path=train, n_epochs=3, price_per_million_tokens=25)["cost"]
    assert validate(path=train, n_epochs=3, price_per_million_tokens=25, max_cost=cost)["ok"]
    with pytest.raises(DatasetError, match="max_cost"):
        validate(path=train, n_epochs=4, price_per_million_tokens=25, max_cost=cost)


@pytest.mark.parametrize("ceiling", [Decimal(1), np.int64(1), "1"])
def test_a_ceiling_counts_whatever_kind_of_number_a_template_made_of_it(train: str, ceiling: Any) -> None:
    operator = ValidateDatasetOperator(
        task_id="validate", path=train, n_epochs=50, price_per_million_tokens=1e6, max_cost="{{ params.most }}"
    )
    operator.max_cost = ceiling
    with pytest.raises(DatasetError, match="max_cost"):
        operator.execute({})


@pytest.mark.parametrize("name", ["n_epochs", "price_per_million_tokens", "max_cost", "max_warnings"])
@pytest.mark.parametrize("nothing", [None, "None", ""])
def test_a_limit_that_renders_to_nothing_is_an_error_not_no_limit(train: str, name: str, nothing: str | None) -> None:
    arguments = {"n_epochs": 3, "price_per_million_tokens": 1, "max_cost": 1, "max_warnings": 1}
    operator = ValidateDatasetOperator(task_id="validate", path=train, **{**arguments, name: "{{ params.most }}"})
    setattr(operator, name, nothing)
    with pytest.raises(InvalidRequest, match="rendered to nothing"):
        operator.execute({})


def test_more_warnings_than_allowed_fail(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", rows(20) + rows(2))
    assert validate(path=path, max_warnings=2)["warnings"]["by_kind"] == {"duplicate": 2}
    with pytest.raises(DatasetError, match="2 warnings; expected at most max_warnings 1"):
        validate(path=path, max_warnings=1)


def test_validation_data_that_is_trained_on_is_a_warning(tmp_path: Path, train: str) -> None:
    other = write(tmp_path / "validation.jsonl", rows(1))
    report = validate(path=train, validation_path=other)
    assert report["warnings"]["by_kind"] == {"overlap": 1}
    assert report["validation"]["examples"] == 1


def test_reinforcement_without_a_validation_file_fails(tmp_path: Path) -> None:
    examples = [{"messages": [{"role": "user", "content": f"{n}"}], "answer": n} for n in range(12)]
    path = write(tmp_path / "train.jsonl", examples)
    with pytest.raises(DatasetError, match="no validation file"):
        validate(path=path, method="reinforcement")
    other = write(tmp_path / "other.jsonl", [{"messages": [{"role": "user", "content": "x"}]}])
    assert validate(path=path, validation_path=other, method="reinforcement")["ok"]


def test_the_method_that_a_file_would_fit_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", [{"prompt": f"{n}", "completion": f"{n}"} for n in range(12)])
    with pytest.raises(DatasetError, match="Every example fits method completion"):
        validate(path=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "sft"}, "method is 'sft'"),
        ({"n_epochs": 0}, "n_epochs is 0"),
        ({"n_epochs": 51}, "n_epochs is 51"),
        ({"n_epochs": 1.5}, "n_epochs is 1.5"),
        ({"price_per_million_tokens": -1}, "price_per_million_tokens is -1"),
        ({"price_per_million_tokens": "cheap"}, "price_per_million_tokens is 'cheap'"),
        ({"max_cost": 5}, "max_cost is given without"),
        ({"max_warnings": True}, "max_warnings is True"),
        ({"tokens": "guess"}, "tokens is 'guess'"),
        ({"endpoint": "opanai"}, "endpoint is 'opanai'"),
        ({"allow": ["last_tern"]}, "did you mean last_turn"),
        ({"refuse": "duplicate, everything"}, "refuse has 'everything'"),
        ({"max_line_bytes": 0}, "max_line_bytes is 0"),
    ],
)
def test_bad_literal_arguments_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ValidateDatasetOperator(task_id="validate", path="train.jsonl", **arguments)


def test_templated_arguments_are_checked_when_the_task_starts(train: str) -> None:
    operator = ValidateDatasetOperator(
        task_id="validate", path=train, n_epochs="{{ params.n }}", method="{{ params.m }}"
    )
    operator.n_epochs, operator.method = "3", "supervised"
    assert operator.execute({})["n_epochs"] == 3
    operator.n_epochs = "many"
    with pytest.raises(InvalidRequest, match="n_epochs is 'many'"):
        operator.execute({})


def test_the_rules_are_those_of_the_endpoint_and_of_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", rows(20, weight=1))
    assert validate(path=path)["warnings"]["by_kind"] == {"ignored_field": 1}
    with pytest.raises(DatasetError, match='a field "weight"'):
        validate(path=path, endpoint="openai")
    report = validate(path=path, endpoint="openai", allow=["ignored_field"])
    assert (report["endpoint"], report["warnings"]["total"]) == ("openai", 0)
    with pytest.raises(DatasetError, match="1 error in all"):
        validate(path=path, refuse="ignored_field")
    with pytest.raises(DatasetError, match="20 errors in all"):
        validate(path=path, max_line_bytes=50)


def test_rules_may_come_from_templates(tmp_path: Path) -> None:
    path = write(tmp_path / "train.jsonl", rows(20, weight=1))
    templates = dict.fromkeys(("endpoint", "allow", "refuse", "max_line_bytes"), "{{ params.x }}")
    operator = ValidateDatasetOperator(task_id="validate", path=path, **templates)
    operator.endpoint, operator.allow, operator.refuse, operator.max_line_bytes = (
        "openai",
        "ignored_field",
        None,
        "99999",
    )
    assert operator.execute({})["ok"]
    operator.allow, operator.refuse = [], "duplicate,conflict"
    with pytest.raises(DatasetError, match='a field "weight"'):
        operator.execute({})
    operator.endpoint = "nobody"
    with pytest.raises(InvalidRequest, match="expected one of openai, azure, nebius, any"):
        operator.execute({})


def test_findings_are_logged_at_their_level(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    path = write(tmp_path / "train.jsonl", [*rows(20), *rows(1), {"messages": []}])
    with pytest.raises(DatasetError):
        validate(path=path)
    # Airflow 2 logs with Python's logging, Airflow 3 prints lines that begin with time and level.
    printed = re.findall(r"\[(error|warning|info) *\S*\] (.*)", re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out))
    logged = [(record.levelname.lower(), record.getMessage()) for record in caplog.records] or printed
    levels = {level for level, message in logged if "messages is empty" in message}
    assert levels == {"error"}
    assert {level for level, message in logged if "the example of line 1 again" in message} == {"warning"}
    assert {level for level, message in logged if "good examples" in message} == {"info"}


# -- upload


def test_an_upload_returns_the_file_and_pushes_report_and_hash(train: str, client: openai.OpenAI) -> None:
    file_id, xcom = upload(path=train)
    content = Path(train).read_bytes()
    assert client.files.content(file_id).content == content
    stored = client.files.retrieve(file_id)
    assert xcom["sha256"] == hashlib.sha256(content).hexdigest()
    assert stored.filename == f"train-{xcom['sha256'][:16]}.jsonl"
    assert xcom["report"]["ok"]
    assert SECRET not in json.dumps(xcom)


def test_the_same_content_is_uploaded_once_whatever_it_is_called(
    train: str, tmp_path: Path, emulator: Emulator
) -> None:
    first, _ = upload(path=train)
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(train).read_bytes())
    second, _ = upload(path=str(copy))
    assert first == second
    assert len(emulator.requests("POST", "/files")) == 1
    third, _ = upload(path=write(tmp_path / "other.jsonl", rows(21)))
    assert third != first


def test_a_path_may_be_a_path(train: str, client: openai.OpenAI) -> None:
    file_id, _ = upload(path=Path(train))
    assert validate(path=Path(train))["ok"]
    assert client.files.retrieve(file_id).bytes == os.path.getsize(train)


def test_a_path_that_renders_to_nothing_ends_without_a_retry(train: str) -> None:
    for path in (None, "", "None"):
        with pytest.raises(InvalidRequest, match="path is"):
            upload(path=path)
        with pytest.raises(InvalidRequest, match="path is"):
            validate(path=path)


def test_a_file_of_another_purpose_is_not_reused(train: str, client: openai.OpenAI) -> None:
    first, _ = upload(path=train, purpose="batch")
    second, _ = upload(path=train)
    assert first != second
    assert FineTuningHook().list_files()[0].id == second


def test_a_bad_dataset_is_not_uploaded(tmp_path: Path, emulator: Emulator) -> None:
    path = write(tmp_path / "train.jsonl", rows(9))
    with pytest.raises(DatasetError, match="9 examples; expected at least 10"):
        upload(path=path)
    assert emulator.requests("POST") == []
    assert upload(path=path, min_examples=1)[0]
    assert upload(path=path, validate=False)[0]


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://my-resource.openai.azure.com/openai/v1", "azure"),
        ("https://my-resource.services.ai.azure.com/openai/v1/", "azure"),
        ("https://api.tokenfactory.nebius.com/v1/", "nebius"),
        ("https://api.studio.nebius.ai/v1", "nebius"),
        ("http://127.0.0.1:8000/v1", "any"),
        ("https://api.openai.com.example.com/v1", "any"),
        ("https://notnebius.com/v1", "any"),
    ],
)
def test_the_host_of_the_connection_says_whose_rules_hold(
    host: str | None, rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "openai", "password": "key", "host": host}))
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert module.dataset_rules_of(FineTuningHook(conn_id="other")) == rules


def test_an_upload_is_checked_by_the_rules_of_its_endpoint(tmp_path: Path, emulator: Emulator) -> None:
    path = write(tmp_path / "train.jsonl", rows(20, weight=1))
    _, xcom = upload(path=path)
    assert (xcom["report"]["endpoint"], xcom["report"]["warnings"]["by_kind"]) == ("any", {"ignored_field": 1})
    with pytest.raises(DatasetError, match='a field "weight"'):
        upload(path=path, endpoint="openai")
    assert len(emulator.requests("POST", "/files")) == 1
    _, xcom = upload(path=path, endpoint="openai", allow=["ignored_field"])
    assert xcom["report"]["endpoint"] == "openai"
    with pytest.raises(DatasetError):
        upload(path=path, refuse=["ignored_field"])
    with pytest.raises(DatasetError, match="at most 50 bytes"):
        upload(path=path, max_line_bytes=50)


def test_a_lost_answer_leaves_one_file(train: str, emulator: Emulator, client: openai.OpenAI) -> None:
    emulator.fault("lose_answer", "POST", "/files")
    file_id, _ = upload(path=train)
    assert [file.id for file in client.files.list()] == [file_id]


def test_a_lost_request_is_sent_again(train: str, emulator: Emulator, client: openai.OpenAI) -> None:
    emulator.fault("lose_request", "POST", "/files")
    file_id, _ = upload(path=train)
    assert [file.id for file in client.files.list()] == [file_id]


def test_a_rate_limit_is_waited_for(train: str, emulator: Emulator) -> None:
    emulator.fault("status", "POST", "/files", status=429, retry_after=0.01)
    assert upload(path=train)[0]


def test_a_refused_upload_is_not_tried_again(train: str, emulator: Emulator) -> None:
    emulator.fault("status", "POST", "/files", status=401, times=None)
    with pytest.raises(AirflowFailException, match="401"):
        upload(path=train)
    assert len(emulator.requests("POST", "/files")) == 1


def test_an_endpoint_that_never_answers_ends_in_lost_contact(
    train: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    emulator.fault("lose_request", "POST", "/files", times=None)
    with pytest.raises(EndpointUnreachable):
        upload(path=train)
    assert len(emulator.requests("POST", "/files")) == module.TRIES


def test_files_expire_as_asked_and_one_that_expires_too_soon_is_not_reused(train: str, client: openai.OpenAI) -> None:
    short, _ = upload(path=train, expires_after=3600)
    stored = client.files.retrieve(short)
    assert stored.expires_at == stored.created_at + 3600
    assert upload(path=train, expires_after=3600)[0] == short
    longer, _ = upload(path=train, expires_after=86_400)
    assert longer != short
    assert upload(path=train, expires_after=86_400)[0] == longer
    kept, _ = upload(path=train)
    assert kept not in (short, longer)


@pytest.mark.parametrize("seconds", [3599, 2_592_001, "soon", 0])
def test_a_bad_expiry_fails_when_the_dag_is_parsed(seconds: Any) -> None:
    with pytest.raises(ValueError, match="expires_after"):
        UploadDatasetOperator(task_id="upload", path="train.jsonl", expires_after=seconds)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send everything through the Uploads API, in small parts."""
    monkeypatch.setattr(module, "MOST_BYTES_AT_ONCE", 10)
    monkeypatch.setattr(module, "PART_BYTES", 1000)


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_goes_in_parts(train: str, emulator: Emulator, client: openai.OpenAI) -> None:
    file_id, _ = upload(path=train)
    content = Path(train).read_bytes()
    assert client.files.content(file_id).content == content
    assert len(emulator.requests("POST", "/uploads/*/parts")) == -(-len(content) // 1000)
    assert upload(path=train)[0] == file_id


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("kind", ["lose_request", "lose_answer", "status"])
def test_a_lost_part_is_sent_again(kind: str, train: str, emulator: Emulator, client: openai.OpenAI) -> None:
    emulator.fault(kind, "POST", "/uploads/*/parts", skip=1)
    file_id, _ = upload(path=train)
    assert client.files.content(file_id).content == Path(train).read_bytes()
    assert len(emulator.requests("POST", "/uploads")) == 1


@pytest.mark.usefixtures("in_parts")
def test_a_failed_upload_is_aborted(train: str, emulator: Emulator) -> None:
    emulator.fault("status", "POST", "/uploads/*/parts", status=400, skip=1, times=None)
    with pytest.raises(AirflowFailException):
        upload(path=train)
    assert [request["status"] for request in emulator.requests("POST", "/uploads/*/cancel")] == [200]


@pytest.mark.usefixtures("in_parts")
def test_an_upload_whose_last_answer_is_lost_is_found(train: str, emulator: Emulator, client: openai.OpenAI) -> None:
    emulator.fault("lose_answer", "POST", "/uploads/*/complete")
    file_id, _ = upload(path=train)
    assert [file.id for file in client.files.list()] == [file_id]
    assert len(emulator.requests("POST", "/uploads")) == 1


@pytest.fixture(params=["in one", "in parts"])
def sending(request: pytest.FixtureRequest) -> None:
    if request.param == "in parts":
        request.getfixturevalue("in_parts")


def rewriting(path: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody rewrite the file, at its size, once so many of its bytes were sent."""
    read = module.Window.read

    def rewritten(self: Any, size: int = -1) -> bytes:
        if self._start + self.tell() >= at and module.Window.read is not read:
            monkeypatch.setattr(module.Window, "read", read)
            content = Path(path).read_bytes()
            with open(path, "r+b") as file:
                file.write(content.replace(b"answer", b"ANSWER"))
        return read(self, size)

    monkeypatch.setattr(module.Window, "read", rewritten)


@pytest.mark.usefixtures("sending")
def test_the_bytes_of_another_content_never_stand_at_the_endpoint_under_the_hash_of_this_one(
    tmp_path: Path, emulator: Emulator, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 200_000)
    path = write(tmp_path / "train.jsonl", [row | {"pad": "x" * 100_000} for row in rows(40)])
    rewriting(path, 2_000_000, monkeypatch)
    with pytest.raises(FineTuningError, match="changed while it was uploaded"):
        upload(path=path, validate=False)
    assert list(client.files.list()) == []
    file_id, xcom = upload(path=path, validate=False)
    assert hashlib.sha256(client.files.content(file_id).content).hexdigest() == xcom["sha256"]


def test_a_file_that_is_longer_by_the_time_it_is_sent_is_sent_as_it_was(
    train: str, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, content = module.DatasetUpload._in_one, Path(train).read_bytes()

    def longer(self: Any) -> Any:
        with open(train, "ab") as file:
            file.write(b"{}\n")
        return send(self)

    monkeypatch.setattr(module.DatasetUpload, "_in_one", longer)
    assert client.files.content(upload(path=train)[0]).content == content


@pytest.mark.parametrize("can_delete", [True, False])
def test_a_file_of_which_not_all_was_sent_is_deleted_or_named(
    train: str, emulator: Emulator, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch, can_delete: bool
) -> None:
    monkeypatch.setattr(module.Sending, "take", lambda *_: None)  # an endpoint that answers before it has all
    if not can_delete:
        emulator.fault("status", "DELETE", "/files/*", status=403, times=None)
    with pytest.raises(FineTuningError, match="was deleted again" if can_delete else "Delete file file-"):
        upload(path=train)
    assert len(list(client.files.list())) == (0 if can_delete else 1)


def test_an_answer_that_names_no_file_is_no_success(train: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.odd_endpoint import answering, of

    monkeypatch.setattr(module, "TRIES", 1)
    with answering(lambda method, _: of({"object": "file"} if method == "POST" else {"data": []})) as server:
        monkeypatch.setenv("AIRFLOW_CONN_OPENAI_DEFAULT", server.connection())
        with pytest.raises(EndpointUnreachable):
            upload(path=train)


def test_a_file_with_the_name_and_size_but_other_bytes_is_not_reused_when_contents_are_compared(
    train: str, client: openai.OpenAI, logged: Callable[[], str]
) -> None:
    content = Path(train).read_bytes()
    name = f"train-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    false = client.files.create(file=(name, content.replace(b"answer", b"ANSWER")), purpose="fine-tune")
    assert upload(path=train)[0] == false.id, "what is trusted: the name and the size"
    file_id, _ = upload(path=train, verify="content")
    assert client.files.content(file_id).content == content
    assert f"File {false.id} is not reused: its name is that of this content" in logged()
    assert upload(path=train, verify="content")[0] == file_id


def test_a_file_that_cannot_be_compared_is_uploaded_anew(
    train: str, emulator: Emulator, logged: Callable[[], str]
) -> None:
    first, _ = upload(path=train)
    emulator.fault("status", "GET", "/files/*/content", status=403, times=None)
    assert upload(path=train, verify="content")[0] != first
    assert "cannot be compared" in logged()


def test_what_makes_a_file_the_same_is_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidRequest, match="verify"):
        UploadDatasetOperator(task_id="upload", path="x", verify="size")


# -- sources without end


@pytest.mark.parametrize("operate", [upload, validate])
def test_a_device_or_a_pipe_is_refused_before_it_is_opened(tmp_path: Path, operate: Any, emulator: Emulator) -> None:
    os.mkfifo(tmp_path / "train.jsonl")
    for path in ("/dev/zero", str(tmp_path / "train.jsonl"), str(tmp_path)):
        with pytest.raises(DatasetError, match="expected a file"):
            operate(path=path)


@pytest.mark.parametrize("operate", [upload, validate])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere/train.jsonl", "no file nowhere/train.jsonl"),
        ("file:///nowhere/train.jsonl", "no file file:///nowhere/train.jsonl"),
        ("gs://ann:s3cret@bucket/train.jsonl", "pip install 'apache-airflow-providers-google'"),
        ("abfs://container@account/train.jsonl", "pip install 'apache-airflow-providers-microsoft-azure'"),
        ("https://host/train.jsonl?token=s3cret", "no filesystem for https://"),
    ],
)
def test_a_missing_file_or_filesystem_is_named_and_not_tried_again(
    operate: Any, emulator: Emulator, path: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=re.escape(said)) as refused:
        operate(path=path)
    assert isinstance(refused.value, AirflowFailException)
    assert "s3cret" not in str(refused.value)


def test_a_local_file_is_read_line_by_line_out_of_blocks(train: str) -> None:
    with storage.reading(train) as file:
        next(iter(file))
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == os.path.getsize(train), "not a byte at a time"


@pytest.mark.parametrize("operate", [upload, validate])
def test_the_size_is_limited_while_a_source_is_read(
    train: str, operate: Any, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        reads = 0

        def read(self, size: int) -> bytes:
            self.reads += 1
            return b'{"a": "' + b"x" * 5000 + b'"}\n'

    endless = Endless()
    monkeypatch.setattr(storage, "MOST_BYTES", 100_000)
    monkeypatch.setattr(storage, "reading", lambda *_, **_more: nullcontext(endless))
    with pytest.raises(DatasetError, match="or grows"):
        operate(path="s3://key:pass-word@bucket/train.jsonl")
    assert endless.reads <= 21


def test_reading_a_source_has_a_time_out(train: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_CHUNK", 100)
    with pytest.raises(FineTuningError, match="which is the timeout"):
        upload(path=train, timeout=1e-6)


def test_a_full_spool_disk_is_called_that(train: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, chunk: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(operators.tempfile, "TemporaryFile", lambda **_: nullcontext(Full()))
    with pytest.raises(FineTuningError, match=r"temporary directory .* is full"):
        upload(path=f"file://{train}")


def test_passwords_in_a_url_appear_neither_in_the_log_nor_in_the_report(
    train: str, emulator: Emulator, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = storage.reading
    monkeypatch.setattr(storage, "reading", lambda _, conn, **more: reading(train, conn, **more))
    path = "s3://AKIDEXAMPLE:pass-word-1@bucket/train.jsonl?X-Amz-Signature=abcdef0123"
    _, xcom = upload(path=path)
    report = validate(path=path)
    with pytest.raises(DatasetError) as failed:
        validate(path=path, n_epochs=1, price_per_million_tokens=1e9, max_cost=0.1)
    said = json.dumps([xcom, report]) + logged() + str(failed.value)
    assert "s3://bucket/train.jsonl" in said
    assert not [secret for secret in ("AKIDEXAMPLE", "pass-word-1", "abcdef0123") if secret in said]


class Shown:
    """A file as some endpoint shows it."""

    def __init__(self, **fields: Any) -> None:
        self.id = "file-1"
        self.__dict__.update(fields)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"status": "processed"}, "file-1"),
        ({"status": None}, "file-1"),
        ({}, "file-1"),
        ({"status": "vectorised"}, "file-1"),
        ({"status": "error", "status_details": "line 3 is bad"}, DatasetError),
        ({"status": "deleted"}, DatasetError),
        ({"status": "uploaded"}, FineTuningError),
    ],
)
def test_the_status_of_a_file_decides(fields: dict[str, Any], outcome: Any, train: str, emulator: Emulator) -> None:
    with open(train, "rb") as file:
        transfer = module.DatasetUpload(
            FineTuningHook(),
            module.Source(train, file, _content(train)),
            purpose="fine-tune",
            seconds_kept=None,
            poll_interval=0.01,
            timeout=0.05,
            log=logging.getLogger(__name__),
        )
        transfer.hook.retrieve_file = lambda _: Shown(**fields)  # type: ignore[method-assign, assignment, return-value]
        if isinstance(outcome, str):
            assert transfer.processed(Shown(**fields)) == outcome
        else:
            with pytest.raises(outcome) as raised:
                transfer.processed(Shown(**fields))
            assert type(raised.value) is outcome


def _content(path: str) -> Any:
    from airflow_provider_finetune.datasets.stored import Content

    return Content(hashlib.sha256(Path(path).read_bytes()).hexdigest(), os.path.getsize(path))


def test_long_uploads_tell_how_far_they_are(
    train: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], str]
) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_PROGRESS", 0.0)
    upload(path=train)
    log = logged()
    assert "(100 %)" in log
    assert SECRET not in log


# -- object storage


def test_a_file_url_is_read_once_and_uploaded(train: str, client: openai.OpenAI) -> None:
    file_id, xcom = upload(path=f"file://{train}")
    assert client.files.content(file_id).content == Path(train).read_bytes()
    assert xcom["report"]["training"]["examples"] == 20
    assert validate(path=f"file://{train}")["ok"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of an S3 server on loopback. One for all tests: Airflow keeps the file systems that it opened."""
    pytest.importorskip("airflow.providers.amazon.aws.fs.s3", reason="the amazon provider is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install apache-airflow-providers-amazon[s3fs]")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 bucket, and the connection `storage` that leads to it."""
    import boto3

    account = {"conn_type": "aws", "login": "key", "password": "secret"}
    extra = {"endpoint_url": s3, "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_STORAGE", json.dumps({**account, "extra": extra}))
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    return boto3.resource("s3", **extra, **keys).create_bucket(Bucket="data")


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_in_s3_is_checked_and_uploaded(bucket: Any, train: str, client: openai.OpenAI) -> None:
    bucket.upload_file(train, "sets/train.jsonl")
    file_id, xcom = upload(path="s3://data/sets/train.jsonl", storage_conn_id="storage")
    content = Path(train).read_bytes()
    assert client.files.content(file_id).content == content
    assert xcom["sha256"] == hashlib.sha256(content).hexdigest()
    assert client.files.retrieve(file_id).filename == f"train-{xcom['sha256'][:16]}.jsonl"
    assert validate(path="s3://data/sets/train.jsonl", storage_conn_id="storage")["training"]["examples"] == 20
    assert validate(path="s3://storage@data/sets/train.jsonl")["ok"]
    # The same content from this machine is found again.
    assert upload(path=train)[0] == file_id


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_in_s3_is_read_once(bucket: Any, tmp_path: Path, emulator: Emulator) -> None:
    path = write(tmp_path / "train.jsonl", [row | {"pad": "x" * 50_000} for row in rows(600)])
    bucket.upload_file(path, "train.jsonl")
    read = 0
    import s3fs

    cat = s3fs.S3File._fetch_range

    def counted(self: Any, start: int, end: int) -> bytes:
        nonlocal read
        fetched: bytes = cat(self, start, end)
        read += len(fetched)
        return fetched

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3fs.S3File, "_fetch_range", counted)
        upload(path="s3://data/train.jsonl", storage_conn_id="storage")
    assert read == os.path.getsize(path)
