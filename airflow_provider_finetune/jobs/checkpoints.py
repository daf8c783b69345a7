"""The checkpoints of a job, and which of them is the best."""

from __future__ import annotations

from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.metrics import LONGEST_NAME, MOST_METRICS
from airflow_provider_finetune.jobs.payload import answered, epoch, mapping, name, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Checkpoints of a job at most. OpenAI keeps three; the outcome of a job holds all of them.
MOST_CHECKPOINTS = 1000
LOSSES = ("full_valid_loss", "valid_loss", "train_loss")


def checkpoint_rows(checkpoints: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the checkpoints as plain JSON, by step ascending, each once.

    Each is ``{step, model, id, created_at}`` and the metrics that the server gave, beside them.

    :param checkpoints: checkpoint objects of the API, in any order; a page may repeat one. After the first
        :data:`MOST_CHECKPOINTS`, they are left out.
    """
    rows: dict[str, dict[str, Any]] = {}
    for checkpoint in map(answered, islice(checkpoints, MOST_CHECKPOINTS)):
        metrics = measured(mapping(checkpoint.get("metrics")))
        step = number(checkpoint.get("step_number"))
        row: dict[str, Any] = {
            **metrics,
            "step": int(metrics.get("step") or 0) if step is None else int(step),
            "model": name(checkpoint.get("fine_tuned_model_checkpoint")),
            "id": name(checkpoint.get("id")),
            "created_at": epoch(checkpoint.get("created_at")),
        }
        rows.setdefault(row["id"] or row["model"] or f"step {row['step']}", row)
    return sorted(rows.values(), key=lambda row: row["step"])


def measured(metrics: Mapping[str, Any]) -> dict[str, int | float]:
    """Return the metrics of a checkpoint that are measurements, the first :data:`MOST_METRICS` of them.

    A loss or an accuracy below zero is none: some servers write -1 where others write null.
    """
    found: dict[str, int | float] = {}
    for metric, given in metrics.items():
        value = number(given)
        never_negative = metric.endswith(("loss", "accuracy"))
        if value is not None and not (value < 0 and never_negative) and len(metric) <= LONGEST_NAME:
            found[metric] = value
        if len(found) == MOST_METRICS:
            break
    return found


def best_checkpoint(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the checkpoint with the lowest loss, or None when there are no checkpoints.

    The loss is ``full_valid_loss`` where any checkpoint has it, else ``valid_loss``, else ``train_loss``; without any
    loss, or between equals, the later checkpoint is the better one.

    :param rows: what :func:`checkpoint_rows` returned.
    """
    for loss in LOSSES:
        if with_loss := [row for row in rows if row.get(loss) is not None]:
            best: dict[str, Any] = min(reversed(with_loss), key=itemgetter(loss))
            return best
    return rows[-1] if rows else None
