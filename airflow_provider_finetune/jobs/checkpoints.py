"""The checkpoints of a job, and which of them is the best."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOSSES = ("full_valid_loss", "valid_loss", "train_loss")


def checkpoint_rows(checkpoints: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the checkpoints as plain JSON, by step ascending, each once.

    Each is ``{step, model, id, created_at}`` and the metrics that the server gave, beside them.

    :param checkpoints: checkpoint objects of the API, in any order; a page may repeat one.
    """
    rows: dict[str, dict[str, Any]] = {}
    for checkpoint in checkpoints:
        metrics = {
            name: value
            for name, value in (checkpoint.get("metrics") or {}).items()
            if isinstance(value, (int, float)) and math.isfinite(value)
        }
        step = checkpoint.get("step_number")
        row = {
            **metrics,
            "step": step if step is not None else int(metrics.get("step", 0)),
            "model": checkpoint.get("fine_tuned_model_checkpoint"),
            "id": checkpoint.get("id"),
            "created_at": checkpoint.get("created_at"),
        }
        rows.setdefault(str(row["id"] or row["model"]), row)
    return sorted(rows.values(), key=lambda row: row["step"])


def best_checkpoint(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the checkpoint with the lowest loss, or None when there are no checkpoints.

    The loss is ``full_valid_loss`` where any checkpoint has it, else ``valid_loss``, else ``train_loss``; without any
    loss, or between equals, the later checkpoint is the better one.

    :param rows: what :func:`checkpoint_rows` returned.
    """
    for loss in LOSSES:
        if measured := [row for row in rows if row.get(loss) is not None]:
            best: dict[str, Any] = min(reversed(measured), key=itemgetter(loss))
            return best
    return rows[-1] if rows else None
