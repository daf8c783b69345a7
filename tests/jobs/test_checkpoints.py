"""The checkpoints of a job as plain rows, and which of them is the best."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.checkpoints import best_checkpoint, checkpoint_rows


def checkpoint(step: int | None, **metrics: object) -> dict[str, object]:
    return {
        "id": f"ftckpt_{step}",
        "created_at": 1_700_000_000,
        "step_number": step,
        "fine_tuned_model_checkpoint": f"ft:m:o::x:ckpt-step-{step}",
        "metrics": metrics,
    }


def best(*checkpoints: dict[str, object]) -> object:
    found = best_checkpoint(checkpoint_rows(checkpoints))
    return found and found["step"]


def test_without_checkpoints_there_is_no_best_one() -> None:
    assert best() is None


def test_without_any_loss_the_last_is_the_best() -> None:
    assert best(checkpoint(1), checkpoint(3), checkpoint(2)) == 3


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, -math.inf, -1, -0.01, True, "n/a", {}])
def test_a_loss_that_is_no_number_does_not_count(nothing: object) -> None:
    assert best(checkpoint(1, valid_loss=nothing, train_loss=0.1), checkpoint(2, valid_loss=0.9, train_loss=0.5)) == 2


def test_the_full_validation_loss_counts_before_the_others() -> None:
    rows = (
        checkpoint(1, full_valid_loss=0.5, valid_loss=0.9, train_loss=0.9),
        checkpoint(2, full_valid_loss=0.6, valid_loss=0.1, train_loss=0.1),
    )
    assert best(*rows) == 1


def test_the_validation_loss_counts_before_the_training_loss() -> None:
    assert best(checkpoint(1, valid_loss=0.5, train_loss=0.9), checkpoint(2, valid_loss=0.6, train_loss=0.1)) == 1


def test_the_training_loss_counts_where_there_is_no_other() -> None:
    assert best(checkpoint(1, train_loss=0.1), checkpoint(2, train_loss=0.6)) == 1


def test_between_equals_the_later_is_the_better() -> None:
    assert best(checkpoint(1, valid_loss=0.5), checkpoint(3, valid_loss=0.5), checkpoint(2, valid_loss=0.7)) == 3


def test_what_may_be_negative_stays_and_what_may_not_is_missing() -> None:
    (row,) = checkpoint_rows([checkpoint(5, train_loss=-1, valid_mean_token_accuracy=-1.0, train_reward=-0.5)])
    assert row.keys() & {"train_loss", "valid_mean_token_accuracy", "train_reward"} == {"train_reward"}


def test_a_loss_of_zero_is_a_loss() -> None:
    assert best(checkpoint(1, valid_loss=0), checkpoint(2, valid_loss=0.1)) == 1


def test_rows_are_by_step_each_once_with_their_metrics_beside_them() -> None:
    rows = checkpoint_rows([checkpoint(20, train_loss=0.2), checkpoint(10, train_loss=0.4), checkpoint(20)])
    assert [row["step"] for row in rows] == [10, 20]
    assert rows[1] == {
        "step": 20,
        "model": "ft:m:o::x:ckpt-step-20",
        "id": "ftckpt_20",
        "created_at": 1_700_000_000,
        "train_loss": 0.2,
    }


def test_a_checkpoint_without_metrics_is_a_row() -> None:
    assert checkpoint_rows([{**checkpoint(5), "metrics": None}])[0]["step"] == 5


def test_a_step_that_only_the_metrics_tell_is_taken_from_there() -> None:
    assert checkpoint_rows([{**checkpoint(5), "step_number": None, "metrics": {"step": 7.0}}])[0]["step"] == 7


def test_a_metric_cannot_take_the_place_of_what_we_promise() -> None:
    (row,) = checkpoint_rows([checkpoint(5, model=1.0, created_at=2, id=3)])
    assert (row["model"], row["id"], row["created_at"]) == ("ft:m:o::x:ckpt-step-5", "ftckpt_5", 1_700_000_000)


losses = st.none() | st.floats() | st.integers(-5, 5)


@given(st.lists(st.tuples(st.integers(0, 50), losses, losses, losses), max_size=8))
def test_the_best_is_one_of_the_rows_and_none_of_them_has_a_lower_loss_of_its_kind(
    made: list[tuple[int, object, object, object]],
) -> None:
    rows = checkpoint_rows(
        checkpoint(step, full_valid_loss=full, valid_loss=valid, train_loss=train) for step, full, valid, train in made
    )
    json.dumps(rows, allow_nan=False)
    found = best_checkpoint(rows)
    assert (found in rows) if rows else (found is None)
    for loss in ("full_valid_loss", "valid_loss", "train_loss"):
        if any(loss in row for row in rows):
            assert found is not None
            assert found[loss] == min(row[loss] for row in rows if loss in row)
            break
