"""What was asked for, held against what the endpoint says it will do: some drop what they do not know, and train."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.identity import OWN_KEYS, is_same_model
from airflow_provider_finetune.jobs.payload import mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.jobs.job import Job
    from airflow_provider_finetune.jobs.request import JobRequest

#: What stands for "not known": Azure says -1, others 0 or an empty text where OpenAI says null.
_NOT_KNOWN = (None, -1, 0, "")


def differences(request: JobRequest, job: Job) -> list[str]:
    """Return what the job shows otherwise than asked, a line for each: method, hyperparameters, suffix.

    Only what the endpoint *says* counts. What it leaves out is not known, except that a job without a method is a
    supervised one. A hyperparameter that was not asked for, or as ``"auto"``, is the endpoint's choice.

    :param request: what was asked for.
    :param job: the job as the endpoint answered it.
    """
    return [
        f"{name}: asked for {asked!r}, the endpoint shows {shown!r}"
        for name, asked, shown in _differences(request, job)
    ]


def changed_fields(request: JobRequest, job: Job) -> list[str]:
    """Return the names of what a request asks otherwise than an earlier one of the same task, by the job of that one.

    Only what the endpoint shows can be compared: not integrations, nor fields of its own.

    :param request: what is asked for now.
    :param job: the job that was created earlier, as the endpoint shows it.
    """
    shown_metadata = {name: value for name, value in (job.metadata or {}).items() if name not in OWN_KEYS}
    changed = {
        "model": bool(job.model) and not is_same_model(request.model, job.model),
        "training_file": bool(job.training_file) and job.training_file != request.training_file,
        "validation_file": bool(job.validation_file) and job.validation_file != request.validation_file,
        "seed": request.seed is not None and job.seed is not None and job.seed != request.seed,
        "metadata": bool(job.metadata) and shown_metadata != (request.metadata or {}),
        "suffix": bool(job.suffix) and not request.suffix,
    }
    names = [name for name, is_changed in changed.items() if is_changed]
    return names + [name for name, _, _ in _differences(request, job)]


def _differences(request: JobRequest, job: Job) -> Iterator[tuple[str, Any, Any]]:
    kind = mapping(request.method).get("type")
    shown_kind = job.method_type
    if kind and (shown_kind or "supervised") != kind:
        yield "method.type", kind, shown_kind
    places = (
        mapping(mapping(mapping(job.method).get(shown_kind or "")).get("hyperparameters")),
        mapping(job.hyperparameters),
    )
    for name, asked in request.asked_hyperparameters().items():
        shown = [place[name] for place in places if name in place and not _is_in(place[name], _NOT_KNOWN)]
        if asked != "auto" and shown and not _is_in(asked, shown):
            yield name, asked, shown[0]
    if request.suffix and job.suffix is not None and job.suffix != request.suffix:
        yield "suffix", request.suffix, job.suffix or None


def _is_in(value: object, values: tuple[Any, ...] | list[Any]) -> bool:
    return any(_is_same(value, other) for other in values)


def _is_same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    try:  # "3" and 3.0 are 3
        return math.isclose(float(one), float(other), rel_tol=1e-6)
    except (TypeError, ValueError, OverflowError):
        return False
