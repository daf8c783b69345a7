"""What a running server holds: files and uploads on disk, jobs and models in memory."""

from __future__ import annotations

import asyncio
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from airflow_provider_finetune.emulator.file import StoredFile
from airflow_provider_finetune.emulator.folder import Folder
from airflow_provider_finetune.emulator.model import ALIASES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from airflow_provider_finetune.emulator.job import Job
    from airflow_provider_finetune.emulator.model import ServedModel
    from airflow_provider_finetune.emulator.settings import Settings
    from airflow_provider_finetune.emulator.upload import Upload

TRAINING_THREADS = 2  # more would only wait for each other


@dataclass
class Store:
    """Everything a server knows. Lives on the event loop; only `directory` and `threads` are used from threads."""

    settings: Settings
    base_models: Iterable[ServedModel]
    files: dict[str, StoredFile] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    models: dict[str, ServedModel] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)
    """The model that each name of a deployment stands for."""

    def __post_init__(self) -> None:
        self._folder = Folder()
        self.directory = self._folder.files
        self.threads = ThreadPoolExecutor(TRAINING_THREADS, "training")
        self.stopping = asyncio.Event()
        self.is_stopping = threading.Event()  # the same for threads, asked between two steps of work
        self._initial = self.settings.model_copy(deep=True)
        self.models.update({model.name: model for model in self.base_models})

    def file(self, file_id: str) -> StoredFile | None:
        """Return the file, unless it is unknown, deleted or expired."""
        file = self.files.get(file_id)
        if file and file.expires_at and file.expires_at <= time():
            self.remove_file(file)
            return None
        return file

    def add_file(self, filename: str, purpose: str, path: Path, expires_after: int | None = None) -> StoredFile:
        """Keep what is at `path`, which from now on belongs to the store."""
        now = int(time())
        expires_at = now + expires_after if expires_after else None
        file = StoredFile(
            self.settings.dialect.new_id("file-", 22), filename, purpose, path, path.stat().st_size, now, expires_at
        )
        self.files[file.id] = file
        return file

    def model(self, name: str) -> ServedModel | None:
        """Return the model of that name or alias."""
        return self.models.get(name) or self.models.get(ALIASES.get(name, ""))

    def answering(self, name: str) -> ServedModel | None:
        """Return the model that a chat with that name or deployment reaches."""
        model = self.model(self.deployments.get(name, name))
        is_missing = self.settings.dialect.must_deploy and name not in self.deployments
        return None if model and model.learned and is_missing else model

    def new_path(self) -> Path:
        """Return a path for a new file's bytes."""
        return self.directory / secrets.token_hex(16)

    def remove_file(self, file: StoredFile) -> None:
        self.files.pop(file.id, None)
        file.path.unlink(missing_ok=True)

    def reset(self) -> None:
        """Forget everything but the base models, and stop what runs."""
        for job in self.jobs.values():
            job.stop()
        for held in (self.files, self.uploads, self.jobs, self.models, self.deployments):
            held.clear()
        self.models.update({model.name: model for model in self.base_models})
        for name in type(self.settings).model_fields:
            setattr(self.settings, name, getattr(self._initial, name))
        for path in self.directory.iterdir():
            path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Let waiting requests and jobs go; called once when the server stops."""
        self.stopping.set()
        self.is_stopping.set()
        for job in self.jobs.values():
            job.stop()

    def close(self) -> None:
        """Remove everything from the disk."""
        self.threads.shutdown(cancel_futures=True)
        self._folder.close()
