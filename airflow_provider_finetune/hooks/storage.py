"""Files where Airflow finds them: on this machine, or in object storage through ``ObjectStoragePath``."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.datasets.stored import MOST_BYTES
from airflow_provider_finetune.exceptions import DatasetError, FineTuningError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Small blocks keep the memory of readers ahead small; some take 50 MB by default.
_BLOCK = 8 * 1024 * 1024
_CHUNK = 1024 * 1024


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
def reading(path: str, conn_id: str | None = None, *, buffering: int = -1) -> Iterator[BinaryIO]:
    """Open a file to read its bytes.

    :param buffering: of a local file, as for ``open``: 0 for who reads large chunks, and again what was read before.
    :raises DatasetError: there is no such file, it is none, or this Airflow has no filesystem for the URL. No retry
        can mend that.
    """
    with ExitStack() as stack:
        with _explained(path):
            if not is_remote(path):
                if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe may wait for ever, and a device never ends
                    raise DatasetError(f"{path} is a device, a pipe or a directory; expected a file")
                file = stack.enter_context(open(path, "rb", buffering=buffering))
            else:
                file = stack.enter_context(place(path, conn_id).open("rb", block_size=_BLOCK))
        yield file


def chunks(file: BinaryIO, path: str, *, seconds: float | None = None) -> Iterator[bytes]:
    """Yield what a file holds, up to what an endpoint takes, within a time.

    :raises DatasetError: it holds more.
    :raises FineTuningError: reading it takes longer.
    """
    size, until = 0, None if seconds is None else time.monotonic() + seconds
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if size > MOST_BYTES:
            raise DatasetError(f"{shown(path)} has more than {MOST_BYTES:,} bytes, or grows; expected at most so many")
        if until is not None and time.monotonic() > until:
            raise FineTuningError(f"{shown(path)}: {size:,} bytes were read in {seconds:.0f} s, which is the timeout")
        yield chunk


def spool(chunk: bytes, file: BinaryIO) -> None:
    """Keep bytes of a remote file on this machine.

    :raises FineTuningError: there is no room for them.
    """
    left = memoryview(chunk)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise FineTuningError(
            f"The disk of the worker's temporary directory {tempfile.gettempdir()} is full, where a remote dataset is "
            "kept while it is uploaded. Make room, or set TMPDIR to a larger disk."
        ) from None


@contextmanager
def _explained(path: str) -> Iterator[None]:
    scheme = path.partition("://")[0].lower()
    try:
        yield
    except FileNotFoundError:
        where = "Check the path and the storage connection" if is_remote(path) else _WHERE
        raise DatasetError(f"There is no file {shown(path)}.\n{where}.") from None
    except ValueError as error:
        if "filesystem" not in str(error):
            raise
        package = _PACKAGES.get(scheme)
        what = f"Install it on the workers: pip install '{package}'" if package else _UNKNOWN
        raise DatasetError(f"{shown(path)}: this Airflow has no filesystem for {scheme}://.\n{what}.") from None


_WHERE = "The path is the worker's: where workers share no disk, use object storage, such as s3://bucket/train.jsonl"
_UNKNOWN = "Use a local path, s3://, gs://, abfs:// or file://, or a provider package that registers the scheme"
#: What brings the filesystem of a scheme to Airflow.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "apache-airflow-providers-amazon[s3fs]"),
    **dict.fromkeys(("gs", "gcs"), "apache-airflow-providers-google"),
    **dict.fromkeys(("abfs", "abfss", "adl"), "apache-airflow-providers-microsoft-azure"),
}
