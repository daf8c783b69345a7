"""The rule of promotion: whether a candidate takes the champion's place, decided on an evaluation of both. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airflow_provider_finetune.models.history import Champion
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.models.history import History


class NotComparable(ValueError):
    """The evaluation does not say whether the candidate is better than the present champion."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a candidate must reach.

    :ivar min_difference: how much better its mean grade must be, at least, with the confidence. A negative number
        allows it to be that much worse.
    :ivar confidence: 0 to 1.
    :ivar min_score: the mean grade that makes the first champion, without a comparison; None compares with the base
        model.
    """

    min_difference: float = 0.0
    confidence: float = 0.95
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done, and why.

    :ivar outcome: ``promoted``; ``rolled_back``; ``kept``, the candidate is not better; or ``unchanged``, the model is
        the champion already.
    :ivar record: of the candidate: what is to be written if the outcome is ``promoted`` or ``rolled_back``.
    :ivar before: the champion until now.
    :ivar reason: a line that a person understands.
    :ivar is_written: an earlier attempt of the same task has written the record.
    """

    name: str
    outcome: Literal["promoted", "rolled_back", "kept", "unchanged"]
    record: Champion
    before: Champion | None
    reason: str
    is_written: bool = False

    @property
    def changes(self) -> bool:
        """Whether the name has another champion now."""
        return self.outcome in ("promoted", "rolled_back")

    def as_json(self) -> dict[str, Any]:
        """Return the decision as small plain JSON: what the operators return."""
        champion = self.record if self.changes else self.before
        before = self.record.predecessor if self.is_written else self.before and self.before.model
        return {
            "name": self.name,
            "outcome": self.outcome,
            "promoted": self.changes,
            "candidate": self.record.model,
            "champion": champion and champion.as_json(),
            "before": before,
            "numbers": dict(self.record.scores),
            "reason": self.reason,
        }


class _Row(msgspec.Struct):
    """A model in an evaluation."""

    model: str
    conn_id: str
    job_id: str | None = None
    base_model: str | None = None
    examples: int = 0
    errors: int = 0
    score: float | None = None
    score_low: float | None = None
    score_high: float | None = None


class _Comparison(msgspec.Struct):
    """A model against the baseline in an evaluation."""

    model: str
    baseline: str
    examples: int
    wins: int
    losses: int
    ties: int
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    test: str = ""


class _Evaluation(msgspec.Struct):
    """The parts of an evaluation that a promotion asks for."""

    models: list[_Row]
    comparisons: list[_Comparison]
    confidence: float
    best: str | None = None
    baseline: str | None = None
    dataset: dict[str, Any] = msgspec.field(default_factory=dict)
    grader: dict[str, Any] = msgspec.field(default_factory=dict)

    def row(self, model: str) -> _Row:
        """Return the row of a model.

        :raises NotComparable: it was not evaluated, or a name stands for two models.
        """
        rows = [row for row in self.models if row.model == model]
        if not rows:
            names = ", ".join(row.model for row in self.models) or "none"
            raise NotComparable(f"{model} was not evaluated; the evaluation is of {names}.")
        if len(rows) > 1:
            raise NotComparable(
                f"The evaluation is of {model} at {' and at '.join(row.conn_id for row in rows)}, and its comparisons "
                "do not say which one is meant. Evaluate them one by one."
            )
        return rows[0]


