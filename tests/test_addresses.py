"""Paths and URLs are shown without what they may hide."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.addresses import shown


@pytest.mark.parametrize(
    ("path", "as_shown"),
    [
        ("/data/train@2.jsonl", "/data/train@2.jsonl"),
        ("s3://bucket/train.jsonl", "s3://bucket/train.jsonl"),
        ("s3://key:sec/ret@bucket/a.jsonl", "s3://bucket/a.jsonl"),
        ("s3://key:secret@bucket/a@b.jsonl", "s3://bucket/a@b.jsonl"),
        ("s3://my_conn@bucket/train.jsonl", "s3://bucket/train.jsonl"),
        ("file://user:pass@host/a", "file://host/a"),
        ("https://host/a?sig=1#b", "https://host/a"),
        ("abfs://container@account.dfs.core.windows.net/a", "abfs://container@account.dfs.core.windows.net/a"),
        ("abfs://user:pass@account/a", "abfs://account/a"),
    ],
)
def test_a_url_is_shown_without_user_query_and_fragment(path: str, as_shown: str) -> None:
    assert shown(path) == as_shown
