"""A running emulator, the real SDK as its client, and small datasets to learn from."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest

from airflow_provider_finetune.emulator import Emulator, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openai.types import FileObject
    from openai.types.fine_tuning import FineTuningJob

BASE = "gpt-4.1-mini-2025-04-14"
ANIMALS = {"cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa"}
QUESTIONS = ("What does a {} say?", "Tell me the sound of a {}", "How does the {} call?", "Which noise is a {} making?")


@pytest.fixture(scope="session")
def server() -> Iterator[Emulator]:
    with running(job_seconds=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(server: Emulator) -> Emulator:
    """The running emulator, as if it had just been started."""
    server.reset()
    return server


@pytest.fixture
def client(emulator: Emulator) -> Iterator[openai.OpenAI]:
    """The SDK as it is, but never trying anything twice by itself."""
    with openai.OpenAI(base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0, timeout=20) as client:
        yield client


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture
def animals() -> list[dict[str, Any]]:
    """Sixteen rows from which four answers can be learned."""
    return [row(q.format(animal), sound) for q in QUESTIONS for animal, sound in ANIMALS.items()]


@pytest.fixture
def upload(client: openai.OpenAI) -> Callable[..., FileObject]:
    """Uploads rows as a training file."""

    def upload(rows: list[dict[str, Any]], name: str = "train.jsonl") -> FileObject:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return client.files.create(file=(name, data), purpose="fine-tune")

    return upload


@pytest.fixture
def create(client: openai.OpenAI, upload: Callable[..., FileObject]) -> Callable[..., FineTuningJob]:
    """Uploads rows and creates a job with them."""

    def create(
        rows: list[dict[str, Any]], validation: list[dict[str, Any]] | None = None, **arguments: Any
    ) -> FineTuningJob:
        if validation:
            arguments["validation_file"] = upload(validation, "valid.jsonl").id
        return client.fine_tuning.jobs.create(model=BASE, training_file=upload(rows).id, **arguments)

    return create


@pytest.fixture
def until(client: openai.OpenAI) -> Callable[..., FineTuningJob]:
    """Waits until a job has one of the statuses; fails when it never has."""

    def until(job_id: str, *statuses: str, seconds: float = 30) -> FineTuningJob:
        deadline = time.monotonic() + seconds
        while (job := client.fine_tuning.jobs.retrieve(job_id)).status not in statuses:
            over = job.status in ("succeeded", "failed", "cancelled")
            assert not over, f"{job.status} ({job.error}) instead of {statuses}"
            assert time.monotonic() < deadline, f"still {job.status} instead of {statuses}"
            time.sleep(0.02)
        return job

    return until


@pytest.fixture
def ask(client: openai.OpenAI) -> Callable[[str, str], str | None]:
    """The answer of a model to one question."""

    def ask(model: str, question: str) -> str | None:
        answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content

    return ask


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
