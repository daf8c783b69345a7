"""Evaluations as ``EvaluateModelOperator`` returns them, and the rules for drawing them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airflow_provider_finetune.evaluation.result import ModelToAsk, result
from airflow_provider_finetune.evaluation.tally import Tally


def row(model: str, conn_id: str = "openai_default", score: float | None = 0.5, **more: Any) -> dict[str, Any]:
    return {
        "model": model, "conn_id": conn_id, "job_id": "ftjob-1", "base_model": "base", "step": None, "examples": 100,
        "errors": 0, "empty": 0, "ungraded": 0, "score": score, "score_low": score, "score_high": score,
    } | more  # fmt: skip


def pair(model: str, baseline: str, difference: float, low: float, high: float, p_value: float) -> dict[str, Any]:
    return {
        "model": model, "baseline": baseline, "examples": 100, "wins": 30, "losses": 10, "ties": 60,
        "difference": difference, "difference_low": low, "difference_high": high, "p_value": p_value,
        "test": "binomial",
    }  # fmt: skip


def evaluation(*pairs: dict[str, Any], rows: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """An evaluation of the models of the pairs, the first of which is the best."""
    models = dict.fromkeys([p["model"] for p in pairs] + [p["baseline"] for p in pairs])
    return {
        "dataset": {"source": "evaluation.jsonl", "sha256": "d" * 64, "examples": 100, "duplicates": 0},
        "grader": {"type": "string_check", "name": "same", "sha256": "e" * 64},
        "answers": None,
        "report": None,
        "models": rows if rows is not None else [row(model) for model in models],
        "baseline": pairs[0]["baseline"] if pairs else None,
        "best": pairs[0]["model"] if pairs else (rows or [{"model": None}])[0]["model"],
        "confidence": 0.95,
        "comparisons": list(pairs),
    } | more


CLEARLY_BETTER = (0.2, 0.1, 0.3, 0.001)
CLEARLY_WORSE = (-0.2, -0.3, -0.1, 0.001)
#: Difference, the interval around it, and a p-value.
differences = st.tuples(
    st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1)
).map(lambda d: (d[0], d[0] - d[1], d[0] + d[2], d[3]))  # fmt: skip


def real(ours: list[float], theirs: list[float], *, model: str = "new", baseline: str = "old") -> dict[str, Any]:
    """What the evaluation itself makes of the grades of two models on the same examples."""
    from airflow_provider_finetune.evaluation.answer import Answer
    from airflow_provider_finetune.evaluation.cost import Prices

    tallies = []
    for grades in (ours, theirs):
        tally = Tally(len(grades))
        for place, grade in enumerate(grades):
            tally.add(place, Answer("00", "m", "c", "s", answer="x", grade=grade, grader="g"), 0.0)
        tallies.append(tally)
    models = [ModelToAsk(model, "openai_default", base_model="base"), ModelToAsk(baseline, "openai_default")]
    return result(
        models,
        tallies,
        1,
        1,
        lines=range(1, len(ours) + 1),
        prices=Prices(None),
        confidence=0.95,
        dataset={"sha256": "d" * 64},
        grader={"name": "g"},
    )
