"""Taking a connection's own secrets out of each answer, before anything of the answer is read.

A proxy or a debugging endpoint may answer with the headers it was sent. What comes back in whatever form is replaced
where bytes become text, for the worker's client and the triggerer's alike, so that no log, exception, XCom or trigger
row has to think of it. The content of files is left as it is.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import openai

from airflow_provider_finetune.hooks.bounds import is_read_whole
from airflow_provider_finetune.hooks.size import LONG
from airflow_provider_finetune.jobs.secrets import Secrets, secrets_in, secrets_of_url

if TYPE_CHECKING:
    from airflow_provider_finetune.hooks.bounds import Client


def without_secrets(client: Client) -> Client:
    """Return the client, whose answers hold none of its secrets from now on."""
    answers = _Answers(secrets_of(client))
    http: Any = client._client
    hooks: dict[str, list[Any]] = http.event_hooks
    head, body = (
        (answers.ahead, answers.abody) if isinstance(client, openai.AsyncOpenAI) else (answers.head, answers.body)
    )
    # The head first, for who looks at it; the body last, for it may not be worth reading.
    http.event_hooks = {**hooks, "response": [head, *hooks["response"], body]}
    return client


def secrets_of(client: openai.OpenAI | openai.AsyncOpenAI) -> set[str]:
    """Return the secrets that a client holds: its key, headers and query, and those of its URL and of the proxies."""
    found = {client.api_key, client.webhook_secret or ""}
    found |= secrets_in(client._custom_headers) | secrets_in(cast("Any", client)._custom_query)
    for url in (str(client.base_url), *getproxies().values()):
        parts = urlsplit(url)
        found |= secrets_of_url(parts.username or "", parts.password or "")
    return {secret for secret in found if isinstance(secret, str)}


class _Answers:
    """The answers to one client. A token that was exchanged for a request counts as a secret too."""

    def __init__(self, values: set[str]) -> None:
        self._values = frozenset(values)
        self._secrets = Secrets(values)

    def _of(self, request: Any) -> Secrets:
        sent = secrets_in({"authorization": request.headers.get("authorization", "")})
        # An attribute of this client's: tokens last for minutes, and the last one is what comes back.
        if not {value for value in sent if len(value) >= 6} <= self._secrets.values:
            self._secrets = Secrets(self._values | sent)
        return self._secrets

    def head(self, response: Any) -> None:
        secrets = self._of(response.request)
        for name, value in list(response.headers.items()):
            if (hidden := secrets.hidden_in(value)) != value:
                response.headers[name] = hidden

    def body(self, response: Any) -> None:
        if is_read_whole(response):
            response.read()
            self._rewrite(response)

    async def ahead(self, response: Any) -> None:
        self.head(response)

    async def abody(self, response: Any) -> None:
        if is_read_whole(response):
            await response.aread()
            if len(response.content) > LONG:
                await asyncio.to_thread(self._rewrite, response)
            else:
                self._rewrite(response)

    def _rewrite(self, response: Any) -> None:
        secrets, said = self._of(response.request), response.text
        if not secrets.may_be_in(said):
            return
        try:
            answer = json.loads(said)
        except (ValueError, RecursionError):
            hidden = secrets.hidden_in(said).encode(errors="replace")
        else:
            cleaned = secrets.hidden_in_json(answer)
            if cleaned == answer:
                return
            hidden = json.dumps(cleaned).encode()
        response.headers["content-type"] = response.headers.get("content-type", "").partition(";")[0]
        response._content = hidden
        if hasattr(response, "_text"):
            del response._text
