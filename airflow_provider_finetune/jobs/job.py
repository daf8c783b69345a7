"""A job as the API shows it, read tolerantly: any field may be null, missing or new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, in the server's words."""

    code: str | None
    message: str | None
    param: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """What the rules need to know of a job. Times are epoch seconds by the server's clock."""

    id: str
    status: str
    model: str | None = None
    fine_tuned_model: str | None = None
    created_at: int | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    trained_tokens: int | None = None
    error: JobError | None = None
    hyperparameters: Mapping[str, Any] | None = None
    result_files: tuple[str, ...] = ()
    metadata: Mapping[str, str] | None = None

    @classmethod
    def from_api(cls, payload: Mapping[str, Any]) -> Job:
        """Return the job that an answer of the API describes.

        :param payload: the decoded JSON object of a job.
        """
        return cls(
            id=str(payload.get("id") or ""),
            status=str(payload.get("status") or "unknown"),
            model=payload.get("model"),
            fine_tuned_model=payload.get("fine_tuned_model") or None,
            created_at=_seconds(payload.get("created_at")),
            finished_at=_seconds(payload.get("finished_at")),
            estimated_finish=_seconds(payload.get("estimated_finish")),
            trained_tokens=payload.get("trained_tokens"),
            error=_error(payload.get("error")),
            hyperparameters=payload.get("hyperparameters") or None,
            result_files=tuple(f for f in payload.get("result_files") or () if isinstance(f, str)),
            metadata=payload.get("metadata") or None,
        )


def _error(value: object) -> JobError | None:
    # A healthy job shows null, {} or an object of nulls, depending on the server.
    if isinstance(value, str) and value:
        return JobError(None, value, None)
    if not isinstance(value, dict) or not any(value.get(k) for k in ("code", "message")):
        return None
    return JobError(value.get("code"), value.get("message"), value.get("param"))


def _seconds(value: object) -> int | None:
    # Azure reports -1 for "not known".
    return int(value) if isinstance(value, (int, float)) and value > 0 else None
