"""The application: all routes and the faults in front of them behind the key, errors in the API's words."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount

from airflow_provider_finetune.emulator import admin, chat, deployments, files, jobs, models, uploads
from airflow_provider_finetune.emulator.errors import ApiError, invalid_api_key
from airflow_provider_finetune.emulator.faults import Faulty
from airflow_provider_finetune.emulator.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_finetune.emulator.faults import Fault
    from airflow_provider_finetune.emulator.store import Store


class KeyCheck:
    """Lets in requests that carry the key as a bearer token; runs before a body is read."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                await invalid_api_key().response()(scope, receive, send)
                return
        await self.app(scope, receive, send)


class DialectCheck:
    """Lets a request through to a route that the endpoint has; an endpoint may take one request for another."""

    def __init__(self, app: ASGIApp, store: Store) -> None:
        self.app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            dialect, method, path = self._store.settings.dialect, scope["method"], scope["path"].removeprefix("/v1")
            refusal = dialect.refusal(method, path, Headers(scope=scope), QueryParams(scope["query_string"]))
            if refusal:
                await JSONResponse(dialect.show_error(refusal), refusal.status)(scope, receive, send)
                return
            scope = {**scope, "path": "/v1" + dialect.path(method, path)}
        await self.app(scope, receive, send)


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    dialect = request.app.state.store.settings.dialect
    return JSONResponse(dialect.show_error(error), error.status, error.headers)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        message = f"Invalid URL ({where})"
    elif error.status_code == 405:
        message = f"Not allowed: {where}"
    else:
        message = error.detail
    return _api_error(request, ApiError(error.status_code, message, headers=dict(error.headers or {})))


def _client_left(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # which nobody reads; left alone, it would be a server error with a traceback


def _server_error(_: Request, __: Exception) -> Response:
    message = "The server had an error while processing your request."
    return ApiError(500, message, type="server_error", code="server_error").response()


def application(store: Store, key: str, faults: Iterable[Fault] = ()) -> KeyCheck:
    """Return the whole server as an ASGI application: who has no key uses up no fault, and is not in the record."""
    v1 = [*jobs.routes, *files.routes, *uploads.routes, *models.routes, *chat.routes]
    app = Starlette(
        routes=[
            Mount("/v1", routes=v1),
            Mount("/inference/v1", routes=chat.routes),
            Mount("/admin", routes=admin.routes),
            *deployments.routes,
        ],
        middleware=[Middleware(DialectCheck, store=store)],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_left,
            Exception: _server_error,
        },
    )
    faulty = Faulty(app, store, Requests())
    faulty.faults.extend(faults)
    app.state.store, app.state.faulty = store, faulty
    return KeyCheck(faulty, key)
