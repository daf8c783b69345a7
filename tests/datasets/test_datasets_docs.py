"""What the documentation of datasets shows runs as it stands, the hook by the real pre-commit."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_finetune.datasets.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
DOCS, README = ((ROOT / name).read_text() for name in ("docs/datasets.md", "README.md"))
COMMANDS = [
    line
    for block in re.findall(r"```shell\n(.*?)```", DOCS, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("finetune-dataset ")
]
PYTHON = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
(HOOKS,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)


def chats(count: int, start: int = 0) -> list[dict[str, Any]]:
    turns = [("user", "Is {} odd?"), ("assistant", "{} it is")]
    return [
        {"messages": [{"role": role, "content": text.format(n)} for role, text in turns]}
        for n in range(start, start + count)
    ]


def asked(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"Is {n} odd?"}], "answer": n % 2}
        for n in range(start, start + count)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation speaks of."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "train.jsonl", chats(12))
    write(tmp_path / "valid.jsonl", chats(9, start=20))
    (tmp_path / "faq.csv").write_text("question,answer\n" + "".join(f"Is {n} odd?,Yes {n}\n" for n in range(12)))
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    (tmp_path / "sharegpt.json").write_text(json.dumps([{"conversations": turns}] * 12))
    return tmp_path


def test_each_command_does_what_it_shows(folder: Path) -> None:
    assert len(COMMANDS) == 3
    for shown in COMMANDS:
        _, *arguments = shlex.split(shown)
        overwrite = ["--overwrite"] if arguments[0] == "convert" else []
        assert main([*arguments, *overwrite]) == 0, shown
    assert main(["check", "train.jsonl", "train-2.jsonl"]) == 0


def test_each_command_of_the_readme_runs(folder: Path) -> None:
    commands = re.findall(r"^finetune-dataset (.+)$", README, re.MULTILINE)
    assert commands
    for shown in commands:
        assert main([*shlex.split(shown), *(["--overwrite"] if shown.startswith("convert") else [])]) == 0, shown


def test_the_options_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    section = DOCS[DOCS.index("## In a terminal") : DOCS.index("## Before a commit")]
    assert set(re.findall(r"`(--[a-z-]+)", section)) == offered


@pytest.mark.parametrize("code", PYTHON, ids=lambda code: code.splitlines()[-1])
def test_the_python_examples_run(code: str, folder: Path) -> None:
    exec(compile(code, "datasets.md", "exec"), {"__name__": "example"})


@pytest.fixture
def repository(folder: Path) -> Path:
    """A repository with the hooks of the documentation, and a dataset for each of them."""
    (folder / ".pre-commit-config.yaml").write_text(HOOKS)
    write(folder / "faq-train.jsonl", chats(12))
    write(folder / "faq-valid.jsonl", chats(3, start=30))
    write(folder / "07_validation_9_lines.jsonl", chats(9, start=40))
    write(folder / "reinforcement" / "train.jsonl", asked(12))
    write(folder / "reinforcement" / "valid.jsonl", asked(2, start=20))
    write(folder / "reinforcement" / "more.jsonl", asked(12, start=40))
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", "add", "--all"], check=True)
    return folder


@pytest.fixture
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run pre-commit as a person does who has installed it beside finetune-dataset."""
    home = tmp_path_factory.mktemp("home")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PRE_COMMIT_HOME": str(home), "HOME": str(home), "PATH": path}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["pre-commit", "run", "--color", "never", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_the_hooks_pass_on_good_datasets(
    repository: Path, hooks: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = hooks("--all-files", "--verbose")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Passed") == 2
    assert "faq-valid.jsonl: 3 good examples" in done.stdout
    assert "reinforcement/valid.jsonl: 2 good examples" in done.stdout


def test_the_hooks_name_what_is_wrong_also_when_only_one_of_a_pair_has_changed(
    repository: Path, hooks: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write(repository / "faq-valid.jsonl", [*chats(3, start=30), {"messages": []}])
    write(repository / "reinforcement" / "train.jsonl", asked(9))
    done = hooks("--files", "faq-valid.jsonl", "reinforcement/train.jsonl")
    assert done.returncode == 1
    assert "faq-valid.jsonl line 4: messages is empty" in done.stdout
    assert "reinforcement/train.jsonl: 9 examples; expected at least 10" in done.stdout
    assert "faq-train.jsonl: 12 good examples" in done.stdout
