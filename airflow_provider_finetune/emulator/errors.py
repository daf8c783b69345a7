"""Errors as the API words them: `{"error": {"message", "type", "param", "code"}}`, all four always present."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse

from airflow_provider_finetune.emulator.json_text import read_json

if TYPE_CHECKING:
    from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)


class ApiError(Exception):
    """An answer that is an error; raised anywhere in a route, sent by the application."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": type, "param": param, "code": code}
        self.headers = headers

    def response(self) -> JSONResponse:
        """Return the error as an HTTP answer."""
        return JSONResponse({"error": self.error}, self.status, self.headers)


def job_not_found(job_id: str) -> ApiError:
    """Return the 404 for a job that does not exist."""
    return ApiError(404, f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found")


def file_not_found(file_id: str) -> ApiError:
    """Return the 404 for a file that does not exist."""
    return ApiError(404, f"No such File object: {file_id}", param="id")


def model_not_found(name: str) -> ApiError:
    """Return the 404 for a model that does not exist."""
    return ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")


def training_not_available() -> ApiError:
    """Return the 403 for an organisation that may no longer create jobs."""
    return ApiError(
        403,
        "Fine-tuning is no longer available for this organization. Existing fine-tuned models keep answering.",
        code="training_not_available",
    )


def busy() -> ApiError:
    """Return the 409 for a create at an endpoint that has one job at a time."""
    return ApiError(409, "A training job is already running. Wait until it has ended, or cancel it.")


def invalid_api_key() -> ApiError:
    """Return the 401 for a wrong key; its message does not repeat the key."""
    return ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def parse(model: type[Model], data: Any) -> Model:
    """Return `data` as a `model`; raise a 400 that names the first parameter that is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"]) or None
        if first["type"] == "missing":
            raise ApiError(
                400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            ) from None
        reason = first["msg"].removeprefix("Value error, ")
        raise ApiError(400, f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value") from None


async def json_body(request: Request) -> Any:
    """Return the request's JSON object; raise a 400 when it is none."""
    try:
        body = read_json(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "We could not parse the JSON body of your request: it must be a JSON object.")
    return body
