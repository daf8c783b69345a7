"""Making an evaluated model the champion of a name, and going back to an earlier one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import AirflowSkipException, Asset, AssetAlias, BaseOperator

from airflow_provider_finetune.arguments import as_invalid_request, choice, literal, number, optional, required
from airflow_provider_finetune.assets import ALIAS, champion_uri
from airflow_provider_finetune.exceptions import InvalidRequest, PromotionRefused
from airflow_provider_finetune.jobs.request import is_templated
from airflow_provider_finetune.links import PromotionLink
from airflow_provider_finetune.models.history import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.champions import ChampionStore
    from airflow_provider_finetune.models.promotion import Decision, Rule

_ON_WORSE = ("skip", "fail", "keep")


class PromoteModelOperator(BaseOperator):
    """Makes the candidate the champion of a name, if the evaluation shows that it is better than the present champion.

    The candidate must have been compared with the present champion; while there is none, with its base model. It is
    better when the whole confidence interval of the difference lies above ``min_difference`` and the exact test agrees.

    Returns the decision: ``promoted``, ``outcome`` (``promoted``, ``kept``, or ``unchanged`` when the candidate is the
    champion already), ``candidate``, ``champion`` (the record in force), ``before`` (the model that was the champion
    before), ``numbers``, and ``reason``, a line for people. When a model was promoted, and only then, the asset
    ``finetune://NAME`` gets an event with the record as its ``extra``. Pushes ``history``, the last champions.

    :param name: the role that the champion has, such as ``"support-bot"`` (templated).
    :param evaluation: what :class:`EvaluateModelOperator` returned (templated).
    :param candidate: one of the evaluated models (templated); by default the one with the best score.
    :param min_difference: how much better its mean grade must be (templated). A negative number allows it to be that
        much worse, for a model that is cheaper or faster.
    :param confidence: how sure that must be, 0.5 to 0.9999. The evaluation must be at least as sure.
    :param min_score: the mean grade that makes the first champion, instead of the comparison with the base model
        (templated).
    :param on_worse: what the task does when the candidate is not better: ``"skip"``, then Airflow skips what follows;
        ``"fail"``; or ``"keep"``, which succeeds. The decision is in XCom in any case.
    :param promoted_by: who stands for it (templated); by default who started the DAG run, or else the task's owner.
    :param store: where champions are kept, an object with the methods of
        :class:`~airflow_provider_finetune.hooks.champions.ChampionStore`, or the import path of one; by default an
        Airflow Variable for each name.
    :raises InvalidRequest: an argument is bad. Literal ones are refused when the DAG is parsed.
    :raises PromotionRefused: the evaluation compares with another model than the present champion; or the candidate is
        not better, with ``on_worse="fail"``.
    """

    template_fields: Sequence[str] = (
        "name",
        "evaluation",
        "candidate",
        "min_difference",
        "min_score",
        "promoted_by",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"evaluation": "json"}
    operator_extra_links = (PromotionLink(),)
    ui_color = "#d5e8d4"

    def __init__(
        self,
        *,
        name: str,
        evaluation: Mapping[str, Any] | str,
        candidate: str | None = None,
        min_difference: float | str = 0.0,
        confidence: float = 0.95,
        min_score: float | str | None = None,
        on_worse: Literal["skip", "fail", "keep"] = "skip",
        promoted_by: str | None = None,
        store: ChampionStore | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_alias(kwargs))
        self.name = name
        self.evaluation = evaluation
        self.candidate = candidate
        self.min_difference = min_difference
        number("confidence", confidence, least=0.5, most=0.9999)
        self.confidence = confidence
        self.min_score = min_score
        choice("on_worse", on_worse, _ON_WORSE)
        self.on_worse = on_worse
        self.promoted_by = promoted_by
        self.store = store
        _check_literal_name(name)
        self._number("min_difference", rendered=False)
        self._number("min_score", rendered=False)

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, and promote; return the decision."""
        from airflow_provider_finetune.hooks.champions import carry_out, open_store
        from airflow_provider_finetune.models.promotion import NotComparable, decide

        name, rule, run = _name(self.name), self._rule(), _run(context)
        store = open_store(self.store)
        evaluation: Any = literal(self.evaluation)
        try:
            decision = carry_out(
                store,
                name,
                lambda history: decide(history, evaluation, rule, candidate=optional(self.candidate), run=run),
                **_signed(self, context),
            )
        except NotComparable as error:
            raise PromotionRefused(f"No model is promoted: {error}") from None
        found = _tell(self, context, store, decision)
        if decision.outcome == "kept" and self.on_worse != "keep":
            context["ti"].xcom_push(key="return_value", value=found)
            raise (AirflowSkipException if self.on_worse == "skip" else PromotionRefused)(decision.reason)
        return found

    def _rule(self) -> Rule:
        from airflow_provider_finetune.models.promotion import Rule

        least = self._number("min_difference", rendered=True)
        if least is None:
            raise InvalidRequest("min_difference rendered to nothing; give a number, such as 0")
        return Rule(least, self.confidence, self._number("min_score", rendered=True))

    def _number(self, name: str, *, rendered: bool) -> float | None:
        value = getattr(self, name)
        return number(name, value, least=-1e6, most=1e6) if rendered or not is_templated(value) else None


