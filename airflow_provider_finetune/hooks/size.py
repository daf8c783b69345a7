"""Bounds on how much an endpoint can answer: bytes as they are decoded, and values in what is to be parsed.

It works below the SDK, as :mod:`.bounds` does: the stream of each answer is replaced by one that decodes it bit by bit
and counts. What is over the bound is never in memory, however small it was when it was sent.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_finetune.hooks.not_the_apis import NotTheApis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MB = 1024 * 1024
#: A file that is read into memory; what ``POST /files`` takes.
FILE_BYTES = 512 * MB
#: An error says what it has to say in less; the rest of it is not read.
ERROR_BYTES = 64 * 1024
#: Reading what is longer is left to a thread, in which the event loop has its turns.
LONG = 64 * 1024
#: What one piece of a body counts at least: a body in crumbs costs more than its bytes.
_PIECE_BYTES = 256
#: How much is decoded at once, and after how many pieces the event loop gets its turn.
_AT_ONCE = 64 * 1024
_PIECES_AT_ONCE = 32
_ENCODINGS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
#: What is asked for: the encodings that can be decoded within bounds.
ACCEPTED = "gzip, deflate"


class Size(NamedTuple):
    """How large an answer may be.

    :param most_bytes: of the decoded body, but for the content of a file.
    :param most_values: of all its objects, lists and what is in them, counted before it is parsed.
    """

    most_bytes: int
    most_values: int


#: 10,000 files, which the API lists in one page, are 4 MB; a worker's process is its task's own.
WORKER = Size(16 * MB, 1_000_000)
#: 100 jobs are 0.3 MB and 10,000 values. Parsing as many values as this holds up the event loop for 50 ms, no longer.
TRIGGERER = Size(1 * MB, 50_000)


class TooLarge(NotTheApis):
    """The answer is larger than any that the API gives."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the answer is larger than {what}, and none")


class Incomprehensible(NotTheApis):
    """The answer is encoded in a way that nobody asked for, or wrongly."""

    def __init__(self, encoding: str) -> None:
        super().__init__(f"the answer cannot be decoded ({encoding[:40]!r}), and is none")


def limit(response: Any, size: Size) -> None:
    """Let the body of an answer, which has not been read yet, have no more than so much.

    What is more raises :class:`TooLarge` while it is read; an error is cut instead. What one body may have at most
    does not apply to the content of a file, which may be as large as files are.

    :param response: of httpx or httpx2, sync or async.
    """
    encoding = response.headers.pop("content-encoding", "identity").strip().lower()
    if encoding != "identity" and encoding not in _ENCODINGS:
        raise Incomprehensible(encoding)
    most: int | None = size.most_bytes
    if not response.is_success:
        most = ERROR_BYTES
    elif response.request.url.path.endswith("/content"):
        most = None
    counted = _Counted(encoding, most, cut=not response.is_success)
    # Texts are UTF-8, whatever is announced: there are encodings that take hours to decode.
    if "content-type" in response.headers:
        response.headers["content-type"] = response.headers["content-type"].partition(";")[0]
    http: Any = sys.modules[type(response).__module__.partition(".")[0]]
    stream = response.stream
    if isinstance(stream, http.AsyncByteStream):
        response.stream = _stream(http.AsyncByteStream, stream, {"__aiter__": lambda _: counted.apieces(stream)})
    else:
        response.stream = _stream(http.SyncByteStream, stream, {"__iter__": lambda _: counted.pieces(stream)})


def check_values(content: bytes, size: Size) -> None:
    """Check that a body is quick to parse.

    :raises TooLarge: it has more values than the bound; commas in texts count as some too.
    """
    if len(content) > size.most_values and sum(map(content.count, (b",", b"[", b"{"))) > size.most_values:
        raise TooLarge(f"{size.most_values:,} values")


class Content:
    """The content of a file, piece by piece.

    :raises TooLarge: it has more bytes than :data:`FILE_BYTES`.
    """

    def __init__(self) -> None:
        self._found = bytearray()

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if len(self._found) + len(piece) > FILE_BYTES:
            raise TooLarge(f"{FILE_BYTES // MB} MB")
        self._found += piece

    def whole(self) -> bytes:
        """Return all of it."""
        return bytes(self._found)


def _stream(kind: Any, stream: Any, members: dict[str, Any]) -> Any:
    """Return a stream of a kind of httpx's, which is in all but the iteration the other one."""
    members |= {
        "close": lambda _: stream.close(),
        "aclose": lambda _: stream.aclose(),
        "__getattr__": lambda _, name: getattr(stream, name),
    }
    return type("BoundedStream", (kind,), members)()


class _Counted:
    """The pieces of one body, decoded and counted.

    :param most: bytes at most; None for as many as there are.
    :param cut: whether it ends there, instead of raising :class:`TooLarge`.
    """

    def __init__(self, encoding: str, most: int | None, *, cut: bool) -> None:
        self.encoding = encoding
        self.most = most
        self.cut = cut
        self.read = 0
        self.over = False
        self.first = b""
        self.decoder: Any = None if encoding == "identity" else zlib.decompressobj(_ENCODINGS[encoding])

    def pieces(self, stream: Any) -> Iterator[bytes]:
        for raw in stream:
            yield from self._decoded(raw)
            if self.over:
                return

    async def apieces(self, stream: Any) -> AsyncIterator[bytes]:
        count = 0
        async for raw in stream:
            for piece in self._decoded(raw):
                yield piece
            if self.over:
                return
            count += 1
            if count % _PIECES_AT_ONCE == 0:  # many pieces come with one read
                await asyncio.sleep(0)

    def _decoded(self, raw: bytes) -> Iterator[bytes]:
        if self.decoder is None:
            yield self._count(raw)
            return
        self._count(raw)  # what is sent counts too: there are encodings of nothing at all without an end
        while not self.over and not self.decoder.eof:
            try:
                piece = self.decoder.decompress(raw, _AT_ONCE)
            except zlib.error:
                if self.encoding != "deflate":
                    raise Incomprehensible(self.encoding) from None
                # Some servers mean this by it, which the first two bytes tell.
                self.encoding, self.decoder = "raw deflate", zlib.decompressobj(-zlib.MAX_WBITS)
                raw = self.first + raw
                continue
            self.first = self.first or raw[:1]
            if not piece:
                return
            raw = self.decoder.unconsumed_tail
            yield self._count(piece)

    def _count(self, piece: bytes) -> bytes:
        self.read += max(len(piece), _PIECE_BYTES)
        if self.most is None or self.read <= self.most:
            return piece
        if not self.cut:
            raise TooLarge(f"{self.most // MB} MB")
        self.over = True
        return piece[: max(0, len(piece) - (self.read - self.most))]
