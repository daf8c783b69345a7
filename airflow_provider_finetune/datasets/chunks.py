"""The bytes of a file, up to what an endpoint takes."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, BinaryIO, Final

from airflow_provider_finetune.datasets.stored import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK: Final = 1 << 19


def chunks_of(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield what a file holds.

    :param name: of the file, for messages.
    :raises OSError: it holds more than an endpoint takes, or grows without end, as ``/dev/zero`` does.
    """
    size = 0
    while chunk := file.read(_CHUNK):
        size += len(chunk)
        if size > MOST_BYTES:
            raise OSError(errno.EFBIG, f"has more than {MOST_BYTES:,} bytes, which is what an endpoint takes", name)
        yield chunk
