"""A dataset as a file of an endpoint: its name there, whether it is there already, whether it can be used."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What the Uploads API takes: https://platform.openai.com/docs/api-reference/uploads
MOST_BYTES = 8 * 1024**3
DAY = 24 * 60 * 60
HASH_DIGITS = 16
_OURS = re.compile(rf"-[0-9a-f]{{{HASH_DIGITS}}}\.jsonl\Z")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]+")
_PENDING = frozenset({"uploaded", "pending", "queued", "importing", "processing", "running", "notRunning"})
_BROKEN = frozenset({"error", "failed", "deleted", "deleting", "cancelled", "expired"})


class StoredFile(Protocol):
    """What an endpoint tells of a file; compatible servers leave some of it out."""

    @property
    def id(self) -> str: ...
    @property
    def filename(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def created_at(self) -> int: ...


class FileState(Enum):
    """Whether a file can be used."""

    READY = "ready"
    PENDING = "pending"
    BROKEN = "broken"


@dataclass(frozen=True)
class Content:
    """The bytes of a dataset.

    :ivar size: in bytes.
    """

    sha256: str
    size: int

    def name(self, path: str) -> str:
        """Return the name under which the endpoint keeps the content: it carries the hash.

        :param path: where the content comes from; a path or a URL.
        """
        stem = _UNUSUAL.sub("-", PurePosixPath(path).name.removesuffix(".jsonl")).strip("-.")[:64]
        return f"{stem or 'dataset'}{self._ending}"

    def is_in(self, file: StoredFile) -> bool:
        """Return whether a file has this content, whatever it was called before the hash."""
        named = getattr(file, "filename", None)
        is_named_so = isinstance(named, str) and named.endswith(self._ending)
        return is_named_so and getattr(file, "bytes", None) in (self.size, None)

    @property
    def _ending(self) -> str:
        return f"-{self.sha256[:HASH_DIGITS]}.jsonl"


def is_uploaded_by_us(filename: str) -> bool:
    """Return whether a file's name at the endpoint is one that :meth:`Content.name` makes."""
    return _OURS.search(filename) is not None


def state_of(status: object) -> FileState:
    """Return what the status of a file means. What compatible servers invent, or leave out, is not waited for."""
    if not isinstance(status, str):
        return FileState.READY
    if status in _BROKEN:
        return FileState.BROKEN
    return FileState.PENDING if status in _PENDING else FileState.READY


def reusable(
    files: Iterable[StoredFile], content: Content, *, now: float, expires_after: int | None = None
) -> StoredFile | None:
    """Return the best of :func:`all_reusable`, or None."""
    return next(iter(all_reusable(files, content, now=now, expires_after=expires_after)), None)


def all_reusable(
    files: Iterable[StoredFile], content: Content, *, now: float, expires_after: int | None = None
) -> list[StoredFile]:
    """Return the files that already hold the content, and hold it long enough; the ready before the pending.

    A file is known by its name, which carries the hash, and by its size. This provider sends the last bytes of a file
    only when the hash of all of them is right, so that an upload that broke off has not all of the size.

    :param now: seconds since the epoch.
    :param expires_after: how long a new file would be kept, in seconds. A file is good enough when half of that is
        left, or a day when a new file would be kept for good.
    """
    needed = DAY if expires_after is None else expires_after / 2

    def is_kept(file: StoredFile) -> bool:
        expires_at = _number(file, "expires_at")
        return expires_at is None or expires_at - now >= needed

    held = [
        (state, -(_number(file, "created_at") or 0), file)
        for file in files
        if content.is_in(file)
        and is_kept(file)
        and (state := state_of(getattr(file, "status", None))) is not FileState.BROKEN
    ]
    held.sort(key=lambda found: (found[0] is not FileState.READY, found[1]))
    return [file for _, _, file in held]


def _number(file: StoredFile, field: str) -> float | None:
    value = getattr(file, field, None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
