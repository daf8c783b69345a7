"""Pausing, resuming and cancelling: the next step from the job's status alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.goal import Step, next_step, worth_waking
from airflow_provider_finetune.jobs.status import KNOWN, TERMINAL

TABLE = {
    #                    pause       resume       cancel
    "validating_files": (Step.WAIT, Step.THERE, Step.ASK),
    "pending": (Step.WAIT, Step.THERE, Step.ASK),
    "queued": (Step.WAIT, Step.THERE, Step.ASK),
    "running": (Step.ASK, Step.THERE, Step.ASK),
    "pausing": (Step.WAIT, Step.WAIT, Step.ASK),
    "paused": (Step.THERE, Step.ASK, Step.ASK),
    "resuming": (Step.WAIT, Step.THERE, Step.ASK),
    "cancelling": (Step.WAIT, Step.WAIT, Step.WAIT),
    "succeeded": (Step.NEVER, Step.NEVER, Step.NEVER),
    "failed": (Step.NEVER, Step.NEVER, Step.NEVER),
    "cancelled": (Step.NEVER, Step.NEVER, Step.THERE),
    "training_on_the_moon": (Step.ASK, Step.THERE, Step.ASK),
}


@pytest.mark.parametrize(("status", "steps"), TABLE.items())
def test_the_status_decides_the_next_step(status: str, steps: tuple[Step, ...]) -> None:
    assert tuple(next_step(goal, status) for goal in ("pause", "resume", "cancel")) == steps


def test_the_table_knows_every_status() -> None:
    assert TABLE.keys() >= KNOWN


@given(st.sampled_from(["pause", "resume", "cancel"]), st.text())
def test_a_status_nobody_has_heard_of_is_never_the_end(goal: str, status: str) -> None:
    assert next_step(goal, status) is not Step.NEVER or status in TERMINAL


@pytest.mark.parametrize("goal", ["pause", "resume", "cancel"])
def test_a_wait_for_a_goal_wakes_at_its_end_and_at_the_jobs_end(goal: str) -> None:
    waking = worth_waking(goal)
    assert set(waking) >= TERMINAL
    assert all(next_step(goal, status) is not Step.WAIT for status in waking)
    assert waking == sorted(waking)


def test_a_queued_job_does_not_wake_a_wait_for_its_pause() -> None:
    assert "queued" not in worth_waking("pause")
    assert "running" in worth_waking("pause")
