"""The jobs of the counting server: all in the same state, each as long as a real one."""

from __future__ import annotations

import json
import time
from collections import Counter

EVENT_EVERY = 10.0
"""Seconds between two steps that a job reports in its events."""


class Jobs:
    """The jobs, all in the same state, and what has been asked about them."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self.created_at = int(time.time()) - 600
        self.ended_at: float | None = None
        self.requests: list[tuple[float, str]] = []
        self.position = {self.job_id(n): n for n in range(count)}
        self.texts: dict[bool, list[str]] = {}

    @staticmethod
    def job_id(number: int) -> str:
        """The id of a job; number 0 is the newest."""
        return f"ftjob-{number:06d}abcdefghijklmn"

    @property
    def over(self) -> bool:
        return self.ended_at is not None

    def text(self, number: int) -> str:
        """A job as JSON, as long as a real one."""
        if self.over not in self.texts:
            self.texts[self.over] = [json.dumps(self._job(n)) for n in range(self.count)]
        return self.texts[self.over][number]

    def _job(self, number: int) -> dict[str, object]:
        model = "gpt-4.1-mini-2025-04-14"
        hyperparameters = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 2.0}
        return {
            "object": "fine_tuning.job",
            "id": self.job_id(number),
            "model": model,
            "created_at": self.created_at - number,
            "finished_at": int(self.ended_at) if self.ended_at else None,
            "fine_tuned_model": f"ft:{model}:acme:bench:{number:08d}" if self.ended_at else None,
            "organization_id": "org-0123456789abcdef",
            "result_files": [f"file-result{number:06d}"] if self.ended_at else [],
            "status": "succeeded" if self.ended_at else "running",
            "validation_file": "file-validation0123456789",
            "training_file": "file-training0123456789",
            "hyperparameters": hyperparameters,
            "trained_tokens": 123456 if self.ended_at else None,
            "error": {},
            "user_provided_suffix": "bench",
            "seed": 42,
            "estimated_finish": None if self.ended_at else self.created_at + 86400,
            "integrations": [],
            "metadata": {"airflow_dag_id": "retrain_customers", "airflow_run_id": "scheduled__2026-11-22T00:00:00"},
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        }

    def page(self, after: str | None, limit: int, part: int = 0, parts: int = 1) -> str:
        """A page of the list, newest first, of the jobs that a key may see: every so many-th."""
        start = self.position[after] + parts if after else part
        numbers = range(start, self.count, parts)
        data = ",".join(self.text(n) for n in numbers[:limit])
        return f'{{"object":"list","data":[{data}],"has_more":{json.dumps(len(numbers) > limit)}}}'

    def events(self, job_id: str, after: str | None, limit: int) -> str:
        """A page of a job's events, newest first: one step every ten seconds."""
        newest = int((time.time() - self.created_at) / EVENT_EVERY)
        start = int(after.rpartition("-")[2]) - 1 if after else newest
        data = [
            {
                "object": "fine_tuning.job.event",
                "id": f"ftevent-{job_id}-{n}",
                "created_at": int(self.created_at + n * EVENT_EVERY),
                "level": "info",
                "message": f"Step {n}/9000: training loss=0.42",
                "type": "metrics",
                "data": {"step": n, "train_loss": 0.42, "total_steps": 9000, "train_mean_token_accuracy": 0.9},
            }
            for n in range(start, max(start - limit, 0), -1)
        ]
        return json.dumps({"object": "list", "data": data, "has_more": start - limit > 0})

    def batch(self, batch_id: str) -> str:
        """A batch as JSON."""
        return json.dumps(
            {
                "id": batch_id,
                "object": "batch",
                "endpoint": "/v1/chat/completions",
                "errors": None,
                "input_file_id": "file-0123456789",
                "completion_window": "24h",
                "status": "completed" if self.over else "in_progress",
                "output_file_id": "file-9876543210" if self.over else None,
                "created_at": self.created_at,
                "request_counts": {"total": 100, "completed": 50, "failed": 0},
                "metadata": {"dag": "retrain_customers"},
            }
        )

    def counts(self) -> str:
        """What has been asked so far: each request's time (epoch seconds) and kind."""
        kinds = dict(Counter(kind for _, kind in self.requests))
        return json.dumps({"kinds": kinds, "requests": self.requests, "ended_at": self.ended_at})
