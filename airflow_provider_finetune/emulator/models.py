"""The routes of models: list, retrieve, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator.errors import ApiError, model_not_found

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.model import ServedModel


def known_model(request: Request) -> ServedModel:
    """Return the model that the path names; raise a 404 when there is none."""
    name: str = request.path_params["model"]
    model: ServedModel | None = request.app.state.store.model(name)
    if model is None:
        raise model_not_found(name)
    return model


async def list_models(request: Request) -> Response:
    models = request.app.state.store.models.values()
    return JSONResponse({"object": "list", "data": [model.as_json() for model in models]})


async def retrieve_model(request: Request) -> Response:
    return JSONResponse(known_model(request).as_json())


async def delete_model(request: Request) -> Response:
    """Delete a fine-tuned model or checkpoint; base models stay."""
    model = known_model(request)
    if model.learned is None:
        raise ApiError(403, f"The model '{model.name}' is not yours to delete.", param="model")
    del request.app.state.store.models[model.name]
    return JSONResponse({"id": model.name, "object": "model", "deleted": True})


routes = [
    Route("/models", list_models),
    Route("/models/{model:path}", retrieve_model),
    Route("/models/{model:path}", delete_model, methods=["DELETE"]),
]
