"""Tokens are counted where that is possible offline, and estimated, and labelled so, where not."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import good_row

from airflow_provider_finetune.datasets import DatasetChecker, EncodingUnavailable, tokens

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the check went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_without_the_encoding_tokens_are_estimated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert tokens.counter_for("auto") == (tokens.ESTIMATE, None)
    with pytest.raises(EncodingUnavailable, match=r"TIKTOKEN_CACHE_DIR|not installed"):
        tokens.counter_for("tiktoken")


def test_a_broken_file_of_the_encoding_is_neither_used_nor_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    kept = tmp_path / "fb374d419588a4632f3f557e76b4b70aebbca790"
    kept.write_bytes(b"half a download")
    assert tokens.counter_for("auto") == (tokens.ESTIMATE, None)
    assert kept.read_bytes() == b"half a download"


def test_an_unknown_encoding_is_refused() -> None:
    pytest.importorskip("tiktoken")
    with pytest.raises(EncodingUnavailable, match="expected one of cl100k_base, o200k_base"):
        tokens.counter_for("tiktoken", "o300k_base")


def test_where_tokens_can_be_counted_every_text_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that counts words: tiktoken's own file is 3 MB and not ours to ship."""
    monkeypatch.setattr(tokens, "_tiktoken_counter", lambda _: lambda text: len(text.split()))
    checker = DatasetChecker("train.jsonl", "completion")
    for n in range(20):
        checker.feed(b'{"prompt": "one two %d", "completion": "four \\u0065 six"}\n' % n)
    counted = checker.finish().training.tokens
    # Three tokens mark an example.
    assert (counted.source, counted.total, counted.max) == ("tiktoken o200k_base", 20 * 9, 9)


def test_tiktoken_counts_as_it_does_by_itself() -> None:
    pytest.importorskip("tiktoken")
    try:
        label, count = tokens.counter_for("tiktoken", "cl100k_base")
    except EncodingUnavailable as error:
        pytest.skip(str(error))
    import tiktoken

    assert label == "tiktoken cl100k_base"
    assert count is not None
    encoding = tiktoken.get_encoding("cl100k_base")
    for text in (
        "",
        "Hello, world!",
        "naïve 你好 😀",
        "<|endoftext|>",
        str(good_row("supervised", random.Random(0), 1, "text")),
    ):
        assert count(text) == len(encoding.encode_ordinary(text))
    assert count("word " * 50_000) == pytest.approx(50_000, rel=0.01)
