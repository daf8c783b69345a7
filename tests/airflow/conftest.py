"""A DAG for each test, and the ways to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG


@pytest.fixture
def dag(request: pytest.FixtureRequest) -> DAG:
    """An empty DAG with an id of its own."""
    from airflow.providers.common.compat.sdk import DAG

    name = re.sub(r"\W+", "_", request.node.name)[:200]
    return DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))


MODES = {
    "deferred": {"deferrable": True},
    "poke": {"deferrable": False, "mode": "poke"},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The arguments of one of the three ways for a sensor to wait."""
    return MODES[request.param]
