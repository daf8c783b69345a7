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


def command(*arguments: str, encoding: str | None = None, **how: Any) -> subprocess.CompletedProcess[bytes]:
    environment = dict(os.environ) | ({"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"} if encoding else {})
    run = [sys.executable, "-m", "airflow_provider_finetune.datasets", *arguments]
    return subprocess.run(run, capture_output=True, env=environment, check=False, **how)


def chats(path: Path, count: int, start: int = 0, **fields: Any) -> Path:
    turns = [("user", "question {}"), ("assistant", "answer {}")]
    path.write_text(
        "".join(
            json.dumps({"messages": [{"role": role, "content": text.format(n)} for role, text in turns], **fields})
            + "\n"
            for n in range(start, start + count)
        )
    )
    return path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_the_report_can_be_told_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    folder = tmp_path / "日本語"
    folder.mkdir()
    path = chats(folder / "trän.jsonl", 12)
    path.write_text(path.read_text() + path.read_text() * 3)
    done = command("check", str(path), "--listed", "3", encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"and 33 more: 36 duplicate" in done.stdout
    missing = command("check", str(folder / "nowhere.jsonl"), encoding=encoding)
    assert missing.returncode == 2
    assert b"No such file" in missing.stderr
    assert b"Traceback" not in missing.stderr


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, options: list[str]) -> None:
    path = chats(tmp_path / "train.jsonl", 12)
    path.write_text(path.read_text() * 400)
    run = [sys.executable, "-m", "airflow_provider_finetune.datasets", "check", str(path), "--listed", "9999", *options]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(run, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_called_minus_is_standard_input(tmp_path: Path) -> None:
    content = chats(tmp_path / "train.jsonl", 12).read_bytes()
    done = command("check", "-", input=content)
    assert done.returncode == 0
    assert b"standard input: 12 good examples in 12 lines" in done.stdout
    assert command("check", "-", input=content[:-5]).returncode == 1
    assert command("check", "-", "--validation", "-", input=content).returncode == 2


def test_one_missing_file_does_not_swallow_the_others(
    tmp_path: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, nowhere = chats(tmp_path / "good.jsonl", 12), tmp_path / "nowhere.jsonl"
    files = [str(good), str(nowhere), str(bad), str(tmp_path)]
    assert main(["check", *files]) == 2
    said = capsys.readouterr()
    assert "good.jsonl: 12 good examples" in said.out
    assert "bad.jsonl line 1" in said.out
    assert f"finetune-dataset: {nowhere}: No such file or directory" in said.err
    assert f"finetune-dataset: {tmp_path}: Is a directory" in said.err
    assert main(["check", "--json", *files]) == 2
    reports = json.loads(capsys.readouterr().out)
    assert [report["ok"] for report in reports] == [True, False, False, False]
    assert reports[1] == {"ok": False, "file": str(nowhere), "unusable": "No such file or directory"}


@pytest.mark.parametrize(
    "options",
    [
        ["--encoding", "x"],
        ["--listed", "-1"],
        ["--min-examples", "-1"],
        ["--min-examples", "few"],
        ["--max-line-bytes", "-5"],
        ["--epochs", "0"],
        ["--epochs", "many"],
        ["--price", "cheap", "--epochs", "3"],
        ["--price", "nan", "--epochs", "3"],
        ["--price", "25"],
        ["--for", "opanai"],
        ["--allow", "last_tern"],
        ["--refuse", "everything"],
        ["--allow", "bom", "--refuse", "bom"],
        ["--validation", "a", "--validation", "b"],
    ],
)
def test_options_that_make_no_sense_are_errors(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["check", str(chats(tmp_path / "train.jsonl", 12)), *options])
    assert raised.value.code == 2
    said = capsys.readouterr().err
    assert "error: " in said
    assert "Traceback" not in said


def test_rules_are_chosen_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(chats(tmp_path / "train.jsonl", 12, weight=1))
    assert main(["check", path]) == 0
    assert "OpenAI refuses such a file" in capsys.readouterr().out
    assert main(["check", path, "--for", "openai"]) == 1
    assert main(["check", path, "--for", "openai", "--allow", "ignored_field"]) == 0
    assert main(["check", path, "--for", "azure"]) == 0
    assert main(["check", path, "--refuse", "ignored_field", "--refuse", "duplicate"]) == 1
    assert main(["check", path, "--max-line-bytes", "50", "--allow", "line_too_long"]) == 0


def test_numbers_are_in_english(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(chats(tmp_path / "one.jsonl", 1))
    assert main(["check", one, "--epochs", "1", "--tokens", "estimate"]) == 1
    out = capsys.readouterr().out
    assert "1 good example in 1 line, " in out
    assert "1 example; expected at least 10" in out
    assert "trained tokens in 1 epoch" in out
    assert out.rstrip().endswith("1 error, 0 warnings")


def test_a_validation_file_may_be_checked_alone_and_be_short(tmp_path: Path) -> None:
    valid = str(chats(tmp_path / "valid.jsonl", 3))
    assert main(["check", valid]) == 1
    assert main(["check", "--validation", valid]) == 0
    assert main(["check", "--validation", valid, "--validation", valid]) == 0


def test_several_pairs_are_checked_in_the_order_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(str(chats(tmp_path / f"t{n}", 12)), str(chats(tmp_path / f"v{n}", 3, start=11 + n))) for n in (0, 1)]
    arguments = [*(training for training, _ in pairs), "--validation", pairs[0][1], "--validation", pairs[1][1]]
    assert main(["check", *arguments, "--json"]) == 0
    assert [report["warnings"]["by_kind"] for report in json.loads(capsys.readouterr().out)] == [{"overlap": 1}, {}]


def test_names_tell_which_files_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training, validation = chats(tmp_path / "faq-train.jsonl", 12), chats(tmp_path / "faq-valid.jsonl", 3, start=11)
    alone = chats(tmp_path / "07_validation_9_lines.jsonl", 9)
    for files in ([training, validation, alone], [validation, alone], [training, alone]):
        assert main(["check", "--by-name", "--json", *map(str, files)]) == 0
        pair, other = json.loads(capsys.readouterr().out)
        assert (pair["training"]["file"], pair["validation"]["file"]) == (str(training), str(validation))
        assert pair["warnings"]["by_kind"] == {"overlap": 1}
        assert other["training"]["file"] == str(alone)
