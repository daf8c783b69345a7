"""Who asked for a job: the metadata by which a lost job is found again.

The keys and the way the hash is made are a promise: jobs outlive releases, and a retry after an upgrade must find them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBMISSION_KEY = "airflow_submission"
FINGERPRINT_KEY = "airflow_fingerprint"
OWN_KEYS = (SUBMISSION_KEY, FINGERPRINT_KEY, "airflow_dag_id", "airflow_run_id", "airflow_task_id")
MAX_PAIRS = 16
MAX_VALUE = 512


class Submission(NamedTuple):
    """One piece of work that must become exactly one job: a task instance, whatever try it is in.

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
            "airflow_dag_id": self.dag_id[:MAX_VALUE],
            "airflow_run_id": self.run_id[:MAX_VALUE],
            "airflow_task_id": self.task_id[:MAX_VALUE],
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
