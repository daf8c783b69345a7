"""Deleting fine-tuned models and files at an endpoint: what nobody needs, or what somebody names."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import openai

from airflow_provider_finetune.exceptions import InvalidRequest, RequestRefused
from airflow_provider_finetune.hooks.fine_tuning import explained
from airflow_provider_finetune.hooks.pages import payload
from airflow_provider_finetune.jobs.checkpoints import checkpoint_rows
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.payload import epoch, text
from airflow_provider_finetune.jobs.status import TERMINAL
from airflow_provider_finetune.models.clean_up import File, InUse, plan, removable

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Sequence

    from airflow_provider_finetune.hooks.champions import ChampionStore
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
    from airflow_provider_finetune.models.clean_up import Item, Plan, Rule

#: Requests at the same time, to learn what there is.
CONCURRENCY = 8
_PURPOSES = ("fine-tune", "fine-tune-results")


class Champions:
    """What the champions of some names stand on, now.

    :param names: the names; None for all that the store lists.
    :param models: further models that must stay.
    :raises InvalidRequest: the store cannot list its names, and none are given.
    """

    def __init__(self, store: ChampionStore, names: Sequence[str] | None, models: Iterable[str] = ()) -> None:
        self._store, self._models = store, tuple(models)
        listed = names_in(store)
        if listed is None and names is None:
            raise InvalidRequest(
                "The names that have a champion cannot be listed here: Airflow 3.0 to 3.2 lists no Variables to a "
                "task, and another store does so only with a method names(). Say them, so that no champion is "
                'deleted: names=["support-bot"], or names=[] if there is none.'
            )
        self.names = sorted({*(listed or ()), *(names or ())})

    def in_use(self) -> InUse:
        """Return what champions stand on at this moment."""
        return InUse.by(map(self._store.read, self.names), self._models)


def names_in(store: ChampionStore) -> list[str] | None:
    """Return all names that have a champion; None when the store cannot tell."""
    names = getattr(store, "names", None)
    return None if names is None else names()


def why_not(hook: FineTuningHook, model: str, champions: Champions) -> str | None:
    """Return why a model that somebody names must not be deleted; None when it may.

    :raises FineTuningError: the endpoint does not tell.
    """
    with explained("list fine-tuning jobs", reading=True):
        jobs = jobs_in(hook.list_jobs())
    if model in champions.in_use().models:
        return "is a champion, or the predecessor of one"
    if living := next((job for job in jobs if job.model == model and job.status not in TERMINAL), None):
        return f"is what {living.id} is being made from, which has not ended"
    if model.startswith("ft:") or any(job.fine_tuned_model == model for job in jobs):
        return None
    if model in asyncio.run(_all_checkpoints(hook, jobs)):
        return None
    return "is not known as the model or checkpoint of a fine-tuning job"


async def _all_checkpoints(hook: FineTuningHook, jobs: Sequence[Job]) -> set[str]:
    async with hook:
        return {model for models in await _each(partial(_checkpoints, hook), jobs) for model in models}


async def _checkpoints(hook: FineTuningHook, job: Job) -> list[str]:
    """Return the models of a job's checkpoints."""
    if "checkpoints" in hook.endpoint.cannot:
        return []
    with explained(f"list checkpoints of {job.id}", reading=True):
        try:
            rows = checkpoint_rows(map(payload, await hook.alist_checkpoints(job.id)))
        except openai.NotFoundError:  # an endpoint without checkpoints, or a job that it has forgotten
            return []
    return [row["model"] for row in rows if row["model"]]


