"""The routes that make a fine-tuned model answer, where it does not by itself: Azure's and Nebius's, beside `/v1`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator.errors import job_not_found, json_body, model_not_found, parse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.store import Store


class Deployment(BaseModel):
    """A model, and the name under which it is to answer; its own when there is none."""

    model: str
    name: str = ""


class AzureModel(BaseModel):
    name: str


class AzureProperties(BaseModel):
    model: AzureModel


class AzureDeployment(BaseModel):
    """The body of Azure's `PUT .../accounts/{resource}/deployments/{name}`; the `sku` does not matter here."""

    properties: AzureProperties


class NebiusModel(BaseModel):
    """The body of Nebius's `POST /v0/models`."""

    model_config = ConfigDict(extra="allow")

    source: str = Field(pattern="^[^:]+:[^:]+$")
    """The ids of a job and one of its checkpoints, with a colon between."""
    base_model: str
    name: str


def deployed(request: Request, wanted: Deployment, **more: Any) -> Response:
    """Make the model answer; raise a 404 when there is none of that name."""
    store: Store = request.app.state.store
    model = store.model(wanted.model)
    if model is None:
        raise model_not_found(wanted.model)
    name = wanted.name or model.name
    store.deployments[name] = model.name
    return JSONResponse({"model": model.name, "name": name, **more})


async def azure(request: Request) -> Response:
    _only(request, "azure")
    wanted = parse(AzureDeployment, await json_body(request))
    model, name = wanted.properties.model.name, request.path_params["name"]
    return deployed(request, Deployment(model=model, name=name), properties={"provisioningState": "Succeeded"})


async def nebius(request: Request) -> Response:
    _only(request, "nebius")
    wanted = parse(NebiusModel, await json_body(request))
    job_id, checkpoint_id = wanted.source.split(":")
    job = request.app.state.store.jobs.get(job_id)
    if job is None:
        raise job_not_found(job_id)
    names = {checkpoint["id"]: checkpoint["fine_tuned_model_checkpoint"] for checkpoint in job.checkpoints}
    model = names.get(checkpoint_id, checkpoint_id)
    return deployed(request, Deployment(model=model, name=wanted.name), status="active")


def _only(request: Request, like: str) -> None:
    if request.app.state.store.settings.like != like:
        raise HTTPException(404)


routes = [
    Route("/v0/models", nebius, methods=["POST"]),
    Route("/{account:path}/deployments/{name}", azure, methods=["PUT"]),
]
