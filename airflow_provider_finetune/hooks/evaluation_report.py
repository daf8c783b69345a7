"""Writing the report of an evaluation: the page, with the texts out of the answers file and the dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.evaluation.example import last_question
from airflow_provider_finetune.evaluation.report import SHOWN, Shown, html
from airflow_provider_finetune.evaluation.statistics import most_different
from airflow_provider_finetune.hooks.storage import place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.evaluation.answer import Answer
    from airflow_provider_finetune.hooks.evaluation import Evaluation


def write_report(
    path: str,
    evaluation: Evaluation,
    result: Mapping[str, Any],
    *,
    candidates: int,
    baseline: int | None,
    storage_conn_id: str | None = None,
) -> None:
    """Write the page.

    :param candidates: how many of the models are candidates.
    :param baseline: which of the models it is.
    """
    differing = {} if baseline is None else _differing(evaluation, candidates, baseline)
    target = place(path, storage_conn_id)
    if "://" not in path:
        target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(html(result, differing), encoding="utf-8")


def _differing(evaluation: Evaluation, candidates: int, baseline: int) -> dict[str, list[Shown]]:
    grades = [tally.grades for tally in evaluation.tallies]
    chosen = {
        number: most_different(grades[number], grades[baseline], SHOWN)
        for number in range(candidates)
        if number != baseline
    }
    wanted = {at for places in chosen.values() for at in places}
    examples = {at: example for at, example in evaluation.examples if at in wanted} if wanted else {}
    answers = evaluation.answers_at(wanted)
    return {
        evaluation.models[number].model: [
            Shown(
                last_question(examples[at].question),
                _written(examples[at].item.get("reference", _rest(examples[at].item))),
                _said(answers.get((number, at))),
                _said(answers.get((baseline, at))),
                grades[number][at],
                grades[baseline][at],
            )
            for at in places
        ]
        for number, places in chosen.items()
    }


def _rest(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in ("messages", "tools")}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _said(answer: Answer | None) -> str:
    if answer is None:
        return ""
    if answer.error is not None:
        return answer.error
    return "\n".join(filter(None, (answer.answer, _written(answer.tools) if answer.tools else "")))
