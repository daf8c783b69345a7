"""The plan of a clean-up: which models and files of ended jobs nobody needs any more. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airflow_provider_finetune.datasets.stored import is_uploaded_by_us
from airflow_provider_finetune.jobs.identity import DAG_KEY, FINGERPRINT_KEY, SUBMISSION_KEY, TASK_KEY
from airflow_provider_finetune.jobs.status import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from airflow_provider_finetune.jobs.job import Job
    from airflow_provider_finetune.models.history import History

Kind = Literal["model", "checkpoint", "result_file", "training_file"]
KINDS: tuple[Kind, ...] = ("model", "checkpoint", "result_file", "training_file")
DAY = 24 * 60 * 60.0


class Item(NamedTuple):
    """Something to delete.

    :ivar kind: ``model``, ``checkpoint``, ``result_file``, or ``training_file``, which validation files are too.
    :ivar id: the name of the model, or the id of the file.
    :ivar job_id: the job that it belongs to; None for a file that no job used.
    """

    kind: Kind
    id: str
    job_id: str | None = None


class File(NamedTuple):
    """What the endpoint tells of a file."""

    id: str
    filename: str
    created_at: float | None


@dataclass(frozen=True, slots=True)
class InUse:
    """What champions stand on.

    :ivar models: names of models that must stay.
    :ivar job_ids: the jobs that made them.
    """

    models: frozenset[str] = frozenset()
    job_ids: frozenset[str] = frozenset()

    @classmethod
    def by(cls, histories: Iterable[History], models: Iterable[str] = ()) -> InUse:
        """Return what champions and their predecessors stand on.

        A predecessor is what a rollback would take up, and what was the champion just before.

        :param models: further models that must stay.
        """
        records = [
            record
            for history in histories
            for record in (*history.records[:2], history.predecessor)
            if record is not None
        ]
        return cls(
            frozenset({record.model for record in records} | set(models)),
            frozenset(record.job_id for record in records if record.job_id),
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be deleted.

    :ivar dag_ids: the DAGs whose jobs are looked at.
    :ivar keep: how many of the newest succeeded jobs of each task stay.
    :ivar min_age: seconds since the end of a job, or the upload of a file, before anything of it is deleted.
    :ivar kinds: of things to delete.
    :ivar unused_files: whether also training files are deleted that this provider uploaded and no job used.
    """

    dag_ids: frozenset[str]
    keep: int = 3
    min_age: float = 7 * DAY
    kinds: frozenset[Kind] = frozenset(KINDS)
    unused_files: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deleted, and why the rest stays.

    :ivar items: job by job, the oldest first; each once.
    :ivar stays: for each job that stays, why.
    """

    items: tuple[Item, ...] = ()
    stays: Mapping[str, str] = field(default_factory=dict)

    def without(self, gone: Collection[str]) -> Plan:
        """Return the plan without models that the endpoint does not have any more."""
        return Plan(tuple(item for item in self.items if item.id not in gone), self.stays)

    def as_json(self) -> dict[str, Any]:
        """Return how much is to be deleted of each kind, and how many jobs stay for which reason."""
        return {
            "to_delete": {kind: sum(item.kind == kind for item in self.items) for kind in KINDS},
            "jobs_that_stay": dict(Counter(self.stays.values())),
        }


def removable(jobs: Sequence[Job], rule: Rule, in_use: InUse, now: float) -> tuple[list[Job], dict[str, str]]:
    """Return the jobs of which something may be deleted, and for each of the others why it stays.

    Checkpoints are not looked at, since the endpoint gives them job by job: :func:`plan` does it for these jobs.

    :param jobs: all jobs of the endpoint.
    :param now: seconds since the epoch.
    """
    stays: dict[str, str] = {}
    kept: Counter[tuple[str | None, str | None]] = Counter()
    for job in sorted(jobs, key=_age, reverse=True):
        metadata = job.metadata or {}
        task = metadata.get(DAG_KEY), metadata.get(TASK_KEY)
        if not (metadata.get(SUBMISSION_KEY) and metadata.get(FINGERPRINT_KEY)):
            stays[job.id] = "was not made by this provider, or the endpoint forgets metadata"
        elif task[0] not in rule.dag_ids:
            stays[job.id] = "belongs to another DAG"
        elif job.status not in TERMINAL:
            stays[job.id] = "has not ended"
        elif job.status == "succeeded" and kept[task] < rule.keep:
            kept[task] += 1
            stays[job.id] = f"is one of the newest {rule.keep} of its task"
        elif job.id in in_use.job_ids or job.fine_tuned_model in in_use.models:
            stays[job.id] = _CHAMPION
        elif (ended := job.finished_at or job.created_at) is None or now - ended < rule.min_age:
            stays[job.id] = "ended too short a time ago"
    return [job for job in jobs if job.id not in stays], stays


_CHAMPION = "made a champion, its predecessor, or a model that must stay"
_ANCESTOR = "made a model that a job that stays was made from"


def plan(
    jobs: Sequence[Job],
    checkpoints: Mapping[str, Sequence[str]],
    files: Iterable[File],
    rule: Rule,
    in_use: InUse,
    now: float,
) -> Plan:
    """Return what nobody needs any more.

    A job stays, with all that belongs to it, unless it is :func:`removable`; and when one of its models must stay, or
    is what a job that stays was made from. What a job that stays was trained on stays too.

    :param jobs: all jobs of the endpoint.
    :param checkpoints: the models of the checkpoints of each removable job, by its id.
    :param files: training and result files that the endpoint has.
    """
    candidates, stays = removable(jobs, rule, in_use, now)
    going = {job.id: job for job in candidates}
    models = {job.id: [name for name in (*checkpoints.get(job.id, ()), job.fine_tuned_model) if name] for job in jobs}
    needed, staying = set(in_use.models), [job for job in jobs if job.id in stays]
    while True:
        needed |= {name for job in staying for name in (*models[job.id], job.model) if name}
        staying = [job for job in going.values() if needed.intersection(models[job.id])]
        if not staying:
            break
        for job in staying:
            stays[job.id] = _CHAMPION if in_use.models.intersection(models[job.id]) else _ANCESTOR
            del going[job.id]
    used = {file for job in jobs if job.id in stays for file in (*job.datasets, *job.result_files)}
    there = {file.id: file for file in files}
    items = [
        Item(kind, found, job.id)
        for job in sorted(going.values(), key=_age)
        for kind, found in _belonging(job, checkpoints.get(job.id, ()))
        if kind in ("model", "checkpoint") or (found in there and found not in used)
        if kind != "training_file" or _is_ours(there[found], rule, now)
    ]
    if rule.unused_files:
        ever_used = {file for job in jobs for file in (*job.datasets, *job.result_files)}
        items += [
            Item("training_file", file.id)
            for file in there.values()
            if file.id not in ever_used and _is_ours(file, rule, now)
        ]
    once = {item.id: item for item in reversed(items) if item.kind in rule.kinds}
    return Plan(tuple(reversed(once.values())), stays)


def _age(job: Job) -> tuple[int, str]:
    return job.created_at or 0, job.id


def _belonging(job: Job, checkpoints: Sequence[str]) -> Iterable[tuple[Kind, str]]:
    """Yield what belongs to a job. Its base model never does, whatever the endpoint calls the model it made."""
    names: dict[str, Kind] = dict.fromkeys(checkpoints, "checkpoint")
    if job.fine_tuned_model:
        names[job.fine_tuned_model] = "model"
    for name, kind in names.items():
        if name != job.model:
            yield kind, name
    for file in job.result_files:
        yield "result_file", file
    for file in job.datasets:
        yield "training_file", file


def _is_ours(file: File, rule: Rule, now: float) -> bool:
    is_old = file.created_at is not None and now - file.created_at >= rule.min_age
    return is_old and is_uploaded_by_us(file.filename)
