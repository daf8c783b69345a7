"""Files where Airflow finds them: on this machine, or in object storage through ``ObjectStoragePath``."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

# Small blocks keep the memory of readers ahead small; some take 50 MB by default.
_BLOCK = 8 * 1024 * 1024


def is_remote(path: str) -> bool:
    """Return whether a path is a URL of object storage."""
    return "://" in path


def place(path: str, conn_id: str | None = None) -> Any:
    """Return a local ``Path``, or an ``ObjectStoragePath``, which has its methods.

    :param conn_id: the Airflow connection; the URL may carry it too: ``s3://my_conn@bucket/key``.
    """
    if not is_remote(path):
        return Path(path)
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path, **({"conn_id": conn_id} if conn_id else {}))


@contextmanager
def reading(path: str, conn_id: str | None = None) -> Iterator[BinaryIO]:
    """Open a file to read its bytes."""
    more = {"block_size": _BLOCK} if is_remote(path) else {}
    with place(path, conn_id).open("rb", **more) as file:
        yield cast("BinaryIO", file)
