"""A part of a file as a file: what is sent to an endpoint, in large bites and without holding it in memory."""

from __future__ import annotations

import hashlib
import io
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable

_BITE = 1 << 20


class Changed(OSError):
    """The file does not hold any more what was asked for."""


class Sending:
    """What is sent of a content, in order: its hash, which must be the expected one before the last bytes go out.

    So an endpoint never has all the bytes of another content under the name of this one.

    :param sha256: the expected hash, in hexadecimal.
    :param size: of the whole content in bytes.
    :ivar is_whole: whether all bytes were handed out, and are the expected ones.
    """

    def __init__(self, sha256: str, size: int) -> None:
        self.expected = sha256
        self.size = size
        self.is_whole = size == 0
        self.has_changed = False
        self._at = 0
        self._hash = hashlib.sha256()
        self._part = (0, self._hash.copy())

    def begin(self, start: int) -> None:
        """Begin a part, or begin it again: it may be sent several times.

        :param start: its place in the content; parts follow each other.
        """
        if start != self._part[0]:
            self._part = (start, self._hash.copy())
        self._at, self._hash = start, self._part[1].copy()

    def take(self, at: int, bite: bytes, wanted: int) -> None:
        """Note the next bytes.

        :param wanted: how many they should be.
        :raises Changed: they are fewer, or all bytes together are not those that were expected.
        """
        if at != self._at:  # a look at what was sent already
            return
        self._hash.update(bite)
        self._at += len(bite)
        at_end = self._at == self.size
        if len(bite) < wanted or (at_end and self._hash.hexdigest() != self.expected):
            self.has_changed = True
            raise Changed("the file changed while it was sent")
        self.is_whole = at_end


class Window(io.RawIOBase):
    """Reads ``size`` bytes of a file from ``start`` on.

    Every read returns up to a megabyte, whatever is asked for: HTTP clients ask for 64 KB, and the calls around each
    cost more than the bytes.

    :param sent: told the position within the file after each read.
    :param sending: told the bytes before they are handed out.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        size: int,
        sent: Callable[[int], None] | None = None,
        sending: Sending | None = None,
    ) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0
        self._sent = sent
        self._sending = sending

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
        wanted = min(max(size, _BITE), self._size - self._at)
        bite = self._file.read(wanted)
        if self._sending is not None and wanted:
            if self._at == 0:
                self._sending.begin(self._start)
            self._sending.take(self._start + self._at, bite, wanted)
        self._at += len(bite)
        if self._sent is not None:
            self._sent(self._start + self._at)
        return bite
