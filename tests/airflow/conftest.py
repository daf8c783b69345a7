"""A DAG for each test, and the ways to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG


@pytest.fixture
def dag(request: pytest.FixtureRequest) -> DAG:
    """An empty DAG with an id of its own."""
    from airflow.providers.common.compat.sdk import DAG

    name = re.sub(r"\W+", "_", request.node.name)[:200]
    return DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
