"""Who asked for a job: the marks by which a job is known again, in the metadata and in the seed.

The keys and the way the hashes are made are a promise: jobs outlive releases, and a retry after an upgrade must find
them.
"""

from __future__ import annotations

import hashlib
import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_finetune.jobs.job import Job

SUBMISSION_KEY = "airflow_submission"
FINGERPRINT_KEY = "airflow_fingerprint"
DAG_KEY = "airflow_dag_id"
RUN_KEY = "airflow_run_id"
TASK_KEY = "airflow_task_id"
OWN_KEYS = (SUBMISSION_KEY, FINGERPRINT_KEY, DAG_KEY, RUN_KEY, TASK_KEY)
MAX_PAIRS = 16
MAX_VALUE = 512


class Submission(NamedTuple):
    """One piece of work that must become exactly one job: a task instance, whatever attempt it is in.

    :param map_index: index of a mapped task instance, -1 for one that is not mapped.
    :param generation: tells the clearings of a task apart for ``if_exists="new"``; None where they are one submission.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    generation: int | None = None

    @property
    def key(self) -> str:
        """The identity as 16 hex digits."""
        parts: list[object] = [self.dag_id, self.run_id, self.task_id, self.map_index]
        if self.generation is not None:
            parts.append(self.generation)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def seed(self, fingerprint: str) -> int:
        """Return the seed of a job whose user gives none: 1 to 2147483647, the same for the same request of a task.

        Endpoints that throw away metadata keep the seed; so the job can be told from all others, and be made again.

        :param fingerprint: what :meth:`JobRequest.fingerprint` says of the request.
        """
        digest = hashlib.sha256(f"{self.key} {fingerprint}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % 2_147_483_647 + 1

    def metadata(self, fingerprint: str, of_user: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the job's metadata: the user's beside ours.

        :param fingerprint: what :meth:`JobRequest.fingerprint` says of the request.
        :raises ValueError: the two do not fit into one job, with the count.
        """
        check_user_metadata(of_user)
        return {
            **(of_user or {}),
            SUBMISSION_KEY: self.key,
            FINGERPRINT_KEY: fingerprint,
            DAG_KEY: self.dag_id[:MAX_VALUE],
            RUN_KEY: self.run_id[:MAX_VALUE],
            TASK_KEY: self.task_id[:MAX_VALUE],
        }


def check_user_metadata(of_user: Mapping[str, str] | None) -> None:
    """Check that the user's metadata leaves room for ours.

    :raises ValueError: it does not, with the count.
    """
    of_user = of_user or {}
    if not isinstance(of_user, dict):
        raise ValueError(f"metadata: expected pairs of text, found {type(of_user).__name__}")
    if taken := sorted(set(OWN_KEYS) & of_user.keys()):
        raise ValueError(
            f"metadata: the key {taken[0]!r} is used by the provider to find the job again; name yours otherwise"
        )
    room = MAX_PAIRS - len(OWN_KEYS)
    if len(of_user) > room:
        raise ValueError(
            f"metadata: {len(of_user)} pairs, but a job holds {MAX_PAIRS} and the provider needs {len(OWN_KEYS)} of "
            f"them to find the job again; leave out {len(of_user) - room}"
        )


class Match(StrEnum):
    """Whose job it is."""

    OURS = "ours"  #: of this very request of this submission
    CHANGED = "changed"  #: of this submission, for another request
    STRANGE = "strange"  #: it carries our metadata, and trains another model or on another file
    DOUBTFUL = "doubtful"  #: nothing tells it from a job of ours
    FOREIGN = "foreign"


class Marks(NamedTuple):
    """By what the job of a request is known again.

    :param submission: key of the submission.
    :param fingerprint: fingerprint of the request.
    :param model: the base model that was asked for.
    :param training_file: id of the training file that was asked for.
    :param seed: the seed that was asked for; None when none is.
    :param derived: whether the seed is derived from the submission; one that the user chose may be anybody's.
    """

    submission: str
    fingerprint: str
    model: str = ""
    training_file: str = ""
    seed: int | None = None
    derived: bool = False


def recognise(job: Job, marks: Marks) -> Match:
    """Return whose job it is, as far as it tells.

    Its metadata decides, unless model or file contradict it: metadata can be guessed. Without ours, a derived seed
    does, together with the base model and the training file. Nothing less makes a job ours: what neither says so nor
    contradicts it is doubtful.
    """
    metadata = job.metadata or {}
    if metadata.keys() & {SUBMISSION_KEY, FINGERPRINT_KEY}:
        if metadata.get(SUBMISSION_KEY, marks.submission) != marks.submission:
            return Match.FOREIGN
        if metadata.get(FINGERPRINT_KEY) != marks.fingerprint:
            return Match.CHANGED
        return Match.STRANGE if _contradicts(job, marks) else Match.OURS
    if job.seed and marks.seed and job.seed != marks.seed:
        return Match.FOREIGN
    same_file = job.training_file == marks.training_file
    same_model = is_same_model(marks.model, job.model)
    if marks.derived and job.seed and job.seed == marks.seed:
        return Match.OURS if same_file and same_model else Match.DOUBTFUL
    return Match.FOREIGN if _contradicts(job, marks) else Match.DOUBTFUL


def _contradicts(job: Job, marks: Marks) -> bool:
    """Return whether the job shows another model or training file than was asked for."""
    other_file = bool(marks.training_file and job.training_file) and job.training_file != marks.training_file
    return other_file or bool(marks.model and job.model and not is_same_model(marks.model, job.model))


def keeps_metadata(job: Job, marks: Marks) -> bool:
    """Return whether the job, made for this request, shows the metadata that it was created with."""
    return (job.metadata or {}).get(FINGERPRINT_KEY) == marks.fingerprint


def is_same_model(asked: str, shown: str | None) -> bool:
    """Return whether a job shows the base model that was asked for."""
    # Endpoints answer an alias with its dated snapshot, and gateways leave out the vendor's name before a slash.
    return _bare(asked) == _bare(shown or "")


def _bare(model: str) -> str:
    return re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model.rsplit("/", 1)[-1].lower())
