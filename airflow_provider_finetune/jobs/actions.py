"""What the protocol of a submission asks to be done, one action at a time; each has an answer.

A fault (:class:`~airflow_provider_finetune.jobs.fault.Fault`) is the answer of an endpoint that could not be asked, or
refused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recall:
    """Asks the task state store for the record of an earlier attempt. Answer: the record or None."""


@dataclass(frozen=True, slots=True)
class Remember:
    """Asks the task state store to keep the record. Answer: ignored."""

    record: dict[str, str]


@dataclass(frozen=True, slots=True)
class Search:
    """Asks the endpoint for this submission's jobs, newest first. Answer: list of jobs, or a fault.

    :param unmarked: whether to look for jobs without this submission's metadata too, which may be anybody's.
    :param since: epoch seconds before which a job without it is of no interest.
    """

    unmarked: bool = False
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Asks the endpoint for one job. Answer: the job, or a fault."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Create:
    """Asks the endpoint to create the job, once. Answer: the job, or a fault.

    :param without: the marks that the endpoint refuses, ``metadata`` or ``seed``: ours are left out.
    """

    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Asks for a duplicate job to be cancelled. Answer: the job as it is then, or a fault."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Asks to wait. Answer: ignored."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Note:
    """Tells people something. Answer: ignored."""

    message: str
    warning: bool = False


Action = Recall | Remember | Search | Retrieve | Create | Cancel | Sleep | Note
