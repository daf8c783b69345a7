"""The routes of jobs: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

from __future__ import annotations

import secrets
from time import monotonic
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator import life
from airflow_provider_finetune.emulator.errors import (
    ApiError,
    busy,
    job_not_found,
    json_body,
    parse,
    training_not_available,
)
from airflow_provider_finetune.emulator.hyperparameters import CreateJob
from airflow_provider_finetune.emulator.job import Job
from airflow_provider_finetune.emulator.pages import page, with_ends

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.store import Store


def known_job(request: Request) -> Job:
    """Return the job that the path names; raise a 404 when there is none."""
    job_id: str = request.path_params["job_id"]
    job: Job | None = request.app.state.store.jobs.get(job_id)
    if job is None:
        raise job_not_found(job_id)
    return job


def answer(request: Request, job: Job) -> Response:
    return JSONResponse(request.app.state.store.settings.shown(job))


def usable_file(store: Store, file_id: str, param: str) -> Path:
    """Return where the bytes of a training or validation file are; raise a 400 when it is none."""
    file = store.file(file_id)
    if file is None:
        raise ApiError(400, f"invalid {param}: {file_id}", param=param)
    if file.purpose != "fine-tune":
        message = f"{param} {file_id} has purpose '{file.purpose}'; it must be 'fine-tune'"
        raise ApiError(400, message, param=param)
    return file.path


async def create_job(request: Request) -> Response:
    """Create a job, which starts at once; return it."""
    store: Store = request.app.state.store
    dialect, asked = store.settings.dialect, await json_body(request)
    wanted = parse(CreateJob, dialect.read(asked))
    dialect.check(wanted)
    if store.settings.refuse_training:
        raise training_not_available()
    base = store.model(wanted.model)
    # A checkpoint answers, but cannot be trained on; the API tells neither from a model that does not exist.
    if base is None or ":ckpt-" in base.name:
        message = f"Model {wanted.model} is not available for fine-tuning or does not exist."
        raise ApiError(400, message, code="model_not_available")
    training_path = usable_file(store, wanted.training_file, "training_file")
    validation_path = None
    if wanted.validation_file:
        validation_path = usable_file(store, wanted.validation_file, "validation_file")
    if dialect.one_at_a_time and not all(job.is_over for job in store.jobs.values()):
        raise busy()
    for _ in range(store.settings.duplicate_jobs + 1):
        job = Job(
            wanted,
            base,
            wanted.chosen_method(),
            wanted.seed if wanted.seed is not None else secrets.randbelow(2**31),
            store.settings.job_seconds,
            training_path,
            validation_path,
            asked,
            keeps=dialect.keeps,
            name_model=dialect.name_model,
            id=dialect.new_id("ftjob-"),
        )
        store.jobs[job.id] = job
        life.begin(store, job)
    return JSONResponse(store.settings.shown(job), dialect.created_status)


async def list_jobs(request: Request) -> Response:
    """Return a page of jobs, newest first also within one second."""
    store: Store = request.app.state.store
    settings, now = store.settings, monotonic()
    jobs = [job for job in reversed(store.jobs.values()) if now - job.created_monotonic >= settings.list_lag_seconds]
    if settings.heeds_metadata_filter:
        query = request.query_params
        wanted = {k[9:-1]: v for k, v in query.items() if k.startswith("metadata[") and k.endswith("]")}
        jobs = [job for job in jobs if wanted.items() <= (job.wanted.metadata or {}).items()]
        if query.get("metadata") == "null":
            jobs = [job for job in jobs if not job.wanted.metadata]
    show, key = settings.shows(), settings.dialect.list_key
    if key != "data":
        return JSONResponse({key: [show(job) for job in jobs]})
    renamed = settings.job_fields.get("id")
    return JSONResponse(
        page(request, jobs, limit=20, id_of=lambda job: job.shown.get("id", renamed or job.id), show=show)
    )


async def retrieve_job(request: Request) -> Response:
    return answer(request, known_job(request))


async def cancel_job(request: Request) -> Response:
    job = known_job(request)
    if job.is_over:
        raise _not_possible(job, "cancelled")
    life.cancel(job)
    return answer(request, job)


async def pause_job(request: Request) -> Response:
    """Ask a running job to pause; the training stops between two steps."""
    job = known_job(request)
    if job.status != "running":
        raise _not_possible(job, "paused")
    job.status = "pausing"
    return answer(request, job)


async def resume_job(request: Request) -> Response:
    job = known_job(request)
    if job.status != "paused":
        raise _not_possible(job, "resumed")
    life.resume(job)
    return answer(request, job)


def _not_possible(job: Job, what: str) -> ApiError:
    return ApiError(400, f"Job {job.id} cannot be {what}: its status is {job.status}.")


async def list_events(request: Request) -> Response:
    """Return a page of events, newest first."""
    events = request.app.state.store.settings.dialect.events(known_job(request))
    listed = page(request, events, limit=20)
    after = request.query_params.get("after")
    if after and request.app.state.store.settings.repeat_events:
        listed["data"] = [event for event in events if event["id"] == after] + listed["data"]
    return JSONResponse(listed)


async def list_checkpoints(request: Request) -> Response:
    """Return a page of checkpoints, newest first."""
    checkpoints = request.app.state.store.settings.dialect.checkpoints(known_job(request))
    return JSONResponse(with_ends(page(request, checkpoints, limit=10), empty=None))


routes = [
    Route("/fine_tuning/jobs", create_job, methods=["POST"]),
    Route("/fine_tuning/jobs", list_jobs),
    Route("/fine_tuning/jobs/{job_id}", retrieve_job),
    Route("/fine_tuning/jobs/{job_id}/cancel", cancel_job, methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/pause", pause_job, methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/resume", resume_job, methods=["POST"]),
    Route("/fine_tuning/jobs/{job_id}/events", list_events),
    Route("/fine_tuning/jobs/{job_id}/checkpoints", list_checkpoints),
]
