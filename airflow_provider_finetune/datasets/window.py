"""A part of a file as a file: what is sent to an endpoint, in large bites and without holding it in memory."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

_BITE = 1 << 20


class Window(io.RawIOBase):
    """Reads ``size`` bytes of a file from ``start`` on.

    Every read returns up to a megabyte, whatever is asked for: HTTP clients ask for 64 KB, and the calls around each
    cost more than the bytes.

    :param sent: told the position within the file after each read.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, sent: Callable[[int], None] | None = None) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0
        self._sent = sent

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, from the start of the part."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, from the start of the part."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = min(max(0, origin + offset), self._size)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, more of them than asked for if there are more; ``b""`` at the end of the part."""
        self._file.seek(self._start + self._at)
        bite = self._file.read(min(max(size, _BITE), self._size - self._at))
        self._at += len(bite)
        if self._sent is not None:
            self._sent(self._start + self._at)
        return bite
