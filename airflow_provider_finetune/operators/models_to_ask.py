"""Reading the models that an evaluation is given: names, mappings, outcomes of jobs, or lists of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_finetune.arguments import literal, optional, required
from airflow_provider_finetune.evaluation.result import ModelToAsk
from airflow_provider_finetune.exceptions import InvalidRequest


def with_baseline(models: Any, baseline: Any, conn_id: str) -> tuple[list[ModelToAsk], int, int | None]:
    """Return whom to ask, how many of them are candidates, and which one is the baseline.

    :param conn_id: where those are asked that name no connection of their own.
    :raises InvalidRequest: there are none, or something else was given.
    """
    found = list(dict.fromkeys(read_models("models", models, conn_id)))
    if not found:
        raise InvalidRequest(f"models is {models!r}: the template or XCom reference gave nothing")
    candidates = len(found)
    given = read_models("baseline", baseline, conn_id)
    if not given:
        return found, candidates, None
    for i, model in enumerate(found):
        if (model.model, model.conn_id) == (given[0].model, given[0].conn_id):
            return found, candidates, i
    return [*found, given[0]], candidates, candidates


def read_models(name: str, given: Any, conn_id: str) -> list[ModelToAsk]:
    """Return the models in an argument.

    :param name: of the argument.
    :raises InvalidRequest: it is something else.
    """
    match literal(given):
        case None:
            return []
        case str() as text:
            return [ModelToAsk(model, conn_id)] if (model := optional(text)) else []
        case Mapping() as outcome if "fine_tuned_model" in outcome or "checkpoints" in outcome:
            return _of_a_job(outcome, conn_id)
        case Mapping() as one if isinstance(one.get("model"), str):
            step = one.get("step")
            return [
                ModelToAsk(
                    required(f"{name}: model", one["model"]),
                    optional(one.get("conn_id")) or conn_id,
                    optional(one.get("job_id")),
                    optional(one.get("base_model")),
                    step if isinstance(step, int) else None,
                )
            ]
        case Sequence() as several:  # also what a mapped task returned
            return [model for one in several for model in read_models(name, one, conn_id)]
    raise InvalidRequest(
        f"{name} is of type {type(given).__name__}; expected a name, a mapping with model and conn_id, the outcome of "
        "FineTuningJobSensor, or a list of these"
    )


def _of_a_job(outcome: Mapping[str, Any], conn_id: str) -> list[ModelToAsk]:
    """Return the final model and every checkpoint of a job."""
    conn_id = optional(outcome.get("conn_id")) or conn_id
    rows = [row for row in outcome.get("checkpoints") or () if isinstance(row, Mapping)]
    steps = {row.get("model"): row.get("step") for row in rows}
    names = [outcome.get("fine_tuned_model"), *(row.get("model") for row in reversed(rows))]
    return [
        ModelToAsk(name, conn_id, optional(outcome.get("job_id")), optional(outcome.get("model")), steps.get(name))
        for name in dict.fromkeys(map(optional, names))
        if name
    ]