class CleanUp:
    """Plans and carries out a clean-up at one endpoint."""

    def __init__(self, hook: FineTuningHook, rule: Rule, champions: Champions, log: logging.Logger) -> None:
        self.hook, self.rule, self.champions, self.log = hook, rule, champions, log

    def plan(self) -> Plan:
        """Return what nobody needs any more, as the endpoint shows it now.

        :raises FineTuningError: the endpoint does not tell.
        """
        return asyncio.run(self._plan())

    async def _plan(self) -> Plan:
        now, in_use = time.time(), self.champions.in_use()
        async with self.hook as hook:
            with explained("list fine-tuning jobs", reading=True):
                jobs = jobs_in(await hook.alist_jobs())
            candidates, _ = removable(jobs, self.rule, in_use, now)
            found_of = await _each(partial(_checkpoints, hook), candidates)
            checkpoints = {job.id: found for job, found in zip(candidates, found_of, strict=True)}
            files = [file for purpose in _PURPOSES for file in await self._files(purpose)]
            found = plan(jobs, checkpoints, files, self.rule, in_use, now)
            models = [item.id for item in found.items if item.kind in ("model", "checkpoint")]
            listed = await self._models() if models else set()
            unlisted = [model for model in models if model not in listed]  # many endpoints list base models only
            there = await _each(self._has, unlisted)
        return found.without({model for model, is_there in zip(unlisted, there, strict=True) if not is_there})

    async def _files(self, purpose: str) -> list[File]:
        with explained("list files", reading=True):
            try:
                files = await self.hook.alist_files(purpose)
            except (openai.NotFoundError, openai.BadRequestError) as error:
                self.log.info("The endpoint lists no files for %s (%s); none are deleted", purpose, error.status_code)
                return []
        return [
            File(file_id, text(file.get("filename")) or "", epoch(file.get("created_at")))
            for file in map(payload, files)
            if (file_id := text(file.get("id")))
        ]

    async def _models(self) -> set[str]:
        with explained("list models", reading=True):
            try:
                return {name for model in await self.hook.alist_models() if (name := text(model.id))}
            except openai.NotFoundError:
                return set()

    async def _has(self, model: str) -> bool:
        with explained(f"retrieve model {model}", reading=True):
            try:
                await self.hook.aretrieve_model(model)
            except openai.NotFoundError:
                return False
        return True

    def carry_out(self, found: Plan) -> dict[str, list[str]]:
        """Delete what is planned; return what came of it: ``deleted``, ``gone`` already, ``refused``, ``spared``.

        The champions are read again for each job, so that a model that was promoted meanwhile is spared.

        :raises EndpointUnreachable: the endpoint does not answer; a retry plans anew.
        """
        done: dict[str, list[str]] = {"deleted": [], "gone": [], "refused": [], "spared": []}
        spared: dict[str | None, bool] = {None: False}
        for number, item in enumerate(found.items, 1):
            if item.job_id not in spared:
                spared[item.job_id] = self._is_needed(found, item.job_id)
            outcome = "spared" if spared[item.job_id] else self._delete(item)
            done[outcome].append(item.id)
            self.log.info("%s of %s: %s %s: %s", number, len(found.items), item.kind, item.id, outcome)
        return done

    def _is_needed(self, found: Plan, job_id: str | None) -> bool:
        in_use = self.champions.in_use()
        return job_id in in_use.job_ids or any(
            item.id in in_use.models for item in found.items if item.job_id == job_id
        )

    def _delete(self, item: Item) -> str:
        try:
            if item.kind in ("model", "checkpoint"):
                is_deleted = delete_model(self.hook, item.id)
            else:
                is_deleted = delete_file(self.hook, item.id)
        except RequestRefused as refused:
            self.log.warning("%s", refused)
            return "refused"
        return "deleted" if is_deleted else "gone"


async def _each(ask: Any, things: Sequence[Any]) -> list[Any]:
    """Ask about each thing, a few at a time; return the answers in the order of the things."""
    free = asyncio.Semaphore(CONCURRENCY)

    async def one(thing: Any) -> Any:
        async with free:
            return await ask(thing)

    return await asyncio.gather(*map(one, things))


def jobs_in(answers: Iterable[object]) -> list[Job]:
    """Return jobs of the SDK as the rules know them."""
    return [Job.from_api(payload(answer)) for answer in answers]


def delete_model(hook: FineTuningHook, model: str) -> bool:
    """Delete a model; return whether it was there.

    :raises RequestRefused: the endpoint does not delete it.
    """
    with explained(f"delete model {model}"):
        try:
            answer = hook.delete_model(model)
        except openai.NotFoundError:
            if not _is_there(hook, model):
                return False
            raise RequestRefused(
                f"The endpoint has model {model}, and answers to its deletion that it is not there: it deletes no "
                "models, or only in another way."
            ) from None
    return _is_confirmed(answer, f"model {model}")


def _is_confirmed(answer: object, what: str) -> bool:
    if getattr(answer, "deleted", None) is False:
        raise RequestRefused(f"The endpoint answers that {what} is not deleted, without a reason.")
    return True


def _is_there(hook: FineTuningHook, model: str) -> bool:
    try:
        hook.retrieve_model(model)
    except openai.NotFoundError:
        return False
    return True


def delete_file(hook: FineTuningHook, file_id: str) -> bool:
    """Delete a file; return whether it was there.

    :raises RequestRefused: the endpoint does not delete it.
    """
    with explained(f"delete file {file_id}"):
        try:
            answer = hook.delete_file(file_id)
        except openai.NotFoundError:
            return False
    return _is_confirmed(answer, f"file {file_id}")
