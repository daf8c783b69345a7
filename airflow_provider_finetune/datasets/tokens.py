"""Tokens of a dataset: counted with ``tiktoken`` where its encoding is on this machine, else a labelled estimate."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable

TokenSource = Literal["auto", "tiktoken", "estimate"]

#: The label of numbers that are not counted.
ESTIMATE = "estimate (4 bytes of text a token)"
DEFAULT_ENCODING = "o200k_base"

# Where tiktoken keeps an encoding that it once downloaded, and the checksum that it wants: a file with another one
# would make it download. https://github.com/openai/tiktoken/blob/main/tiktoken_ext/openai_public.py
_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
_SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
#: Encodings of tiktoken that can be used.
ENCODINGS = tuple(_SHA256)
# tiktoken's time and stack grow with the length of one word.
_LONGEST = 100_000


class EncodingUnavailable(Exception):
    """The encoding cannot be used without a download."""


@dataclass(frozen=True)
class Tokens:
    """Tokens over the examples of a file.

    :ivar source: ``tiktoken o200k_base``, or that the numbers are an estimate.
    """

    source: str
    total: int
    mean: float
    p50: int
    p95: int
    max: int

    @property
    def is_estimate(self) -> bool:
        """Whether the numbers are guessed from the length of the texts."""
        return self.source == ESTIMATE


def tokens_from(lengths: Counter[int], source: str) -> Tokens:
    """Return the numbers for examples of these lengths.

    :param lengths: how many examples have how many tokens.
    """
    count, total = lengths.total(), sum(length * times for length, times in lengths.items())
    if not count:
        return Tokens(source, 0, 0.0, 0, 0, 0)
    ordered = sorted(lengths.items())
    return Tokens(
        source=source,
        total=total,
        mean=round(total / count, 1),
        p50=_quantile(ordered, count * 0.50),
        p95=_quantile(ordered, count * 0.95),
        max=ordered[-1][0],
    )


def counter_for(source: TokenSource, encoding: str = DEFAULT_ENCODING) -> tuple[str, Callable[[str], int] | None]:
    """Return a label, and what counts the tokens of a text; None stands for the estimate. Never downloads.

    :param source: ``auto`` takes tiktoken where it can; ``tiktoken`` insists.
    :param encoding: ``o200k_base`` (GPT-4o and later) or ``cl100k_base``.
    :raises EncodingUnavailable: tiktoken is wanted, and it or its encoding is not on this machine.
    """
    if source == "estimate":
        return ESTIMATE, None
    try:
        return f"tiktoken {encoding}", _tiktoken_counter(encoding)
    except EncodingUnavailable:
        if source == "tiktoken":
            raise
        return ESTIMATE, None


def _tiktoken_counter(name: str) -> Callable[[str], int]:
    try:
        import tiktoken
    except ImportError:
        raise EncodingUnavailable("tiktoken is not installed: install airflow-provider-finetune[tokens]") from None
    if name not in _SHA256:
        raise EncodingUnavailable(f"encoding {name!r} is not known; expected one of {', '.join(_SHA256)}")
    if not any(_is_intact(folder / _cache_key(name), _SHA256[name]) for folder in _cache_folders()):
        raise EncodingUnavailable(
            f"tiktoken's file of {name} is not on this machine; set TIKTOKEN_CACHE_DIR to a folder that holds it as "
            f"{_cache_key(name)}"
        )
    encode = tiktoken.get_encoding(name).encode_ordinary

    def count(text: str) -> int:
        if len(text) <= _LONGEST:
            return len(encode(text))
        return sum(len(encode(text[i : i + _LONGEST])) for i in range(0, len(text), _LONGEST))

    return count


def _cache_folders() -> Iterable[Path]:
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return [Path(os.environ[variable])] if os.environ[variable] else []
    return [Path(tempfile.gettempdir(), "data-gym-cache")]


def _cache_key(name: str) -> str:
    return hashlib.sha1(_URL.format(name).encode(), usedforsecurity=False).hexdigest()


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _quantile(ordered: list[tuple[int, int]], rank: float) -> int:
    passed = 0
    for length, times in ordered:
        passed += times
        if passed >= rank:
            return length
    return ordered[-1][0]
