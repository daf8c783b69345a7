"""A fine-tuning job: what was asked for, how far it is, its events and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.identifiers import new_id
from airflow_provider_finetune.emulator.model import ORGANIZATION, ServedModel, fine_tuned_name

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_finetune.emulator.hyperparameters import CreateJob, Method
    from airflow_provider_finetune.emulator.learner import Model

TERMINAL = ("succeeded", "failed", "cancelled")
KEPT_EPOCHS = 3
FIELDS = frozenset({"metadata", "seed", "suffix", "method"})
"""The fields of a create request that an endpoint may keep or lose."""


@dataclass(eq=False)
class Job:
    """One job. Only the event loop changes it."""

    wanted: CreateJob
    base: ServedModel
    method: Method
    seed: int
    seconds: float
    training_path: Path
    validation_path: Path | None
    asked: dict[str, Any]
    """The body of the request that created the job, whatever of it had an effect."""
    keeps: frozenset[str] = FIELDS
    """Those that are shown again."""
    name_model: Callable[[str, str, str], str] = fine_tuned_name
    id: str = field(default_factory=lambda: new_id("ftjob-"))
    created_at: int = field(default_factory=lambda: int(time()))
    created_monotonic: float = field(default_factory=monotonic)
    status: str = "validating_files"
    error: dict[str, str | None] | None = None
    resolved: dict[str, Any] | None = None
    fine_tuned_model: str | None = None
    finished_at: int | None = None
    ended_monotonic: float | None = None
    estimated_finish: int | None = None
    trained_tokens: int | None = None
    result_files: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    epoch_checkpoints: list[dict[str, Any]] = field(default_factory=list)
    pause_checkpoint: dict[str, Any] | None = None
    shown: dict[str, Any] = field(default_factory=dict)
    """Fields that the job shows instead of its own; a test set them."""
    life: asyncio.Task[None] | None = None
    resumed: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.name = new_id("", 8)

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        """Those that exist now, oldest first."""
        return [*self.epoch_checkpoints, *([self.pause_checkpoint] if self.pause_checkpoint else [])]

    @property
    def seconds_since_end(self) -> float:
        """How long the job has been over; 0 while it is not."""
        return 0 if self.ended_monotonic is None else monotonic() - self.ended_monotonic

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All of them, as far as they are known."""
        return self.resolved or self.method.part.hyperparameters.model_dump()

    def truth(self) -> dict[str, Any]:
        """Return the job as it is."""
        hyperparameters = self.hyperparameters
        shown = ("n_epochs", "batch_size", "learning_rate_multiplier")
        return {
            "object": "fine_tuning.job",
            "id": self.id,
            "model": self.base.name,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
            "fine_tuned_model": self.fine_tuned_model,
            "organization_id": ORGANIZATION,
            "result_files": self.result_files,
            "status": self.status,
            "validation_file": self.wanted.validation_file,
            "training_file": self.wanted.training_file,
            "hyperparameters": {name: hyperparameters[name] for name in shown},
            "trained_tokens": self.trained_tokens,
            "error": self.error,
            "seed": self.seed,
            "estimated_finish": self.estimated_finish,
            "integrations": [i.model_dump(exclude_none=True) for i in self.wanted.integrations or []],
            "metadata": self.wanted.metadata,
            "method": self.method.as_json(hyperparameters),
        }

    def record(self, message: str, *, level: str = "info", data: dict[str, Any] | None = None) -> None:
        """Add an event; one with `data` is a `metrics` event."""
        self.events.append(
            {
                "object": "fine_tuning.job.event",
                "id": new_id("ftevent-"),
                "created_at": int(time()),
                "level": level,
                "message": message,
                "type": "metrics" if data else "message",
                "data": data or {},
            }
        )

    def model_name(self, part: str) -> str:
        """Return the full name of a model of this job, whose last part is the job's name or that of a checkpoint."""
        return self.name_model(self.base.name, self.wanted.suffix or "", part)

    def add_checkpoint(
        self, metrics: dict[str, float], learned: Model, *, is_pause: bool = False, is_final: bool = False
    ) -> tuple[ServedModel, list[str]]:
        """Add a checkpoint; return its model and the names of the models that are no longer kept."""
        step = int(metrics["step"])
        name = self.model_name(self.name if is_final else f"{new_id('', 8)}:ckpt-step-{step}")
        checkpoint = {
            "object": "fine_tuning.job.checkpoint",
            "id": new_id("ftckpt_"),
            "created_at": int(time()),
            "fine_tuned_model_checkpoint": name,
            "fine_tuning_job_id": self.id,
            "metrics": metrics,
            "step_number": step,
        }
        # The checkpoint of a pause is superseded by the next one.
        dropped = [self.pause_checkpoint] if self.pause_checkpoint else []
        self.pause_checkpoint = checkpoint if is_pause else None
        if not is_pause:
            self.epoch_checkpoints.append(checkpoint)
            dropped += self.epoch_checkpoints[:-KEPT_EPOCHS]
            self.epoch_checkpoints = self.epoch_checkpoints[-KEPT_EPOCHS:]
        if not is_final:
            self.record(f"Checkpoint created at step {step} with Snapshot ID: {name}")
        model = ServedModel(name, int(time()), self.base.shutdown_date, learned)
        return model, [old["fine_tuned_model_checkpoint"] for old in dropped]

    def end(self, status: str) -> None:
        """Move to a final status."""
        self.status = status
        self.finished_at = int(time())
        self.ended_monotonic = monotonic()
        self.estimated_finish = None

    def stop(self) -> None:
        """End the work on the job where it is, whatever its status."""
        if self.life:
            self.life.cancel()
