"""Many mapped sensors on a real Airflow with PostgreSQL, as in `benchmarks/waiting_on_airflow.py` with fewer."""

from __future__ import annotations

import pytest

from benchmarks import waiting_on_airflow
from demo import postgresql

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        postgresql.binaries() is None,
        reason="PostgreSQL's server is not installed (Debian: apt-get install postgresql)",
    ),
]


def test_ten_deferred_sensors_hold_no_worker_show_progress_share_their_requests_and_all_end_green() -> None:
    with waiting_on_airflow.platform() as (airflow, emulator):
        result = waiting_on_airflow.measure(airflow, emulator, 10, spread=10, rest=20)
    assert result.states == {"success": 10}
    assert result.held_while_deferred == 0
    assert [one["status"] for one in result.progress] == ["running"] * 10
    # One look at each from its worker before and after; a page of the list a round while more than one waits.
    assert result.requests["retrieve"] <= 2 * 10 + 15
    assert result.requests["checkpoints"] == 10
    assert result.most_in_a_minute <= 300
