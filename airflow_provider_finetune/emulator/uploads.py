"""The routes of uploads: a large file in parts, put together at the end."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from time import time
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator.errors import ApiError, json_body, parse
from airflow_provider_finetune.emulator.files import check_length, check_name, keep
from airflow_provider_finetune.emulator.identifiers import new_id
from airflow_provider_finetune.emulator.upload import CreateUpload, Upload

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.store import Store

MOST_PART_BYTES = 64 * 1024**2


class CompleteUpload(BaseModel):
    part_ids: list[str] = Field(min_length=1)
    md5: str | None = None


def pending_upload(request: Request) -> Upload:
    """Return the upload that the path names, or an error when it is unknown or no longer pending."""
    upload_id: str = request.path_params["upload_id"]
    upload: Upload | None = request.app.state.store.uploads.get(upload_id)
    if upload is None:
        raise ApiError(404, f"No such Upload object: {upload_id}", param="upload_id")
    if upload.status != "pending":
        raise ApiError(400, f"Upload {upload_id} is {upload.status}, not pending.", param="upload_id")
    return upload


async def create_upload(request: Request) -> Response:
    store: Store = request.app.state.store
    wanted = parse(CreateUpload, await json_body(request))
    check_name(wanted.filename, wanted.purpose)
    upload = Upload(new_id("upload_"), wanted, int(time()))
    store.uploads[upload.id] = upload
    return JSONResponse(upload.as_json())


async def add_part(request: Request) -> Response:
    """Keep one part; the order is decided when the upload is completed."""
    upload = pending_upload(request)
    check_length(request, MOST_PART_BYTES)
    async with request.form(max_files=1, max_fields=2) as form:
        data = form.get("data")
        if not isinstance(data, UploadFile):
            raise ApiError(400, "Missing required parameter: 'data'.", param="data", code="missing_required_parameter")
        if (data.size or 0) > MOST_PART_BYTES:
            raise ApiError(413, f"The part is too large: at most {MOST_PART_BYTES} bytes.", param="data")
        path = request.app.state.store.new_path()
        await keep(data.file, path)
    part_id = new_id("part_")
    upload.parts[part_id] = path
    return JSONResponse({"id": part_id, "object": "upload.part", "created_at": int(time()), "upload_id": upload.id})


async def complete_upload(request: Request) -> Response:
    """Put the named parts together in the named order; check their number of bytes and the checksum, if any."""
    store: Store = request.app.state.store
    upload = pending_upload(request)
    wanted = parse(CompleteUpload, await json_body(request))
    if unknown := [part for part in wanted.part_ids if part not in upload.parts]:
        raise ApiError(400, f"Unknown part id: {unknown[0]}", param="part_ids")
    if len(set(wanted.part_ids)) != len(wanted.part_ids):
        raise ApiError(400, "A part id occurs twice.", param="part_ids")
    paths = [upload.parts[part] for part in wanted.part_ids]
    size = sum(path.stat().st_size for path in paths)
    if size != upload.wanted.bytes:
        message = f"The parts have {size} bytes, but the upload was created for {upload.wanted.bytes}."
        raise ApiError(400, message, param="bytes")
    path = store.new_path()
    checksum = await asyncio.to_thread(_join, paths, path)
    if wanted.md5 and wanted.md5.lower() != checksum:
        path.unlink()
        raise ApiError(400, "The MD5 checksum of the parts is another than the given one.", param="md5")
    # Another request may have come first while the parts were joined.
    pending_upload(request)
    seconds = upload.wanted.expires_after.seconds if upload.wanted.expires_after else None
    upload.state = "completed"
    upload.file = store.add_file(upload.wanted.filename, upload.wanted.purpose, path, seconds)
    _drop_parts(upload)
    return JSONResponse(upload.as_json())


async def cancel_upload(request: Request) -> Response:
    upload = pending_upload(request)
    upload.state = "cancelled"
    _drop_parts(upload)
    return JSONResponse(upload.as_json())


def _join(parts: list[Path], path: Path) -> str:
    with path.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, 1024 * 1024)
    with path.open("rb") as whole:
        return hashlib.file_digest(whole, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _drop_parts(upload: Upload) -> None:
    for path in upload.parts.values():
        path.unlink(missing_ok=True)
    upload.parts.clear()


routes = [
    Route("/uploads", create_upload, methods=["POST"]),
    Route("/uploads/{upload_id}/parts", add_part, methods=["POST"]),
    Route("/uploads/{upload_id}/complete", complete_upload, methods=["POST"]),
    Route("/uploads/{upload_id}/cancel", cancel_upload, methods=["POST"]),
]
