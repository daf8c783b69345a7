"""Switches of a running server; the command line sets them at the start, `PATCH /admin/settings` at any time."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How the server behaves as a whole."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    job_seconds: float = Field(default=20, ge=0)
    """Wall time over which a new job spreads its steps; 0 is as fast as possible."""
    refuse_training: bool = False
    """Answer every job creation with 403 `training_not_available`."""
    list_lag_seconds: float = Field(default=0, ge=0)
    """A created job shows in the list of jobs only after this many seconds."""
    ignore_metadata_filter: bool = False
    """List all jobs whatever `metadata[k]=v` asks, as some compatible servers do."""
    drop_metadata: bool = False
    """Forget the metadata of a job that is created, as some compatible servers do."""
    repeat_events: bool = False
    """Begin every further page of events with the last item of the page before."""
    job_fields: dict[str, Any] = Field(default_factory=dict)
    """Fields that every job shows instead of its own, such as `{"status": "pending"}`."""
