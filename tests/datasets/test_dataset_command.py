"""The command finetune-dataset, as a terminal and pre-commit run it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.datasets.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}", "completion": f"{n}"}) + "\n" for n in range(12)))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"messages": []}\n' * 12)
    return path


def test_good_files_exit_with_0(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(train), "--method", "completion", "--epochs", "3", "--price", "1000"]) == 0
    out = capsys.readouterr().out
    assert "12 good examples" in out
    assert "cost about" in out
    assert out.rstrip().endswith("0 errors, 0 warnings")
    assert "\x1b" not in out


def test_errors_exit_with_1_and_name_the_place(train: Path, bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bad), "--listed", "2"]) == 1
    out = capsys.readouterr().out
    assert f"{bad} line 1: messages is empty; expected at least one" in out
    assert "and 10 more: 12 empty_messages" in out
    # Of several files, one is enough.
    assert main(["check", str(train), str(bad), "--method", "completion"]) == 1


def test_json_is_the_report(train: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(train), "--method", "completion", "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert report["training"]["examples"] == 12
    assert main(["check", str(train), str(train), "--method", "completion", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_file_that_cannot_be_read_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "nowhere.jsonl")]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["check"],
        ["check", "a", "--method", "sft"],
        ["check", "a", "--epochs", "51"],
        ["check", "a", "--price", "-1"],
    ],
)
def test_bad_options_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2


def test_a_validation_file_goes_with_one_training_file(train: Path) -> None:
    options = ["--method", "completion", "--validation", str(train)]
    assert main(["check", str(train), *options]) == 0
    with pytest.raises(SystemExit):
        main(["check", str(train), str(train), *options])


def test_a_terminal_sees_colours(bad: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    command = [sys.executable, "-m", "airflow_provider_finetune.datasets", "check", str(bad), "--listed", "1"]
    process = subprocess.Popen(command, stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
    os.close(ours)
    assert process.wait() == 1
    assert b"\x1b[31merror\x1b[0m" in shown


def test_the_check_imports_neither_airflow_nor_the_sdk() -> None:
    code = "import sys, airflow_provider_finetune.datasets.__main__; print([m for m in ('airflow', 'openai', 'asyncio')"
    out = subprocess.run([sys.executable, "-c", f"{code} if m in sys.modules])"], check=True, capture_output=True)
    assert out.stdout.decode().strip() == "[]"
