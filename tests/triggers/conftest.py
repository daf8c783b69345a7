"""What tests of triggers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_finetune.triggers import client, poller

if TYPE_CHECKING:
    import openai


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[openai.AsyncOpenAI]:
    """The clients that triggers have opened, in order."""
    clients: list[openai.AsyncOpenAI] = []
    really = client.open_client

    async def open_client(conn_id: str) -> openai.AsyncOpenAI:
        clients.append(await really(conn_id))
        return clients[-1]

    monkeypatch.setattr(client, "open_client", open_client)
    monkeypatch.setattr(poller, "open_client", open_client)
    return clients
