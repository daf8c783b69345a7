"""What a connection may say to the SDK's client, and how it is told that it may not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openai

from airflow_provider_finetune.exceptions import RequestRefused
from airflow_provider_finetune.jobs.keys import without_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.hooks.bounds import Client

_KINDS: dict[str, tuple[tuple[Any, ...], str]] = {
    "api_key": ((str,), "a text"),
    "timeout": ((int, float, openai.Timeout, type(None)), "a number of seconds"),
    "max_retries": ((int,), "a whole number"),
    "organization": ((str, type(None)), "a text"),
    "project": ((str, type(None)), "a text"),
    "_custom_headers": ((Mapping,), "a mapping of texts"),
    "_custom_query": ((Mapping,), "a mapping"),
}


@contextmanager
def usable(conn_id: str) -> Iterator[None]:
    """Turn what keeps a connection from being used into a refusal that names the connection.

    :raises RequestRefused: it has no key, or its extra does not fit.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, (openai.OpenAIError, TypeError, ValueError)) and not is_invalid_url(error):
            raise
        no_key = isinstance(error, openai.OpenAIError)
        why = "it has no API key (password)" if no_key else without_keys(str(error))
        if is_invalid_url(error):  # which may repeat a password
            why = "its host is no URL, such as https://host/v1"
        raise RequestRefused(
            f"Connection {conn_id!r} cannot be used: {why}.\nIt needs type openai, the API key as password, the base "
            "URL as host, and in the extra only what the openai client takes."
        ) from None


def named(client: Client, conn_id: str) -> Client:
    """Return the client, whose requests say from now on which connection they belong to: errors name it."""

    def name(request: Any) -> None:
        request.extensions["airflow_connection"] = conn_id

    async def aname(request: Any) -> None:
        name(request)

    http: Any = client._client
    hooks: dict[str, list[Any]] = http.event_hooks
    mark = aname if isinstance(client, openai.AsyncOpenAI) else name
    http.event_hooks = {**hooks, "request": [*hooks["request"], mark]}
    return client


def sent_by(request: Any) -> str:
    """Return the connection and the host of a request, for people: ``Connection openai_default, host 10.0.0.1:8000``.

    The rest of the URL is left out: it may hold a secret.

    :param request: None where it is not known; the text is empty then.
    """
    if request is None:
        return ""
    url = request.url
    host = f"{url.host}:{url.port}" if url.port else url.host
    conn_id = request.extensions.get("airflow_connection")
    return f"Connection {conn_id}, host {host}" if conn_id else f"Host {host}"


def checked(client: Client) -> Client:
    """Return the client if its options are of the kinds that the SDK takes, which it does not check itself.

    Line ends and spaces around the key are taken off: they come with copying it.

    :raises TypeError: one is not. The message does not repeat it, for it may be secret.
    :raises ValueError: no request can be made with the key or the host.
    """
    for name, (kinds, expected) in _KINDS.items():
        value = getattr(client, name)
        fits = isinstance(value, kinds) and not isinstance(value, bool)
        if fits and name == "_custom_headers":
            value = next((header for header in value.values() if not isinstance(header, str)), value)
            fits = isinstance(value, Mapping)
        if not fits:
            option = name.replace("_custom", "default")
            raise TypeError(f"{option} in openai_client_kwargs is of type {type(value).__name__}; expected {expected}")
    client.api_key = client.api_key.strip()
    if not all("!" <= character <= "~" for character in client.api_key):
        raise ValueError("the API key (password) has spaces, line ends or characters in it that no key has")
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        raise ValueError("its host is no URL that begins with https:// or http://, such as https://host/v1")
    return client


def is_invalid_url(error: BaseException) -> bool:
    """Return whether the HTTP client, httpx or httpx2, says that something is no URL."""
    return type(error).__name__ == "InvalidURL"
