"""Switches of a running server; the command line sets them at the start, `PATCH /admin/settings` at any time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_finetune.emulator import Endpoint  # noqa: TC001 - pydantic reads it
from airflow_provider_finetune.emulator.dialects import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_finetune.emulator.dialect import Dialect
    from airflow_provider_finetune.emulator.job import Job

LONGEST_LATE = 120.0
CreateField = Literal["metadata", "seed", "suffix", "method"]


class Settings(BaseModel):
    """How the server behaves as a whole."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    like: Endpoint = "openai"
    """The endpoint that the server is like."""
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
    keeps: list[CreateField] | None = None
    """What of a create request can be read back from its job; `None`: what the endpoint keeps."""
    refuses: list[str] = Field(default_factory=list)
    """Fields of a create request that are answered 400, beside those that the endpoint refuses."""
    duplicate_jobs: int = Field(default=0, ge=0)
    """Jobs that a create makes beside its own, as behind a gateway that sends a request again whose answer it lost."""
    late_seconds: float | None = Field(default=None, ge=0)
    """How long after a job's end the endpoint does not show it yet, where it is late with the name of the model or with
    the end of a cancel; `None`: half of the seconds that the job takes, at most two minutes."""
    repeat_events: bool = False
    """Begin every further page of events with the last item of the page before."""
    job_fields: dict[str, Any] = Field(default_factory=dict)
    """Fields that every job shows instead of its own, such as `{"status": "pending"}`."""

    @property
    def dialect(self) -> Dialect:
        """The endpoint's, with what the other switches change of it."""
        own = DIALECTS[self.like]
        keeps = own.keeps if self.keeps is None else frozenset(self.keeps)
        return replace(
            own,
            keeps=keeps - {"metadata"} if self.drop_metadata else keeps,
            refuses=own.refuses | frozenset(self.refuses),
        )

    @property
    def heeds_metadata_filter(self) -> bool:
        """Whether the list of jobs is filtered; an endpoint that knows no metadata cannot."""
        return not self.ignore_metadata_filter and "metadata" in DIALECTS[self.like].keeps

    def shown(self, job: Job) -> dict[str, Any]:
        """Return the job as the endpoint shows it, odd fields included."""
        return self.shows()(job)

    def shows(self) -> Callable[[Job], dict[str, Any]]:
        """Return a function that shows a job, to show many: the dialect is made up once."""
        dialect = self.dialect

        def shown(job: Job) -> dict[str, Any]:
            late = min(job.seconds / 2, LONGEST_LATE) if self.late_seconds is None else self.late_seconds
            return {**dialect.job(job, job.seconds_since_end >= late), **self.job_fields, **job.shown}

        return shown
