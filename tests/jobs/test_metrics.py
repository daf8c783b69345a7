"""The metrics of a job's steps: bounded, with their peaks, whatever a server sends."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.metrics import LONGEST_NAME, MOST_METRICS, MOST_STEPS, Metrics, thinned

finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(st.tuples(finite, st.one_of(st.none(), finite)), min_size=1, max_size=400), st.integers(8, 60))
def test_thinning_keeps_the_ends_and_the_peaks_of_every_column_within_the_bound(
    rows: list[tuple[float, float | None]], most: int
) -> None:
    columns = [[math.nan if row[n] is None else float(row[n] or 0) for row in rows] for n in (0, 1)]
    kept = thinned(range(len(rows)), columns, most)
    assert len(kept) <= max(most, 2)
    assert kept == sorted(set(kept))
    assert {0, len(rows) - 1} <= set(kept)
    for column in columns:
        known = [value for value in column if value == value]
        if known:
            stay = [column[row] for row in kept if column[row] == column[row]]
            assert (min(stay), max(stay)) == (min(known), max(known))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 4999), st.integers(0, 4999))
def test_however_long_the_job_a_spike_stays_and_memory_is_bounded(high: int, low: int) -> None:
    metrics = Metrics()
    for step in range(5000):
        metrics.add({"step": step, "train_loss": 9.0 if step == high else 0.01 if step == low else 1 + step % 7 / 10})
        assert len(metrics.steps) <= 2 * MOST_STEPS
    shown = metrics.to_json()
    assert len(shown["step"]) <= MOST_STEPS
    assert shown["step"][shown["train_loss"].index(9.0)] == high
    if low != high:
        assert shown["step"][shown["train_loss"].index(0.01)] == low


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.lists(st.dictionaries(st.sampled_from(["step", "train_loss", "reward"]) | st.text(max_size=80), anything)))
def test_whatever_a_server_sends_becomes_columns_of_one_length(events: list[dict[str, Any]]) -> None:
    metrics = Metrics()
    for event in events:
        metrics.add(event)
    shown = metrics.to_json()
    assert len(shown) <= MOST_METRICS + 1
    assert all(len(name) <= LONGEST_NAME for name in shown)
    assert {len(column) for column in shown.values()} == {len(shown["step"])}
    assert all(one < other for one, other in pairwise(shown["step"]))
    json.dumps(shown, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 10_000), finite), max_size=100))
def test_what_was_shown_is_taken_up_as_it_was(steps: list[tuple[int, float]]) -> None:
    metrics, again = Metrics(), Metrics()
    for step, value in steps:
        metrics.add({"step": step, "reward": value})
    again.add_json(json.loads(json.dumps(metrics.to_json())))
    assert again.to_json() == metrics.to_json()


def test_what_servers_write_for_not_known_is_missing() -> None:
    metrics = Metrics()
    assert metrics.add({"step": 1, "valid_loss": -1, "valid_mean_token_accuracy": -1.0, "train_loss": math.nan}) == {}
    assert metrics.add({"step": 1, "reward": -1}) == {"reward": -1.0}
