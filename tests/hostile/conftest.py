"""What tests against a hostile endpoint share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.endpoint import hostile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hostile.endpoint import HostileEndpoint


@pytest.fixture(scope="session")
def endpoint() -> Iterator[HostileEndpoint]:
    """A hostile endpoint."""
    with hostile() as running:
        yield running