def decide(
    history: History,
    evaluation: Mapping[str, Any],
    rule: Rule,
    *,
    candidate: str | None = None,
    run: Mapping[str, Any] | None = None,
) -> Decision:
    """Return whether the candidate becomes the champion.

    A candidate takes the place of a champion, or beats its base model where there is no champion yet, when over the
    same examples the whole confidence interval of the difference lies above ``min_difference`` and, unless that is
    negative, the exact test finds the candidate better too.

    :param evaluation: what ``EvaluateModelOperator`` returned.
    :param candidate: one of the evaluated models; by default the one with the best score.
    :param run: the task that asks: what an earlier attempt of it has written is not decided again.
    :raises NotComparable: the evaluation compares with another model than the present champion, or does not compare.
    """
    found = _read(evaluation)
    name, now = history.name, history.champion
    if (chosen := candidate or found.best) is None:
        raise NotComparable("No evaluated model has a score: nothing was graded.")
    row = found.row(chosen)
    record = Champion(
        number=0,
        model=row.model,
        conn_id=row.conn_id,
        base_model=row.base_model,
        job_id=row.job_id,
        dataset_sha256=found.dataset.get("sha256"),
        scores=_numbers(row, found, rule, None),
    )
    if now is not None and (now.model, now.conn_id) == (row.model, row.conn_id):
        if run and now.run == run and now.restores is None:
            reason = f"{row.model} is the champion of {name}: an earlier attempt of this task promoted it."
            return Decision(name, "promoted", now, now, reason, is_written=True)
        return Decision(name, "unchanged", record, now, f"{row.model} is the champion of {name} already.")
    if now is None and rule.min_score is not None:
        return _by_score(name, row, record, rule)
    pair = _pair(name, now, row, found, rule)
    record = replace(record, scores=_numbers(row, found, rule, pair))
    is_better = _is_better(pair, rule)
    return Decision(
        name, "promoted" if is_better else "kept", record, now, _reason(name, now, pair, found, rule, is_better)
    )


def roll_back(history: History, *, to: str | None = None, run: Mapping[str, Any] | None = None) -> Decision:
    """Return which earlier champion becomes the champion again.

    :param to: a model that was champion; by default the one before the present champion.
    :param run: the task that asks: it rolls back once, in all its attempts.
    :raises ValueError: there is no such champion.
    """
    name, now = history.name, history.champion
    if now is None:
        raise ValueError(f"{name} has no champion, so there is nothing to roll back.")
    if run and (done := history.made_by(run)) is not None:
        if done == now:
            reason = f"{now.model} is the champion of {name}: an earlier attempt of this task rolled back to it."
            return Decision(name, "rolled_back", now, now, reason, is_written=True)
        reason = f"This task has rolled back already; since then, {now.model} became the champion of {name}."
        return Decision(name, "unchanged", done, now, reason)
    if to == now.model:
        return Decision(name, "unchanged", now, now, f"{now.model} is the champion of {name} already.")
    back = history.predecessor if to is None else history.latest(to)
    if back is None and to is None:
        raise ValueError(f"{now.model} is the first champion of {name}: there is none before it to roll back to.")
    if back is None:
        known = ", ".join(dict.fromkeys(record.model for record in history.records))
        raise ValueError(f"{to} was never the champion of {name}, so far as its history goes: {known}.")
    back = history.original(back)
    record = replace(back, number=0, restores=back.number, predecessor=None)
    reason = f"{back.model} is the champion of {name} again, in place of {now.model}."
    return Decision(name, "rolled_back", record, now, reason)


def _read(evaluation: Any) -> _Evaluation:
    try:
        return msgspec.convert(evaluation, _Evaluation)
    except msgspec.ValidationError as error:
        raise NotComparable(
            f"evaluation is not what EvaluateModelOperator returns: {error}. Give it the task's output."
        ) from None


def _by_score(name: str, row: _Row, record: Champion, rule: Rule) -> Decision:
    least = rule.min_score
    assert least is not None
    if row.score is None:
        raise NotComparable(f"{row.model} has no score: none of its answers was graded.")
    if row.score >= least:
        reason = f"{row.model} becomes the first champion of {name}: its score {row.score:g} is at least {least:g}."
        return Decision(name, "promoted", record, None, reason)
    reason = f"{name} gets no champion: the score {row.score:g} of {row.model} is below min_score {least:g}."
    return Decision(name, "kept", record, None, reason)


