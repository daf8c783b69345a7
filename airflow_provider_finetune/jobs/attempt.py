"""An attempt at a submission: what it knows when it begins, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from airflow_provider_finetune.jobs.fault import Fault
    from airflow_provider_finetune.jobs.identity import Marks
    from airflow_provider_finetune.jobs.job import Job
    from airflow_provider_finetune.jobs.request import JobRequest

IfExists = Literal["reuse", "fail", "new"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the protocol must know of the attempt that runs it. Times are seconds of the clock that is passed in.

    :param marks: by what the submission's job is known again.
    :param first: whether no other attempt can have run before this one began.
    :param started: when the attempt began.
    :param list_lag: how long after its creation a job may be missing from the list.
    :param epoch: when the attempt began, in epoch seconds.
    :param since: from when on, in epoch seconds, an earlier attempt may have created a job without a record of it.
    :param has_store: whether there is a task state store, which would have that record.
    :param metadata_is_kept: whether the endpoint is known to keep metadata.
    :param one_at_a_time: whether the endpoint is known to refuse a job while another one runs.
    :param request: what is asked for, to tell what has changed since an earlier attempt.
    :param existing_job_id: a job that the user says is this submission's.
    :param foreign_job_ids: jobs that the user says are not.
    """

    marks: Marks
    first: bool
    started: float
    list_lag: float = 10.0
    if_exists: IfExists = "reuse"
    epoch: float = 0.0
    since: float = 0.0
    has_store: bool = False
    metadata_is_kept: bool = False
    one_at_a_time: bool = False
    request: JobRequest | None = None
    existing_job_id: str | None = None
    foreign_job_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Submitted:
    """The one job of a submission. ``created`` tells whether this attempt created it."""

    job: Job
    created: bool


class SubmissionFault(Exception):
    """The submission could not be settled.

    :param doing: what failed.
    :param fault: why; None when an existing job stands in the way.
    :param unsettled: whether a job may exist that is not known.
    :param candidates: jobs of which one may be this submission's, and nothing tells which.
    """

    def __init__(
        self, doing: str, fault: Fault | None = None, *, unsettled: bool = False, candidates: tuple[Job, ...] = ()
    ) -> None:
        super().__init__(doing)
        self.doing = doing
        self.fault = fault
        self.unsettled = unsettled
        self.candidates = candidates


class Occupied(Exception):
    """The endpoint runs one job at a time, and another one is running. Nothing was created.

    :param job: the job that holds the endpoint.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job.id)
        self.job = job
