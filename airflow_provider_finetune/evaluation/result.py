"""What an evaluation returns: small, plain JSON without a word of any example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.evaluation.statistics import compare, most_different, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_finetune.evaluation.cost import Prices
    from airflow_provider_finetune.evaluation.statistics import Paired
    from airflow_provider_finetune.evaluation.tally import Tally

#: Examples that the result names for each comparison.
MOST_DIFFERENT = 10


@dataclass(frozen=True)
class ModelToAsk:
    """A model, where to ask it, and where it comes from if that is known.

    :ivar step: of the training, for a checkpoint.
    """

    model: str
    conn_id: str
    job_id: str | None = None
    base_model: str | None = None
    step: int | None = None


def result(
    models: Sequence[ModelToAsk],
    tallies: Sequence[Tally],
    baseline: int | None,
    candidates: int,
    *,
    lines: Sequence[int],
    prices: Prices,
    confidence: float,
    **more: Any,
) -> dict[str, Any]:
    """Return the result.

    :param models: the candidates, then the baseline if it is none of them.
    :param baseline: which of the models it is.
    :param candidates: how many of the models are candidates.
    :param lines: the line of the dataset in which each example stands.
    :param more: parts that are taken over: ``dataset``, ``grader``, ``answers``, ``report`` …
    """
    rows = [_row(model, tally, prices, confidence) for model, tally in zip(models, tallies, strict=True)]
    comparisons = [
        {
            **_comparison(models[i].model, models[baseline].model, paired),
            "differ_most": _differ_most(tallies[i].grades, tallies[baseline].grades, lines),
        }
        for i in range(candidates)
        if baseline is not None
        and i != baseline
        and (paired := compare(tallies[i].grades, tallies[baseline].grades, confidence))
    ]
    return {
        **more,
        "models": rows,
        "baseline": None if baseline is None else models[baseline].model,
        "best": best(rows[:candidates]),
        "confidence": confidence,
        "comparisons": comparisons,
    }


def best(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the model with the best score, of several the first; None when none has one."""
    scored = [row for row in rows if row["score"] is not None]
    return max(scored, key=lambda row: row["score"])["model"] if scored else None


def _comparison(model: str, baseline: str, paired: Paired) -> dict[str, Any]:
    return {
        "model": model,
        "baseline": baseline,
        "examples": paired.examples,
        "wins": paired.wins,
        "losses": paired.losses,
        "ties": paired.ties,
        "difference": _short(paired.difference),
        "difference_low": _short(paired.low),
        "difference_high": _short(paired.high),
        "p_value": _short(paired.p_value),
        "test": paired.test,
    }


def _differ_most(ours: Sequence[float], theirs: Sequence[float], lines: Sequence[int]) -> list[dict[str, Any]]:
    """Return where to look first: lines of the dataset and grades, not a word of what stands there."""
    return [
        {"line": lines[place], "grade": _short(ours[place]), "baseline_grade": _short(theirs[place])}
        for place in most_different(ours, theirs, MOST_DIFFERENT)
    ]


def _row(model: ModelToAsk, tally: Tally, prices: Prices, confidence: float) -> dict[str, Any]:
    found, price = score(tally.grades, confidence), prices.of(model.model)
    cost = None if price is None else price.of(tally.prompt_tokens, tally.completion_tokens)
    return {
        "model": model.model,
        "conn_id": model.conn_id,
        "job_id": model.job_id,
        "base_model": model.base_model,
        "step": model.step,
        "examples": tally.answered,
        "errors": tally.errors,
        "empty": tally.empty,
        "ungraded": tally.ungraded,
        "score": found and _short(found.mean),
        "score_low": found and _short(found.low),
        "score_high": found and _short(found.high),
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "latency_p50": _short(tally.latency(0.5)),
        "latency_p95": _short(tally.latency(0.95)),
        "cost": _short(cost),
    }


def _short(value: float | None) -> float | None:
    """Return a number to six significant digits, which is more than any evaluation knows."""
    return None if value is None or math.isnan(value) else float(f"{value:.6g}")
