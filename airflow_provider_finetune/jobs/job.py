"""A job as the API shows it, read tolerantly: any field may be null, missing or new."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.keys import MOST_TEXT, without_keys
from airflow_provider_finetune.jobs.payload import epoch, mapping, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

#: OpenAI answers the suffix by the first name, others by that of the request.
_SUFFIXES = ("user_provided_suffix", "suffix")


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
    seed: int | None = None
    training_file: str | None = None
    method: Mapping[str, Any] | None = None
    #: Empty where the endpoint says that there is none, None where it does not say.
    suffix: str | None = None

    @classmethod
    def from_api(cls, payload: Mapping[str, Any]) -> Job:
        """Return the job that an answer of the API describes.

        :param payload: the decoded JSON object of a job.
        """
        tokens = number(payload.get("trained_tokens"))
        seed = number(payload.get("seed"))
        files = payload.get("result_files")
        return cls(
            id=text(payload.get("id")) or "",
            status=text(payload.get("status")) or "unknown",
            model=text(payload.get("model")),
            fine_tuned_model=text(payload.get("fine_tuned_model")),
            created_at=epoch(payload.get("created_at")),
            finished_at=epoch(payload.get("finished_at")),
            estimated_finish=epoch(payload.get("estimated_finish")),
            trained_tokens=None if tokens is None else int(tokens),
            error=_error(payload.get("error")),
            hyperparameters=mapping(payload.get("hyperparameters")) or None,
            result_files=tuple(f for f in files if isinstance(f, str)) if isinstance(files, list) else (),
            metadata=mapping(payload.get("metadata")) or None,
            # Some endpoints say 0 where others say null, so a derived seed is never 0.
            seed=int(seed) if seed else None,
            training_file=text(payload.get("training_file")),
            method=mapping(payload.get("method")) or None,
            suffix=next((text(payload[name]) or "" for name in _SUFFIXES if name in payload), None),
        )


def _error(value: object) -> JobError | None:
    # A healthy job shows null, {} or an object of nulls, depending on the server.
    if isinstance(value, str) and value:
        return JobError(None, without_keys(value, MOST_TEXT), None)
    code, message, param = (text(mapping(value).get(name)) for name in ("code", "message", "param"))
    if not code and not message:
        return None
    return JobError(code, without_keys(message, MOST_TEXT) if message else None, param)
