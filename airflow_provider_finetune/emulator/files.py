"""The routes of files: upload, list, content, delete."""

from __future__ import annotations

import asyncio
import base64
import shutil
from typing import TYPE_CHECKING, BinaryIO

from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from airflow_provider_finetune.emulator.errors import ApiError, file_not_found, parse
from airflow_provider_finetune.emulator.file import RESULTS_PURPOSE, ExpiresAfter, Purpose
from airflow_provider_finetune.emulator.pages import page, with_ends

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request

    from airflow_provider_finetune.emulator.file import StoredFile
    from airflow_provider_finetune.emulator.store import Store

MOST_BYTES = 512 * 1024 * 1024
_FORM_OVERHEAD = 64 * 1024


class CreateFile(BaseModel):
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


def check_name(filename: str, purpose: str) -> None:
    """Refuse training data that is not called `.jsonl`, as the API does."""
    if purpose == "fine-tune" and not filename.endswith(".jsonl"):
        raise ApiError(400, "Invalid file format for Fine-Tuning API. Must be .jsonl")


def check_length(request: Request, most: int) -> None:
    """Refuse a body that is too large before it is read."""
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most + _FORM_OVERHEAD:
        raise ApiError(413, f"The file is too large: at most {most} bytes are allowed.", param="file")


async def keep(source: BinaryIO, path: Path) -> None:
    """Write a spooled form file to `path` without holding it in memory or blocking the event loop."""

    def copy() -> None:
        with path.open("wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)

    await asyncio.to_thread(copy)


def known_file(request: Request) -> StoredFile:
    """Return the file that the path names; raise a 404 when there is none."""
    store: Store = request.app.state.store
    file_id: str = request.path_params["file_id"]
    if file := store.file(file_id):
        return file
    raise file_not_found(file_id)


async def create_file(request: Request) -> Response:
    """Keep the file of a multipart form."""
    store: Store = request.app.state.store
    check_length(request, MOST_BYTES)
    async with request.form(max_files=1, max_fields=10) as form:
        uploaded = form.get("file")
        if not isinstance(uploaded, UploadFile):
            raise ApiError(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        expires = {
            name: fields[f"expires_after[{name}]"]
            for name in ("anchor", "seconds")
            if f"expires_after[{name}]" in fields
        }
        wanted = parse(CreateFile, {**fields, "expires_after": expires or None})
        filename = uploaded.filename or "file"
        check_name(filename, wanted.purpose)
        if (uploaded.size or 0) > MOST_BYTES:
            raise ApiError(413, f"The file is too large: at most {MOST_BYTES} bytes are allowed.", param="file")
        path = store.new_path()
        await keep(uploaded.file, path)
    seconds = wanted.expires_after.seconds if wanted.expires_after else None
    return JSONResponse(store.add_file(filename, wanted.purpose, path, seconds).as_json())


async def list_files(request: Request) -> Response:
    """Return a page of files, newest first unless `order=asc`."""
    store: Store = request.app.state.store
    files = [file for file_id in list(store.files) if (file := store.file(file_id))]
    if purpose := request.query_params.get("purpose"):
        files = [file for file in files if file.purpose == purpose]
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "Invalid 'order': expected asc or desc.", param="order")
    if order == "desc":
        files.reverse()
    # The description of the API wants a string even on an empty page.
    return JSONResponse(with_ends(page(request, [file.as_json() for file in files], limit=10_000), empty=""))


async def retrieve_file(request: Request) -> Response:
    return JSONResponse(known_file(request).as_json())


async def delete_file(request: Request) -> Response:
    file = known_file(request)
    request.app.state.store.remove_file(file)
    return JSONResponse({"id": file.id, "object": "file", "deleted": True})


async def file_content(request: Request) -> Response:
    """Return the bytes of a file; those of a result file base64-encoded, as the API does."""
    file = known_file(request)
    if file.purpose == RESULTS_PURPOSE:
        return Response(base64.b64encode(file.path.read_bytes()), media_type="application/octet-stream")
    return FileResponse(file.path, media_type="application/octet-stream")


routes = [
    Route("/files", create_file, methods=["POST"]),
    Route("/files", list_files),
    Route("/files/{file_id}", retrieve_file),
    Route("/files/{file_id}", delete_file, methods=["DELETE"]),
    Route("/files/{file_id}/content", file_content),
]
