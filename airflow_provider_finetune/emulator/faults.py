"""Misbehaviour on request: what goes wrong with the next requests that match a method and a path."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_finetune.emulator import hostile
from airflow_provider_finetune.emulator.errors import ApiError, parse
from airflow_provider_finetune.emulator.identifiers import new_id
from airflow_provider_finetune.emulator.requests import LONGEST_PATTERN, matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_finetune.emulator.requests import Requests
    from airflow_provider_finetune.emulator.store import Store

LONGEST_HANG = 600.0
_CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    403: "training_not_available",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_error",
}


class Fault(BaseModel):
    """One thing that goes wrong, for the next `times` requests that match.

    kind, and what the client sees:

    - `lose_request`: the connection is cut; the request had no effect.
    - `lose_answer`: the request takes effect, then the connection is cut without an answer.
    - `cut_body`: the request takes effect, then the connection is cut in the middle of the answer's body.
    - `status`: an error with `status`, `code`, `message`, `param` and, if given, `Retry-After: retry_after`;
      with `takes_effect` the request was carried out all the same.
    - `delay`: `seconds` before the request is carried out, then the right answer.
    - `hang`: no answer until the client leaves (or `seconds`, then the connection is cut); the request had no effect.
    - `drip`: the request takes effect, then the answer comes a byte at a time, `seconds` (0.5) apart.
    - `flood`: a JSON answer that never ends, or not before `megabytes`; the request had no effect.
    - `bomb`: a small answer that is `megabytes` (1000) of JSON when it is decompressed; the request had no effect.
    - `redirect`: sends the client on to `location`, another host's; the request had no effect.
    - `impostor`: the request takes effect, then the answer is the right one but for its ids, which are others'.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal[
        "lose_request", "lose_answer", "cut_body", "status", "delay", "hang",
        "drip", "flood", "bomb", "redirect", "impostor",
    ]  # fmt: skip
    method: str = "*"
    path: str = Field("/**", max_length=LONGEST_PATTERN)
    """The path below `/v1`; `*` stands for anything but a slash, `**` for anything."""
    times: int | None = Field(default=1, ge=1)
    """How many requests; `None` (on the command line: `always`) for all."""
    skip: int = Field(default=0, ge=0)
    """How many matching requests go well before."""
    status: int = Field(default=500, ge=400, le=599)
    code: str | None = None
    type: str | None = None
    message: str | None = None
    param: str | None = None
    retry_after: str | None = Field(default=None, coerce_numbers_to_str=True)
    takes_effect: bool = False
    seconds: float | None = Field(default=None, ge=0)
    megabytes: int | None = Field(default=None, ge=1, le=100_000)
    location: str = "http://192.0.2.1/v1"
    """Where `redirect` leads to; without one, to an address that is nobody's."""
    id: str = Field(default_factory=lambda: new_id("fault-", 8))
    hits: int = 0

    @classmethod
    def from_spec(cls, spec: str) -> Fault:
        """Return the fault that a command line names: `KIND [METHOD [PATH]] [key=value ...]`.

        :raises ApiError: there is no such fault.
        :raises ValueError: a quotation mark is not closed.
        """
        words = shlex.split(spec)
        positional = [word for word in words if "=" not in word]
        fields: dict[str, Any] = dict(zip(("kind", "method", "path"), positional, strict=False))
        fields |= dict(word.split("=", 1) for word in words if "=" in word)
        if fields.get("times") == "always":
            fields["times"] = None
        return parse(cls, fields)

    def takes(self, method: str, path: str) -> bool:
        """Return whether this request is one of those to go wrong; count it."""
        if not matches(self.method, self.path, method, path) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        if self.times is not None:
            self.times -= 1
        return True

    def error(self) -> ApiError:
        """Return the error that this fault answers."""
        code = self.code or _CODES.get(self.status)
        kind = code if code == "insufficient_quota" else "server_error"
        return ApiError(
            self.status,
            self.message or f"The emulator was asked to answer {self.status}.",
            type=self.type or (kind if kind == code or self.status >= 500 else "invalid_request_error"),
            param=self.param,
            code=code,
            headers={"retry-after": self.retry_after} if self.retry_after else None,
        )


class Faulty:
    """The application with faults in front of it, and a record of every request that reached the server."""

    def __init__(self, app: ASGIApp, store: Store, requests: Requests) -> None:
        self.app = app
        self.store = store
        self.requests = requests
        self.faults: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix("/v1")
        record = self.requests.add(scope["method"], path)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        fault = next((fault for fault in self.faults if fault.takes(scope["method"], path)), None)
        if fault:
            record.fault = fault.kind
            await self._misbehave(fault, scope, receive, noted)
        else:
            await self.app(scope, receive, noted)

    async def _misbehave(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport = scope["state"]["transport"]
        if fault.kind == "delay":
            await self._wait(fault.seconds or 0)
            await self.app(scope, receive, send)
        elif fault.kind == "status":
            if fault.takes_effect:
                await self.app(scope, receive, _nothing)
            await fault.error().response()(scope, receive, send)
        elif fault.kind in hostile.KINDS:
            await hostile.answer(fault, self.app, scope, receive, send, self.store.stopping)
        elif fault.kind == "cut_body":
            await self.app(scope, receive, _half(send, transport))
            await hostile.client_left(receive)
        else:
            if fault.kind == "lose_answer":
                await self.app(scope, receive, _nothing)
            if fault.kind == "hang":
                await self._wait(fault.seconds or LONGEST_HANG, receive)
            transport.abort()
            await hostile.client_left(receive)  # until then, the server would complain that there is no answer

    async def _wait(self, seconds: float, receive: Receive | None = None) -> None:
        """Wait until the time is over, the server stops, or the client of `receive` leaves."""
        waits: Iterable[asyncio.Task[Any]] = [asyncio.create_task(self.store.stopping.wait())]
        if receive:
            waits = [*waits, asyncio.create_task(hostile.client_left(receive))]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _nothing(_: Message) -> None:
    """Send nothing."""


def _half(send: Send, transport: asyncio.Transport) -> Send:
    """Send the head and half of the first piece of the body, then cut the connection."""

    async def sent(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
        elif not transport.is_closing():
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            # Unlike abort, close sends what was written.
            transport.close()

    return sent
