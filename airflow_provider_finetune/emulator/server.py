"""The server process: prints its base URL as soon as it accepts connections, and stops quickly and without noise."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Generator

    from starlette.types import ASGIApp

    from airflow_provider_finetune.emulator.store import Store


class CuttableProtocol(H11Protocol):
    """Hands the application its connection as `scope["state"]["transport"]`, so that a fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # Head and body leave in two writes; without this the body waits 40 ms for the client's acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Server(uvicorn.Server):
    """A server on one socket that prints its base URL as soon as it accepts connections."""

    def __init__(self, app: ASGIApp, store: Store, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=CuttableProtocol,
                loop="asyncio",
                lifespan="off",
                ws="none",
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
            )
        )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=1024)
        self._store = store
        shown = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{shown}:{self._socket.getsockname()[1]}/v1"

    async def run_here(self) -> None:
        """Serve until a signal asks to stop."""
        try:
            await self.serve(sockets=[self._socket])
        finally:
            self._socket.close()
            self._store.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self.base_url, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._store.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Unlike uvicorn's own, does not raise the signal again: being asked to stop is no failure.
        previous: dict[signal.Signals, Any] = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
