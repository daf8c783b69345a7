"""The routes for tests and demonstrations, below `/admin`: faults, switches, odd jobs, a record of the requests.

Faults and lag do not affect them. They need the same key.
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 - pydantic reads it
from time import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator.deployments import Deployment, deployed
from airflow_provider_finetune.emulator.errors import json_body, parse
from airflow_provider_finetune.emulator.faults import Fault
from airflow_provider_finetune.emulator.jobs import known_job
from airflow_provider_finetune.emulator.model import ServedModel
from airflow_provider_finetune.emulator.requests import LONGEST_PATTERN, matches
from airflow_provider_finetune.emulator.settings import Settings

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.faults import Faulty
    from airflow_provider_finetune.emulator.store import Store


class NewModel(BaseModel):
    """A base model to serve, and the day when it shuts down, if known."""

    name: str = Field(min_length=1)
    shutdown_date: date | None = None


async def list_faults(request: Request) -> Response:
    """Return all faults, with how often each has hit and how many times are left."""
    faulty: Faulty = request.app.state.faulty
    return JSONResponse({"data": [fault.model_dump() for fault in faulty.faults]})


async def add_fault(request: Request) -> Response:
    faulty: Faulty = request.app.state.faulty
    fault = parse(Fault, await json_body(request))
    faulty.faults.append(fault)
    return JSONResponse(fault.model_dump())


async def clear_faults(request: Request) -> Response:
    faulty: Faulty = request.app.state.faulty
    faulty.faults.clear()
    return JSONResponse({"data": []})


async def show_settings(request: Request) -> Response:
    settings: Settings = request.app.state.store.settings
    return JSONResponse(settings.model_dump())


async def change_settings(request: Request) -> Response:
    """Change the named switches and leave the others."""
    settings: Settings = request.app.state.store.settings
    changed = parse(Settings, {**settings.model_dump(), **await json_body(request)})
    for name in Settings.model_fields:
        setattr(settings, name, getattr(changed, name))
    return JSONResponse(settings.model_dump())


async def all_jobs(request: Request) -> Response:
    """Return every job as it is, oldest first, without lag, filter, pages or fields that `show` set."""
    store: Store = request.app.state.store
    return JSONResponse(
        {"data": [{**job.truth(), "shown": job.shown, "asked": job.asked} for job in store.jobs.values()]}
    )


async def show_job(request: Request) -> Response:
    """Make a job show these fields instead of its own; `{}` makes it show its own again."""
    job = known_job(request)
    job.shown = await json_body(request)
    return JSONResponse(request.app.state.store.settings.shown(job))


async def add_model(request: Request) -> Response:
    """Add a base model or change its shutdown date: `{"name": ..., "shutdown_date": "YYYY-MM-DD" or null}`."""
    wanted = parse(NewModel, await json_body(request))
    day = wanted.shutdown_date.isoformat() if wanted.shutdown_date else None
    model = ServedModel(wanted.name, int(time()), day)
    request.app.state.store.models[model.name] = model
    return JSONResponse(model.as_json())


async def deploy(request: Request) -> Response:
    """Make a model answer under a name, its own by default: `{"model": ..., "name": ...}`."""
    return deployed(request, parse(Deployment, await json_body(request)))


async def list_requests(request: Request) -> Response:
    """Return the requests so far, of `?method=` and `?path=` (a pattern as in a fault), oldest first."""
    faulty: Faulty = request.app.state.faulty
    query = request.query_params
    method, path = query.get("method", "*"), query.get("path", "/**")[:LONGEST_PATTERN]
    found = [r.as_json() for r in faulty.requests.kept if matches(method, path, r.method, r.path)]
    return JSONResponse({"count": len(found), "data": found})


async def reset(request: Request) -> Response:
    """Forget jobs, files, models, requests and faults, also those of the command line; switches are as at the start."""
    faulty: Faulty = request.app.state.faulty
    request.app.state.store.reset()
    faulty.faults.clear()
    faulty.requests.kept.clear()
    return JSONResponse({"reset": True})


routes = [
    Route("/faults", list_faults),
    Route("/faults", add_fault, methods=["POST"]),
    Route("/faults", clear_faults, methods=["DELETE"]),
    Route("/settings", show_settings),
    Route("/settings", change_settings, methods=["PATCH"]),
    Route("/jobs", all_jobs),
    Route("/jobs/{job_id}/shown", show_job, methods=["PUT"]),
    Route("/models", add_model, methods=["POST"]),
    Route("/deployments", deploy, methods=["POST"]),
    Route("/requests", list_requests),
    Route("/reset", reset, methods=["POST"]),
]