class RollbackModelOperator(BaseOperator):
    """Makes an earlier champion the champion again.

    Returns the decision, as :class:`PromoteModelOperator` does; ``outcome`` is ``rolled_back``, or ``unchanged`` when
    the model is the champion already. The asset ``finetune://NAME`` gets an event when the champion has changed.

    A task rolls back once, however often it is retried or cleared. A new run goes back one more.

    :param name: the role that the champion has (templated).
    :param to: an earlier champion (templated); by default the one before the present champion.
    :param promoted_by: who stands for it (templated); by default who started the DAG run, or else the task's owner.
    :param store: where champions are kept, as for :class:`PromoteModelOperator`.
    :raises InvalidRequest: an argument is bad. Literal ones are refused when the DAG is parsed.
    :raises PromotionRefused: there is no such champion; or another run changed the champion at the same time, and
        nothing was rolled back.
    """

    template_fields: Sequence[str] = ("name", "to", "promoted_by")
    operator_extra_links = (PromotionLink(),)
    ui_color = "#f8cecc"

    def __init__(
        self,
        *,
        name: str,
        to: str | None = None,
        promoted_by: str | None = None,
        store: ChampionStore | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**_with_alias(kwargs))
        self.name = name
        self.to = to
        self.promoted_by = promoted_by
        self.store = store
        _check_literal_name(name)
        self._has_target = to is not None

    def execute(self, context: Context) -> dict[str, Any]:
        """Roll back; return the decision."""
        from airflow_provider_finetune.hooks.champions import carry_out, open_store
        from airflow_provider_finetune.models.promotion import roll_back

        to, run = optional(self.to), _run(context)
        if self._has_target and to is None:
            raise InvalidRequest("to rendered to nothing, and would roll back to another model than was meant")
        store = open_store(self.store)

        def decide(history: Any) -> Decision:
            try:
                return roll_back(history, to=to, run=run)
            except ValueError as error:
                raise PromotionRefused(str(error)) from None

        # Once: what to go back from was decided by whoever started this, and is another model after a promotion.
        decision = carry_out(store, _name(self.name), decide, tries=1, **_signed(self, context))
        return _tell(self, context, store, decision)


def _check_literal_name(name: Any) -> None:
    if not is_templated(name):
        _name(name)


def _name(name: Any) -> str:
    with as_invalid_request():
        return check_name(required("name", name))


def _with_alias(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with the alias among its outlets.

    An asset among the outlets would get an event whenever the task succeeds, also when nothing was promoted.
    """
    outlets = kwargs.get("outlets") or []
    return {**kwargs, "outlets": [*(outlets if isinstance(outlets, (list, tuple)) else [outlets]), AssetAlias(ALIAS)]}


def _tell(operator: BaseOperator, context: Context, store: ChampionStore, decision: Decision) -> dict[str, Any]:
    """Log the decision, and let the asset know when the champion has changed; return it as JSON."""
    operator.log.info("%s", decision.reason)
    context["ti"].xcom_push(key="history", value=store.read(decision.name).latest_as_json())
    found = decision.as_json()
    if decision.changes:
        events: Any = context["outlet_events"][AssetAlias(ALIAS)]
        events.add(Asset(champion_uri(decision.name)), extra=_extra(found["champion"]))
    return found


def _extra(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record as the ``extra`` of an event. Airflow 2 takes no mapping in there, so it gets JSON text."""
    if Asset.__name__ != "Dataset":  # as Airflow 2 calls it
        return record
    return {key: json.dumps(value) if isinstance(value, dict) else value for key, value in record.items()}


def _run(context: Context) -> dict[str, Any]:
    """Return what names this task in its run, over all its attempts."""
    ti: Any = context["ti"]
    return {name: getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index")}


def _signed(operator: Any, context: Context) -> dict[str, Any]:
    """Return who, when and where, as the record has it."""
    by = optional(operator.promoted_by) or getattr(context.get("dag_run"), "triggering_user_name", None)
    return {
        "promoted_at": datetime.now(tz=UTC).isoformat(timespec="milliseconds"),
        "promoted_by": by or operator.owner,
        "run": _run(context),
    }
