"""Paths and URLs are shown without what they may hide."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.addresses import secrets_in, shown


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


@pytest.mark.parametrize(
    ("path", "secrets"),
    [
        ("/data/user:pass@train.jsonl", set()),
        ("s3://my_conn@bucket/train.jsonl", set()),
        ("abfs://container@account/a", set()),
        ("s3://bucket/a@b:c.jsonl", set()),
        ("s3://key:sec/ret@bucket/a.jsonl", {"key:sec/ret", "sec/ret"}),
        ("file://user:p%40ss@host/a", {"user:p%40ss", "user:p@ss", "p%40ss", "p@ss"}),
        ("https://host/a?region=eu#frag", {"region=eu", "frag"}),
        (
            "https://host/a?sig=a%2Fb0123456789",
            {"sig=a%2Fb0123456789", "sig=a/b0123456789", "a%2Fb0123456789", "a/b0123456789"},
        ),
    ],
)
def test_what_a_url_hides_is_known_as_written_and_as_meant(path: str, secrets: set[str]) -> None:
    assert secrets_in(path) == secrets
    assert not any(secret in shown(path) for secret in secrets)
