"""How far a job is, as the task that waits for it shows it: the XComs ``progress``, ``metrics`` and ``events``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.checkpoints import LOSSES, best_checkpoint
from airflow_provider_finetune.jobs.events import Unseen
from airflow_provider_finetune.jobs.keys import without_keys
from airflow_provider_finetune.jobs.metrics import LONGEST_NAME, Metrics
from airflow_provider_finetune.jobs.payload import mapping, number, storable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_finetune.jobs.events import Event
    from airflow_provider_finetune.jobs.job import Job

#: The keys of the XComs, in the order in which they are set: ``progress`` says up to which event the others are whole.
KEYS = ("metrics", "events", "progress")
#: The fields of ``progress`` that say up to which event.
CURSOR = ("last_event_id", "last_event_at")
#: A task shows news at most this often, until its job ends: each XCom is a request and a transaction.
EVERY_SECONDS = 30.0
MOST_EVENTS = 50
MOST_CHECKPOINTS = 50
MOST_HYPERPARAMETERS = 40
_LONGEST_MESSAGE = 500
_LONGEST_VALUE = 100
_OF_THE_JOB = (
    "job_id", "status", "model", "fine_tuned_model", "method", "hyperparameters", "trained_tokens", "created_at",
    "finished_at", "estimated_finish", "error",
)  # fmt: skip
#: The words of the API, and of the servers that imitate it; there is no field for it.
_CHECKPOINT = re.compile(r"Checkpoint created at step (\d{1,12})\b(?:.*Snapshot ID: (\S{1,200}))?")


class JobProgress:
    """What is known of a job's training, from the job and its events as they come in.

    Everything is plain JSON, bounded in size however long the job runs, and without what looks like a key.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.events: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.checkpoints: dict[int, str | None] = {}
        self.changed: set[str] = set()
        self.next_at = 0.0

    def saw_job(self, job: Job) -> None:
        """Take what the job says of itself."""
        error = job.error and {
            "code": job.error.code,
            "message": _cut(job.error.message, _LONGEST_MESSAGE),
            "param": job.error.param,
        }
        self._note(
            job_id=job.id,
            status=job.status,
            model=job.model,
            fine_tuned_model=job.fine_tuned_model,
            method=_cut(job.method_type, _LONGEST_VALUE),
            hyperparameters=_plain(job.trained_with()),
            trained_tokens=job.trained_tokens,
            created_at=job.created_at,
            finished_at=job.finished_at,
            estimated_finish=job.estimated_finish,
            error=error,
        )

    def saw_events(self, events: Iterable[Event]) -> None:
        """Take events in the order in which they happened; one that comes again changes nothing."""
        for event in events:
            data = event.data or {}
            if measured := self.metrics.add(data):
                self.changed.add("metrics")
                self._saw_step(int(data["step"]), event.created_at)
                total = number(data.get("total_steps"))
                self._note(**({"total_steps": int(total)} if total is not None and total > 0 else {}))
                self._note(**{loss: measured[loss] for loss in LOSSES if loss in measured})
            else:
                self._show(event)
            if event.created_at >= self.state.get("last_event_at", 0):
                self._note(last_event_id=event.id, last_event_at=event.created_at)

    def unseen(self) -> Unseen:
        """Return where a reading of the job's events has to begin, for this to be whole then."""
        return Unseen(self.state.get("last_event_id"), self.state.get("last_event_at", 0))

    def recall(self, xcoms: Mapping[str, Any]) -> None:
        """Take up what a worker or a triggerer showed before; what is known of the job since prevails.

        :param xcoms: what :meth:`xcoms` returned there, by key. Another job's is ignored.
        """
        state = mapping(xcoms.get("progress"))
        if not state.get("job_id") or self.state.get("job_id", state["job_id"]) != state["job_id"]:
            return
        now = self.metrics.to_json()
        self.metrics = Metrics()
        self.metrics.add_json(xcoms.get("metrics"))
        self.metrics.add_json(now)
        events = xcoms.get("events")
        shown = [event for event in (events if isinstance(events, list) else ()) if isinstance(event, dict)]
        self.events = [*(event for event in shown if event not in self.events), *self.events][-MOST_EVENTS:]
        rows = {row["step"]: row.get("model") for row in state.get("checkpoints") or ()}
        self.checkpoints = {**rows, **self.checkpoints}
        job = {name: self.state[name] for name in _OF_THE_JOB if name in self.state}
        # Of one second, what was read later prevails.
        by_event = sorted((state, self.state), key=lambda one: one.get("last_event_at") or 0)
        self.state = {**by_event[0], **by_event[1], **job}
        self.changed |= set(KEYS)

    def news(self, now: float) -> dict[str, Any]:
        """Return what of :meth:`xcoms` has changed since the last time, and ``progress``, in the order of ``KEYS``.

        :param now: any clock's seconds; the next news are due ``EVERY_SECONDS`` later.
        """
        self.next_at = now + EVERY_SECONDS
        shown = self.xcoms()
        news = {key: shown[key] for key in KEYS if key in self.changed or key == "progress"}
        self.changed.clear()
        return news

    def xcoms(self) -> dict[str, Any]:
        """Return what to show, by key.

        - ``metrics``: ``{"step": [...], "train_loss": [...], ...}``, see :meth:`.metrics.Metrics.to_json`.
        - ``events``: the last ones, oldest first, but for the training steps: ``{created_at, level, message}``, with
          ``level`` one of ``info``, ``warn``, ``error``.
        - ``progress``: ``{job_id, status, model, method, hyperparameters, step, total_steps, train_loss, ...}``. Its
          ``estimated_finish`` is the endpoint's, or follows from the steps so far.
        """
        return {"metrics": self.metrics.to_json(), "events": storable(self.events), "progress": self.progress()}

    def progress(self) -> dict[str, Any]:
        """Return ``progress`` alone."""
        progress = dict(self.state)
        if rows := self._checkpoint_rows():
            progress |= {"checkpoints": rows, "best_checkpoint": best_checkpoint(rows)}
        if progress.get("estimated_finish") is None and progress.get("status") == "running":
            progress["estimated_finish"] = self._extrapolated()
        cleaned: dict[str, Any] = storable(progress)
        return cleaned

    def _checkpoint_rows(self) -> list[dict[str, Any]]:
        found = sorted(self.checkpoints.items())[-MOST_CHECKPOINTS:]
        return [{**self.metrics.at(step), "step": step, "model": model} for step, model in found]

    def _extrapolated(self) -> int | None:
        """Return when the last step is done if the steps go on as they did."""
        names = ("first_step", "first_step_at", "step", "step_at", "total_steps")
        first, begun, step, at, total = (self.state.get(name) or 0 for name in names)
        if not 0 < begun < at or not first < step <= total:
            return None
        return round(at + (total - step) * (at - begun) / (step - first))

    def _saw_step(self, step: int, at: int) -> None:
        if "first_step" not in self.state or step < self.state["first_step"]:
            self._note(first_step=step, first_step_at=at)
        # A job that goes on from a checkpoint may repeat steps, so the latest is what counts, not the highest.
        if at >= self.state.get("step_at", 0):
            self._note(step=step, step_at=at)

    def _show(self, event: Event) -> None:
        level = "error" if event.level >= 40 else "warn" if event.level >= 30 else "info"
        shown = {"created_at": event.created_at, "level": level, "message": event.message[:_LONGEST_MESSAGE]}
        if shown in self.events:
            return
        self.events = [*self.events, shown][-MOST_EVENTS:]
        self.changed.add("events")
        if found := _CHECKPOINT.search(event.message):
            self.checkpoints[int(found[1])] = found[2]
            if len(self.checkpoints) > 2 * MOST_CHECKPOINTS:
                self.checkpoints = dict(sorted(self.checkpoints.items())[-MOST_CHECKPOINTS:])

    def _note(self, **news: Any) -> None:
        if any(name not in self.state or self.state[name] != value for name, value in news.items()):
            self.state |= news
            self.changed.add("progress")


def _plain(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that are a number, a word or a truth value."""
    shown: dict[str, Any] = {}
    for name, value in list(hyperparameters.items())[:MOST_HYPERPARAMETERS]:
        plain = _cut(value, _LONGEST_VALUE) if isinstance(value, str) else number(value)
        if plain is not None:
            shown[without_keys(str(name), LONGEST_NAME)] = plain
    return shown


def _cut(value: str | None, most: int) -> str | None:
    return None if value is None else without_keys(value, most)
