"""A job as the API shows it, read tolerantly: any field may be null, missing or new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.keys import LONGEST_CODE, MOST_TEXT, without_keys, without_prefixed_keys
from airflow_provider_finetune.jobs.payload import answered, count, epoch, mapping, name, number, text
from airflow_provider_finetune.jobs.status import KNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

#: Result files at most; the API has one.
MOST_FILES = 100
_NAMES = ("id", "model", "fine_tuned_model", "training_file", "validation_file")
#: What endpoints call the documented statuses, beside other cases and hyphens.
_SYNONYMS = {
    "success": "succeeded",
    "successful": "succeeded",
    "complete": "succeeded",
    "completed": "succeeded",
    "finished": "succeeded",
    "done": "succeeded",
    "failure": "failed",
    "error": "failed",
    "errored": "failed",
    "user_error": "failed",
    "failed_validation": "failed",
    "validation_failed": "failed",
    "expired": "failed",
    "timed_out": "failed",
    "canceled": "cancelled",
    "aborted": "cancelled",
    "canceling": "cancelling",
    "cancel_requested": "cancelling",
    "cancellation_requested": "cancelling",
    "aborting": "cancelling",
    "in_progress": "running",
}

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
    """What the rules need to know of a job. Times are epoch seconds by the server's clock.

    ``status`` is the documented word for what the endpoint says, or, where there is none, its own in lower case;
    ``said`` is the endpoint's where it is another. ``names`` are the ids and names that belong to the job, which what
    is said of it may repeat.
    """

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
    validation_file: str | None = None
    method: Mapping[str, Any] | None = None
    #: Empty where the endpoint says that there is none, None where it does not say.
    suffix: str | None = None
    said: str | None = None
    names: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_api(cls, payload: Mapping[str, Any]) -> Job:
        """Return the job that an answer of the API describes.

        :param payload: the decoded JSON object of a job.
        """
        payload = answered(payload)
        seed = number(payload.get("seed"))
        files = payload.get("result_files")
        result_files = tuple(filter(None, map(name, files[:MOST_FILES]))) if isinstance(files, list) else ()
        names = (*filter(None, (_name(payload.get(key)) for key in _NAMES)), *result_files)
        model, finished_at = _name(payload.get("fine_tuned_model")), epoch(payload.get("finished_at"))
        error = _error(payload.get("error"), names)
        said = without_keys(text(payload.get("status")) or "unknown", 80)
        status = _status(said, finished_at, model, error)
        return cls(
            id=name(payload.get("id")) or "",
            status=status,
            model=_name(payload.get("model")),
            fine_tuned_model=model,
            created_at=epoch(payload.get("created_at")),
            finished_at=finished_at,
            estimated_finish=epoch(payload.get("estimated_finish")),
            trained_tokens=count(payload.get("trained_tokens")),
            error=error,
            hyperparameters=mapping(payload.get("hyperparameters")) or None,
            result_files=result_files,
            metadata=mapping(payload.get("metadata")) or None,
            # Some endpoints say 0 where others say null, so a derived seed is never 0.
            seed=int(seed) if seed else None,
            training_file=name(payload.get("training_file")),
            validation_file=name(payload.get("validation_file")),
            method=mapping(payload.get("method")) or None,
            suffix=next((text(payload[name]) or "" for name in _SUFFIXES if name in payload), None),
            said=said if said != status else None,
            names=names,
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The ids of the files that it learns and is validated on."""
        return tuple(file for file in (self.training_file, self.validation_file) if file)

    @property
    def method_type(self) -> str | None:
        """``supervised``, ``dpo``, ``reinforcement`` or another; None where the endpoint does not say."""
        return text(mapping(self.method).get("type"))

    def trained_with(self) -> dict[str, Any]:
        """Return the hyperparameters, by name. OpenAI shows all but those of a supervised job in the method only."""
        of_method = mapping(mapping(mapping(self.method).get(self.method_type or "")).get("hyperparameters"))
        return {**of_method, **(self.hyperparameters or {})}

    def told(self) -> str:
        """Return what the job is, for people: ``succeeded``, or ``succeeded (the endpoint says COMPLETED)``."""
        if self.status not in KNOWN:
            return f"{self.said or self.status} - a status this version does not know; waiting on"
        return f"{self.status} (the endpoint says {self.said})" if self.said else self.status


def _status(said: str, finished_at: int | None, model: str | None, error: JobError | None) -> str:
    status = "_".join(said.lower().replace("-", " ").replace("_", " ").split())
    status = _SYNONYMS.get(status, status)
    if status in KNOWN or finished_at is None:
        return status
    # Over, whatever it is called: the model and the error tell what came of it.
    return "succeeded" if model and error is None else "failed"


def _error(value: object, about: Collection[str]) -> JobError | None:
    # A healthy job shows null, {} or an object of nulls, depending on the server.
    if isinstance(value, str) and value:
        return JobError(None, without_keys(value, MOST_TEXT, about), None)
    code, message, param = (text(mapping(value).get(name)) for name in ("code", "message", "param"))
    if not code and not message:
        return None
    return JobError(
        without_keys(code, LONGEST_CODE, about) if code else None,
        without_keys(message, MOST_TEXT, about) if message else None,
        without_keys(param, LONGEST_CODE, about) if param else None,
    )


def _name(value: object) -> str | None:
    found = name(value)
    return found and without_prefixed_keys(found)
