"""Answers that no honest endpoint gives: to see what becomes of a DAG that meets them."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

KINDS = ("drip", "flood", "bomb", "redirect", "impostor")
MB = 1024 * 1024
_JSON = ((b"content-type", b"application/json"),)
_HEAD = b'{"object": "list", "has_more": true, "data": ["'


class Fault(Protocol):
    """What is wanted, as :mod:`.faults` describes it."""

    seconds: float | None
    megabytes: int | None
    location: str

    @property
    def kind(self) -> str: ...


async def answer(
    fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send, stopping: asyncio.Event
) -> None:
    """Answer as the fault says, until the client has had enough or the server stops."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": list(_JSON)}
    pieces: Iterator[bytes] = iter([b""])
    pause = 0.0
    if fault.kind in ("drip", "impostor"):
        start, body = await _right_answer(app, scope, receive)
        if fault.kind == "impostor":
            body = json.dumps(_another(json.loads(body))).encode()
            start["headers"] = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            pieces = iter([body])
        else:
            pieces = (body[place : place + 1] for place in range(len(body)))
            pause = 0.5 if fault.seconds is None else fault.seconds
    elif fault.kind == "redirect":
        location = f"{fault.location}{scope['path'].removeprefix('/v1')}".encode()
        start["status"], start["headers"] = 307, [(b"location", location)]
    elif fault.kind == "bomb":
        start["headers"].append((b"content-encoding", b"gzip"))
        pieces = _bomb(fault.megabytes or 1000)
    else:
        pieces = _flood(fault.megabytes)
    await send(start)
    left = asyncio.create_task(client_left(receive))
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(pause)
        if left.done() or stopping.is_set():
            break
    left.cancel()
    await send({"type": "http.response.body"})


async def client_left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _right_answer(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    messages: list[Any] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    body = b"".join(message.get("body", b"") for message in messages if message["type"] == "http.response.body")
    return next(message for message in messages if message["type"] == "http.response.start"), body


def _flood(megabytes: int | None) -> Iterator[bytes]:
    yield _HEAD
    left = megabytes
    while left is None or left > 0:
        yield b"x" * MB
        left = None if left is None else left - 1
    yield b'"]}'


def _bomb(megabytes: int) -> Iterator[bytes]:
    packed = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    for piece in _flood(megabytes):
        yield packed.compress(piece)
    yield packed.flush()


def _another(value: Any) -> Any:
    """Return an answer about something else of the same kind."""
    if isinstance(value, dict):
        return {name: _other_id(part) if name == "id" else _another(part) for name, part in value.items()}
    return [_another(part) for part in value] if isinstance(value, list) else value


def _other_id(value: Any) -> Any:
    return value[::-1].swapcase() if isinstance(value, str) else value
