"""Which file of an endpoint already holds a dataset, and whether it can be used."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_finetune.datasets.stored import DAY, Content, reusable
from airflow_provider_finetune.datasets.window import Window

CONTENT = Content("ab" * 32, 100)
NAME = "train-abababababababab.jsonl"


def stored(name: str = NAME, **fields: Any) -> Any:
    return SimpleNamespace(**({"id": "file-1", "filename": name, "bytes": 100, "status": "processed"} | fields))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("train.jsonl", NAME),
        ("/data/sets/train.jsonl", NAME),
        ("s3://bucket/sets/train.jsonl", NAME),
        ("train", NAME),
        ("my data (1).jsonl", "my-data-1-abababababababab.jsonl"),
        ("./.jsonl", "dataset-abababababababab.jsonl"),
    ],
)
def test_the_name_carries_the_hash_and_is_one_that_every_endpoint_takes(path: str, name: str) -> None:
    assert CONTENT.name(path) == name


def test_a_file_is_found_by_hash_and_size_whatever_else_it_is_called() -> None:
    other = stored("renamed-abababababababab.jsonl")
    assert reusable([stored("train.jsonl"), stored(bytes=99), other], CONTENT, now=0) is other
    assert reusable([stored("train-0000000000000000.jsonl")], CONTENT, now=0) is None


def test_a_broken_file_is_not_reused_and_a_ready_one_comes_before_a_pending_one() -> None:
    pending, ready = stored(status="uploaded", created_at=9), stored(created_at=1)
    assert reusable([stored(status="error"), stored(status="deleted")], CONTENT, now=0) is None
    assert reusable([pending, ready], CONTENT, now=0) is ready
    assert reusable([pending], CONTENT, now=0) is pending


def test_files_of_servers_that_leave_fields_out_are_taken() -> None:
    bare = SimpleNamespace(id="file-1", filename=NAME, bytes=100)
    assert reusable([bare], CONTENT, now=0) is bare
    assert reusable([SimpleNamespace(id="file-2")], CONTENT, now=0) is None


@pytest.mark.parametrize(
    ("left", "expires_after", "is_taken"),
    [
        (DAY - 1, None, False),
        (DAY, None, True),
        (1799, 3600, False),
        (1800, 3600, True),
        (DAY, 30 * DAY, False),
    ],
)
def test_a_file_that_expires_too_soon_is_not_reused(left: int, expires_after: int | None, is_taken: bool) -> None:
    file = stored(expires_at=1000 + left)
    assert (reusable([file], CONTENT, now=1000, expires_after=expires_after) is file) == is_taken


def test_a_window_is_a_part_of_a_file_that_can_be_read_again() -> None:
    told: list[int] = []
    window = Window(io.BytesIO(b"0123456789"), 3, 4, told.append)
    assert window.read(64) == b"3456"
    assert window.read(64) == b""
    assert window.seek(0) == 0
    assert window.seek(0, io.SEEK_END) == window.tell() == 4
    assert window.seek(-2, io.SEEK_CUR) == 2
    assert window.read() == b"56"
    assert told == [7, 7, 7]


def test_windows_side_by_side_give_the_whole_file() -> None:
    content = bytes(range(256)) * 20_000
    windows = [
        Window(io.BytesIO(content), start, min(1_500_000, len(content) - start))
        for start in range(0, len(content), 1_500_000)
    ]
    assert b"".join(iter_all(window) for window in windows) == content


def iter_all(window: Window) -> bytes:
    parts = []
    while bite := window.read(65_536):
        assert len(bite) <= 1 << 20
        parts.append(bite)
    return b"".join(parts)


def test_times_that_are_no_numbers_are_as_good_as_none() -> None:
    odd = stored(created_at="2026-11-22", expires_at="never")
    assert reusable([odd], CONTENT, now=0) is odd
