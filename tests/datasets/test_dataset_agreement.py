"""The checker and the emulator agree: what passes here is accepted there, and what is refused there is refused here."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import Style, checked, good_row, good_rows, styles
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset_corruption import LINES, ROWS, corrupted_line, corrupted_row
from test_dataset_corruption import quick as thorough

from airflow_provider_finetune.emulator.examples import BadFile, read_examples

if TYPE_CHECKING:
    from pathlib import Path

quick = settings(thorough, max_examples=40)
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
    assert checked(content, method).ok
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
            assert not checked(content, method).ok


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
    assert is_accepted(content, method, folder) or not checked(content, method).ok


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11])
def test_both_want_ten_examples(count: int, folder: Path) -> None:
    rows = [good_row("supervised", random.Random(n), n, "text") for n in range(count)]
    content = PLAIN.file([PLAIN.line(row) for row in rows]) if rows else b""
    assert checked(content).ok == is_accepted(content, "supervised", folder) == (count >= 10)
