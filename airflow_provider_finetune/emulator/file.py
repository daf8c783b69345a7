"""A file that was uploaded or that a job wrote: where its bytes are, and what the API says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from pathlib import Path

RESULTS_PURPOSE = "fine-tune-results"

Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]


class ExpiresAfter(BaseModel):
    """When a new file shall be forgotten."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


@dataclass
class StoredFile:
    """A file on disk and what the API says about it."""

    id: str
    filename: str
    purpose: str
    path: Path
    bytes: int
    created_at: int
    expires_at: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }
