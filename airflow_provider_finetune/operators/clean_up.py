"""Deleting fine-tuned models, and the files of their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_finetune.arguments import choice, ids, number, required, seconds
from airflow_provider_finetune.exceptions import InvalidRequest, RequestRefused
from airflow_provider_finetune.jobs.request import is_templated

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.hooks.champions import ChampionStore
    from airflow_provider_finetune.models.clean_up import Plan, Rule

_KINDS = ("model", "checkpoint", "result_file", "training_file")
_IfMissing = Literal["ok", "fail"]
#: Of each outcome, that go to XCom.
_MOST_SHOWN = 500


class DeleteFineTunedModelOperator(BaseOperator):
    """Deletes a fine-tuned model, or the model of a checkpoint.

    Returns the name of the model. A model that is not there any more is fine. Never deleted are the champion of a name
    and its predecessor, what a living job is being made from, and what no fine-tuning job of the endpoint made.

    :param model: the model (templated).
    :param if_missing: what it means that the endpoint has no such model: ``"ok"``, or ``"fail"``.
    :param names: names whose champions are looked up (templated), beside those that the store lists. Needed only where
        it lists none: on Airflow 3.0 to 3.2, and for stores of your own without ``names()``.
    :param store: where champions are kept, as for :class:`PromoteModelOperator`.
    :param conn_id: the Airflow connection of the endpoint (templated).
    :raises InvalidRequest: the model is needed, or none that a fine-tuning job made; or names are missing.
    :raises RequestRefused: the endpoint does not delete it.
    """

    template_fields: Sequence[str] = ("model", "names", "conn_id")
    ui_color = "#f8cecc"

    def __init__(
        self,
        *,
        model: str,
        if_missing: Literal["ok", "fail"] = "ok",
        names: Sequence[str] | str | None = None,
        store: ChampionStore | str | None = None,
        conn_id: str = "openai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        choice("if_missing", if_missing, get_args(_IfMissing))
        self.if_missing = if_missing
        self.names = names
        self.store = store
        self.conn_id = conn_id

    def execute(self, context: Context) -> str:
        """Delete the model; return its name."""
        from airflow_provider_finetune.hooks.champions import open_store
        from airflow_provider_finetune.hooks.clean_up import Champions, delete_model, why_not
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        model = required("model", self.model)
        hook = FineTuningHook(conn_id=required("conn_id", self.conn_id))
        champions = Champions(open_store(self.store), _names(self.names))
        if why := why_not(hook, model, champions):
            raise InvalidRequest(f"Model {model} is not deleted: it {why}.")
        if delete_model(hook, model):
            self.log.info("Model %s is deleted", model)
        elif self.if_missing == "fail":
            raise RequestRefused(f"The endpoint has no model {model}.")
        else:
            self.log.info("The endpoint has no model %s: nothing to delete", model)
        return model


class CleanUpFineTuningOperator(BaseOperator):
    """Deletes models, checkpoints, training files and result files of ended jobs that nobody needs any more.

    It looks at jobs that this provider made for the DAGs in ``dag_ids``. Of each of their tasks, the newest ``keep``
    succeeded jobs stay. Never touched are: the champion of a name, its predecessor, and the jobs that made them; jobs
    that have not ended, or ended within ``min_age``; what a job that stays was made from or trained on; and all that
    this provider did not make.

    Says first what it would delete. With ``dry_run=True``, which is the default, it ends there. Something that is gone
    already is fine; a retry plans anew.

    Returns ``dry_run``; ``to_delete``, how many of each kind; ``jobs_that_stay``, how many for which reason; and the
    ids: ``planned`` in a dry run, or else ``deleted``, ``gone``, ``refused`` by the endpoint and ``spared``, because a
    model was promoted meanwhile; at most 500 of each.

    :param dag_ids: the DAGs of this Airflow that create jobs (templated). Name them all, and none of another Airflow
        with the same account: its champions are not known here.
    :param keep: how many succeeded jobs of each task stay, with all that belongs to them.
    :param dry_run: say what would be deleted, and delete nothing (templated).
    :param min_age: seconds, or a timedelta, since a job ended or a file was uploaded.
    :param kinds: what to delete: ``model``, ``checkpoint``, ``result_file``, ``training_file``.
    :param unused_files: also delete training files of any DAG that this provider uploaded and no job has used.
    :param protect: further models that must stay, for example because another program uses them (templated).
    :param names: names whose champions are looked up (templated), beside those that the store lists. Needed only where
        it lists none: on Airflow 3.0 to 3.2, and for stores of your own without ``names()``.
    :param store: where champions are kept, as for :class:`PromoteModelOperator`.
    :param conn_id: the Airflow connection of the endpoint (templated).
    :raises InvalidRequest: an argument is bad, or names are missing.
    :raises RequestRefused: the endpoint refused to delete something; all the rest is deleted.
    """

    template_fields: Sequence[str] = ("dag_ids", "is_dry_run", "protect", "names", "conn_id")
    ui_color = "#f8cecc"

    def __init__(
        self,
        *,
        dag_ids: Sequence[str] | str,
        keep: int = 3,
        dry_run: bool | str = True,
        min_age: float | timedelta = 7 * 24 * 60 * 60,
        kinds: Sequence[str] = _KINDS,
        unused_files: bool = False,
        protect: Sequence[str] | str = (),
        names: Sequence[str] | str | None = None,
        store: ChampionStore | str | None = None,
        conn_id: str = "openai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dag_ids = dag_ids
        number("keep", keep, whole=True)
        self.keep = keep
        self.is_dry_run = dry_run
        self.min_age = seconds("min_age", min_age)
        if isinstance(kinds, str):
            raise InvalidRequest(f"kinds is {kinds!r}; expected a list of {', '.join(_KINDS)}")
        for kind in kinds:
            choice("kinds", kind, _KINDS)
        self.kinds = list(kinds)
        self.unused_files = unused_files
        self.protect = protect
        self.names = names
        self.store = store
        self.conn_id = conn_id
        if not is_templated(dry_run):
            _flag("dry_run", dry_run)

    def execute(self, context: Context) -> dict[str, Any]:
        """Plan, say so, and delete; return what was done."""
        from airflow_provider_finetune.hooks.champions import open_store
        from airflow_provider_finetune.hooks.clean_up import Champions, CleanUp
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

        rule, is_dry = self._rule(), _flag("dry_run", self.is_dry_run)
        champions = Champions(open_store(self.store), _names(self.names), ids(self.protect))
        hook = FineTuningHook(conn_id=required("conn_id", self.conn_id))
        clean_up = CleanUp(hook, rule, champions, cast("logging.Logger", self.log))
        plan = clean_up.plan()
        self._tell(plan, champions.names)
        done = {"planned": [item.id for item in plan.items]} if is_dry else clean_up.carry_out(plan)
        found = {"dry_run": is_dry, **plan.as_json(), **{name: found[:_MOST_SHOWN] for name, found in done.items()}}
        if is_dry:
            self.log.info("Nothing was deleted: dry_run is True")
        elif done["refused"]:
            context["ti"].xcom_push(key="return_value", value=found)
            raise RequestRefused(
                f"The endpoint refused to delete {len(done['refused'])} of {len(plan.items)}; the log has its reasons. "
                "All the rest is done. Leave such a kind out with the argument kinds."
            )
        return found

    def _rule(self) -> Rule:
        from airflow_provider_finetune.models.clean_up import Rule

        if not (dag_ids := ids(self.dag_ids)):
            raise InvalidRequest(f"dag_ids is {self.dag_ids!r}; expected the DAGs whose jobs are to be cleaned up")
        return Rule(
            frozenset(dag_ids),
            keep=self.keep,
            min_age=self.min_age,
            kinds=frozenset(self.kinds),  # type: ignore[arg-type]
            unused_files=self.unused_files,
        )

    def _tell(self, plan: Plan, names: Sequence[str]) -> None:
        """Say what is to be deleted, and why the rest stays."""
        self.log.info("Champions are looked up for: %s", ", ".join(names) or "no name")
        for reason, count in plan.as_json()["jobs_that_stay"].items():
            self.log.info("Jobs that stay: %s, each of which %s", count, reason)
        self.log.info("To be deleted: %s", len(plan.items))
        for item in plan.items:
            self.log.info("  %s %s%s", item.kind, item.id, f" of {item.job_id}" if item.job_id else "")


def _names(given: Any) -> list[str] | None:
    return None if given is None else ids(given)


def _flag(name: str, value: Any) -> bool:
    """Return a truth value, also one that a template made text of. A wrong one here would delete."""
    found = {"true": True, "false": False}.get(str(value).strip().lower())
    if found is None:
        raise InvalidRequest(f"{name} is {value!r}; expected True or False")
    return found