def _pair(name: str, now: Champion | None, row: _Row, found: _Evaluation, rule: Rule) -> _Comparison:
    """Return the comparison that counts.

    :raises NotComparable: there is none, or not with the model that it takes.
    """
    if found.confidence < rule.confidence:
        raise NotComparable(
            f"The evaluation gives intervals at {found.confidence:.4g} and the promotion wants {rule.confidence:.4g}. "
            f"Evaluate with confidence={rule.confidence:.4g}."
        )
    other = now.model if now is not None else row.base_model
    if other is None:
        raise NotComparable(
            f"{name} has no champion yet, and the evaluation does not say what {row.model} was fine-tuned from. Give "
            "the sensor's outcome to the evaluation as models, or set min_score."
        )
    role = f"the champion of {name}" if now is not None else f"the base model, while {name} has no champion yet"
    wanted = f"{other} is {role}. Evaluate with it as the baseline, then promote."
    if found.baseline is None:
        raise NotComparable(f"The evaluation has no baseline, and {wanted}")
    if found.baseline != other:
        raise NotComparable(f"The evaluation compares with {found.baseline}, but {wanted}")
    at = found.row(other).conn_id
    if now is not None and at != now.conn_id:
        raise NotComparable(
            f"The evaluation asked {other} at the connection {at}, and the champion of {name} is the one at "
            f"{now.conn_id}. Give baseline as a mapping with model and conn_id."
        )
    pair = next((pair for pair in found.comparisons if (pair.model, pair.baseline) == (row.model, other)), None)
    if pair is None:
        raise NotComparable(f"{row.model} and {other} have no example in common for which both have a grade.")
    if not all(map(math.isfinite, (pair.difference, pair.difference_low, pair.difference_high, pair.p_value))):
        raise NotComparable(f"The comparison of {row.model} with {other} is not made of numbers.")
    return pair


def _is_better(pair: _Comparison, rule: Rule) -> bool:
    is_told_apart = pair.difference > 0 and pair.p_value <= 1 - rule.confidence
    return pair.difference_low > rule.min_difference and (is_told_apart or rule.min_difference < 0)


def _numbers(row: _Row, found: _Evaluation, rule: Rule, pair: _Comparison | None) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "score": row.score,
        "score_low": row.score_low,
        "score_high": row.score_high,
        "examples": row.examples,
        "errors": row.errors,
        "grader": found.grader.get("name"),
        "compared_with": pair and pair.baseline,
    }
    if pair is not None:
        compared = msgspec.to_builtins(pair)
        numbers |= {key: compared[key] for key in ("wins", "losses", "ties", "p_value", "test")}
        numbers |= {key: compared[key] for key in ("difference", "difference_low", "difference_high")}
        numbers |= {"compared_examples": pair.examples, "interval": found.confidence}
    return numbers | {
        "min_difference": rule.min_difference,
        "confidence": rule.confidence,
        "min_score": rule.min_score,
    }


def _reason(name: str, now: Champion | None, pair: _Comparison, found: _Evaluation, rule: Rule, is_better: bool) -> str:
    side = "better than" if pair.difference > 0 else "worse than"
    differs = f"{abs(pair.difference):.3g} {side}" if pair.difference else "just as good as"
    other = pair.baseline if now is not None else f"the base model {pair.baseline}"
    evidence = (
        f"{differs} {other} ({100 * found.confidence:.4g} % interval {pair.difference_low:.3g} to "
        f"{pair.difference_high:.3g}, p = {pair.p_value:.2g}; "
        f"{counted(pair.wins, 'win')}, {counted(pair.losses, 'loss', 'losses')} and "
        f"{counted(pair.ties, 'tie')} on {counted(pair.examples, 'example')})"
    )
    if is_better:
        place = "the first champion" if now is None else "the champion"
        return f"{pair.model} becomes {place} of {name}: {evidence}."
    least = rule.min_difference
    needs = f"more than {least:g} better" if least >= 0 else f"less than {-least:g} worse"
    stays = f"{name} gets no champion" if now is None else f"{now.model} stays the champion of {name}"
    return f"{stays}: {pair.model} is {evidence}, and must be {needs} with {100 * rule.confidence:.4g} % confidence."
