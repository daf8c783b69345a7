"""Bounds on what an endpoint can do to whoever asks it: a whole answer in time and of a size, JSON where JSON is due.

The HTTP client's own time-out is for each read, so that an answer of a byte a second never ends. Here the same time-out
is for the whole answer, counted from the last byte that was sent. So an upload may take as long as it makes progress,
and its answer no longer than any other. How large an answer may be, :mod:`.size` says.

It works below the SDK, for the worker's client as for the triggerer's, with httpx as with httpx2: by their event hooks,
and by the ``trace`` extension that tells of each connection they open
(https://www.python-httpx.org/advanced/extensions/#trace).
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import openai

from airflow_provider_finetune.hooks import size
from airflow_provider_finetune.hooks.not_the_apis import NotTheApis
from airflow_provider_finetune.hooks.request_log import keep_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: For the whole answer to a short question, where the connection's extra does not say otherwise.
REQUEST_SECONDS = 30.0
#: For one write of an upload: longer without any progress, and it has failed.
STALLED_SECONDS = 60.0
#: That much has to be sent in the time for one write: an endpoint that takes a byte now and then holds up nobody.
PIECE_BYTES = 64 * 1024
#: One read takes no more: what many small parts of an answer cost, comes between two turns of the event loop.
READ_BYTES = 16 * 1024
#: All headers of an answer together, each of which takes its time to read.
HEAD_BYTES = 32 * 1024
_OPENED = (".connect_tcp.complete", ".connect_unix_socket.complete", ".start_tls.complete")
_END_OF_HEAD = re.compile(rb"\n\r?\n")
_DEADLINE = "finetune_deadline"
_ORIGIN = "finetune_origin"

Client = TypeVar("Client", openai.OpenAI, openai.AsyncOpenAI)


class RedirectRefused(openai.APIError):
    """The endpoint redirected to another host, which would get the data and believe of it what it answers."""

    def __init__(self, origin: str, target: str, request: Any) -> None:
        super().__init__(
            f"{origin} redirects to {target}, which is another host. Nothing was sent there. If that is the endpoint, "
            "make it the connection's host",
            request=request,
            body=None,
        )


def bounded(client: Client, most: size.Size = size.WORKER) -> Client:
    """Return the client, each of whose requests has bounds from now on.

    One that has used up its time raises ``openai.APITimeoutError``, and the SDK does not send it again: whoever asked
    decides. An answer that is too large raises :class:`.size.TooLarge`, and its rest is not read. A success of the
    fine-tuning routes that is announced as something else than JSON raises :class:`.NotTheApis`, unread. A redirect to
    another host raises :class:`RedirectRefused`, and nothing is sent there.
    """
    http: Any = client._client
    first, then = (_abegin, _acheck) if isinstance(client, openai.AsyncOpenAI) else (_begin, _check)
    hooks: dict[str, list[Any]] = http.event_hooks
    check = partial(then, most=most)
    http.event_hooks = {"request": [*hooks["request"], first], "response": [*hooks["response"], check]}
    return client


def for_short_answers(client: Client) -> Client:
    """Return the client with :data:`REQUEST_SECONDS` for each request, unless it was given a time-out of its own."""
    own = client.timeout is not None and client.timeout != openai.DEFAULT_TIMEOUT
    return client if own else client.with_options(timeout=REQUEST_SECONDS)


def for_uploads(client: Client) -> Client:
    """Return the client with :data:`STALLED_SECONDS` for each write, unless it was given a time-out of its own."""
    if client.timeout != openai.DEFAULT_TIMEOUT:
        return client
    own = openai.DEFAULT_TIMEOUT
    stalled = openai.Timeout(own.read, connect=own.connect, write=STALLED_SECONDS)
    return client.with_options(timeout=stalled)


def _begin(request: Any, trace: Callable[..., Any] | None = None) -> None:
    """Prepare a request; it may be one of several, where the endpoint redirects."""
    keep_out(request)
    _stay(request)
    request.headers["accept-encoding"] = size.ACCEPTED
    request.extensions["trace"] = trace or _trace
    times = request.extensions.get("timeout") or {}
    if times.get("read") is None:
        return
    left = request.extensions.setdefault(_DEADLINE, time.monotonic() + times["read"]) - time.monotonic()
    if left <= 0:
        raise _too_late()
    request.extensions["timeout"] = {**times, "read": left}


def _stay(request: Any) -> None:
    """Refuse to go on at another origin, but for the same host with TLS."""
    scheme, host, port = request.url.scheme, request.url.host, request.url.port
    now = scheme, host, port or {"http": 80, "https": 443}.get(scheme)
    first = request.extensions.setdefault(_ORIGIN, now)
    if now != first and (first, now) != (("http", host, 80), ("https", host, 443)):
        raise RedirectRefused("{}://{}:{}".format(*first), "{}://{}:{}".format(*now), request)


def is_read_whole(response: Any) -> bool:
    """Return whether the body of an answer is read before anybody looks at it; that of a file is not."""
    return not response.request.url.path.endswith("/content") and not response.has_redirect_location


def _check(response: Any, most: size.Size) -> None:
    """Look at the head of an answer before its body is read, and read the body within bounds."""
    _check_head(response, most)
    if is_read_whole(response):
        response.read()
        _check_body(response, most)


def _check_body(response: Any, most: size.Size) -> None:
    if response.is_success:  # else it is short, and what it says is worth more than what it is like
        size.check_values(response.content, most)


def _check_head(response: Any, most: size.Size) -> None:
    size.limit(response, most)
    kind = str(response.headers.get("content-type", "nothing in particular")).partition(";")[0]
    if response.is_success and "/fine_tuning/" in response.request.url.path and not kind.endswith("json"):
        raise NotTheApis(f"the answer is {kind[:80]}, not JSON")


def _trace(event: str, info: dict[str, Any]) -> None:
    if event.endswith(_OPENED):
        stream = info["return_value"]
        read, write, clock = stream.read, stream.write, _Clock()

        def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:
            try:
                found = cast("bytes", read(min(max_bytes, READ_BYTES), clock.left(timeout)))
            except Exception:
                clock.left(timeout)
                raise
            return clock.got(found)

        def write_and_note(buffer: bytes, timeout: float | None = None) -> None:
            for start in range(0, len(buffer), PIECE_BYTES):
                piece, began = buffer[start : start + PIECE_BYTES], time.monotonic()
                write(piece, timeout)
                clock.wrote(len(piece), time.monotonic() - began, timeout)

        stream.read, stream.write = read_in_time, write_and_note


class _Clock:
    """When the last byte was sent over a connection: from then on, its answer is due.

    What is sent has to get on too: at least :data:`PIECE_BYTES` in the time for a write.
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.bytes, self.seconds = 0, 0.0
        #: What has come of the head of the answer; None behind it.
        self.head: bytes | None = b""
        self.head_bytes = 0

    def got(self, data: bytes) -> bytes:
        """Return what was read.

        :raises TooLarge: it belongs to a head without an end.
        """
        if self.head is None:
            return data
        self.head += data
        self.head_bytes += len(data)
        while end := _END_OF_HEAD.search(self.head):
            if not self.head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
                self.head = None
                return data
            self.head = self.head[end.end() :]  # an interim response, behind which the answer comes
        if self.head_bytes > HEAD_BYTES:
            raise size.TooLarge(f"{HEAD_BYTES // 1024} KB of headers")
        return data

    def wrote(self, count: int, seconds: float, timeout: float | None) -> None:
        """Note that so many bytes were sent in so many seconds.

        :raises openai.APITimeoutError: that is too slow.
        """
        self.started = time.monotonic()
        self.head, self.head_bytes = b"", 0
        self.bytes += count
        self.seconds += seconds
        if self.bytes >= PIECE_BYTES:
            self.bytes, self.seconds = 0, 0.0
        elif timeout is not None and self.seconds > timeout:
            raise _too_late()

    def left(self, timeout: float | None) -> float | None:
        """Return for how long the next read may last.

        :raises openai.APITimeoutError: the time is used up.
        """
        if timeout is None:
            return None
        left = self.started + timeout - time.monotonic()
        if left <= 0:
            raise _too_late()
        return left


def _too_late() -> openai.APITimeoutError:
    return openai.APITimeoutError(cast("Any", None))


# -- the same for the triggerer's client


async def _abegin(request: Any) -> None:
    _begin(request, _atrace)


async def _acheck(response: Any, most: size.Size) -> None:
    _check_head(response, most)
    if is_read_whole(response):
        await response.aread()
        _check_body(response, most)


async def _atrace(event: str, info: dict[str, Any]) -> None:
    if event.endswith(_OPENED):
        stream = info["return_value"]
        read: Callable[..., Awaitable[bytes]] = stream.read
        write: Callable[..., Awaitable[None]] = stream.write
        clock = _Clock()

        async def read_in_time(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
            try:
                found = await read(min(max_bytes, READ_BYTES), clock.left(timeout))
            except Exception:
                clock.left(timeout)
                raise
            return clock.got(found)

        async def write_and_note(buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
            for start in range(0, len(buffer), PIECE_BYTES):  # else the time would be for all of it
                piece, began = buffer[start : start + PIECE_BYTES], time.monotonic()
                await write(piece, timeout)
                clock.wrote(len(piece), time.monotonic() - began, timeout)

        stream.read, stream.write = read_in_time, write_and_note
