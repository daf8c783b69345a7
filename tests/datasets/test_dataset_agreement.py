"""The checker and the emulator agree: what passes here is accepted there, and what is refused there is refused here."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import openai
import pytest
from generated_datasets import OPENAI, Style, checked, good_row, good_rows, styles
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset_corruption import LINES, ROWS, corrupted_line, corrupted_row
from test_dataset_corruption import quick as thorough

from airflow_provider_finetune.emulator.examples import BadFile, read_examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_finetune.emulator import Emulator

quick = settings(thorough, max_examples=40)
MODEL = "gpt-4.1-mini-2025-04-14"
METHODS = ["supervised", "dpo", "reinforcement"]
PLAIN = Style((", ", ": "), True, b"\n")


def is_accepted(content: bytes, method: str, folder: Path) -> bool:
    """Whether a job of the emulator would take the file."""
    path = folder / "train.jsonl"
    path.write_bytes(content)
    try:
        read_examples(path, method, param="training_file", stopped=lambda: False)
    except BadFile:
        return False
    return True


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agreement")


@pytest.mark.parametrize("method", METHODS)
@quick
@given(data=st.data(), style=styles)
def test_what_the_checker_passes_is_accepted_by_the_emulator(
    method: str, folder: Path, data: st.DataObject, style: Style
) -> None:
    rows = data.draw(good_rows(method, fewest=10))
    content = style.file([style.line(row) for row in rows])
    assert checked(content, method, rules=OPENAI).ok
    assert is_accepted(content, method, folder)


@pytest.mark.parametrize("how", [*LINES, *ROWS])
@quick
@given(data=st.data(), rows=good_rows(fewest=10), style=styles)
def test_a_corrupted_file_that_the_emulator_refuses_is_refused_by_the_checker(
    how: str, folder: Path, data: st.DataObject, rows: list[dict[str, Any]], style: Style
) -> None:
    bad = data.draw(st.integers(0, len(rows) - 1))
    if how in ROWS:
        corrupted_row(how, rows[bad], data.draw)
    lines = [style.line(row) for row in rows]
    if how in LINES:
        lines[bad] = corrupted_line(how, lines[bad], data.draw)
    content = style.file(lines)
    for method in METHODS:
        if not is_accepted(content, method, folder):
            assert not checked(content, method, rules=OPENAI).ok


@quick
@given(data=st.data(), method=st.sampled_from(METHODS))
def test_any_bytes_that_the_checker_passes_are_accepted_by_the_emulator(
    folder: Path, data: st.DataObject, method: str
) -> None:
    """Random damage, most of it fatal, some of it not."""
    lines = [PLAIN.line(row) for row in data.draw(good_rows(method, fewest=12))]
    for _ in range(data.draw(st.integers(0, 3))):
        bad = data.draw(st.integers(0, len(lines) - 1))
        at = data.draw(st.integers(0, len(lines[bad])))
        token = data.draw(st.sampled_from([b"", b'"', b"\\", b"}", b"x", b"\xff", b"0", b" ", b'"a":1,', b"null"]))
        lines[bad] = lines[bad][:at] + token + lines[bad][at + data.draw(st.integers(0, 2)) :]
    content = PLAIN.file(lines)
    assert is_accepted(content, method, folder) or not checked(content, method, rules=OPENAI).ok


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11])
def test_both_want_ten_examples(count: int, folder: Path) -> None:
    rows = [good_row("supervised", random.Random(n), n, "text") for n in range(count)]
    content = PLAIN.file([PLAIN.line(row) for row in rows]) if rows else b""
    assert checked(content, rules=OPENAI).ok == is_accepted(content, "supervised", folder) == (count >= 10)


@pytest.mark.parametrize(
    "how", ["good", "unknown_role", "not_json", "no_assistant", "duplicate_key", "misplaced_image"]
)
def test_a_job_comes_to_the_same_verdict(how: str, emulator: Emulator, until: Callable[..., dict[str, Any]]) -> None:
    rows = [good_row("supervised", random.Random(3), n, "text") for n in range(12)]
    lines = [PLAIN.line(row) for row in rows]
    match how:
        case "unknown_role":
            lines[4] = lines[4].replace(b'"user"', b'"usr"')
        case "not_json":
            lines[4] = lines[4][:-1]
        case "no_assistant":
            lines[4] = PLAIN.line({"messages": [{"role": "user", "content": "x"}]})
        case "duplicate_key":
            lines[4] = lines[4].replace(b'"role"', b'"role": "tool", "role"', 1)
        case "misplaced_image":
            image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
            rows[4]["messages"][-1]["content"] = [image]
            lines[4] = PLAIN.line(rows[4])
    content = PLAIN.file(lines)
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key) as client:
        file = client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=MODEL, training_file=file.id)
    job_is_refused = until(job.id, "running", "succeeded", "failed")["status"] == "failed"
    assert checked(content, rules=OPENAI).ok == (how == "good")
    # Of keys that occur twice the emulator, like many servers, takes the last.
    assert job_is_refused == (how not in ("good", "duplicate_key"))
