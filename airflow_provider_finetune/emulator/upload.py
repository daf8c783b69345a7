"""An upload under way: what was announced, and the parts that have arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from airflow_provider_finetune.emulator.file import ExpiresAfter, Purpose, StoredFile  # noqa: TC001 - for pydantic

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 8 * 1024**3
SECONDS_TO_COMPLETE = 3600


class CreateUpload(BaseModel):
    filename: str = Field(min_length=1)
    purpose: Purpose
    bytes: int = Field(ge=1, le=MOST_BYTES)
    mime_type: str
    expires_after: ExpiresAfter | None = None


@dataclass
class Upload:
    """A large file that arrives in parts."""

    id: str
    wanted: CreateUpload
    created_at: int
    state: str = "pending"
    parts: dict[str, Path] = field(default_factory=dict)
    file: StoredFile | None = None

    @property
    def status(self) -> str:
        is_late = self.state == "pending" and time() > self.created_at + SECONDS_TO_COMPLETE
        return "expired" if is_late else self.state

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.wanted.bytes,
            "created_at": self.created_at,
            "expires_at": self.created_at + SECONDS_TO_COMPLETE,
            "filename": self.wanted.filename,
            "purpose": self.wanted.purpose,
            "status": self.status,
            "file": self.file.as_json() if self.file else None,
        }
