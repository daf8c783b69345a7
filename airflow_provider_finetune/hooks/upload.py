"""Brings a dataset to an endpoint once, and waits until it is processed."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import openai

from airflow_provider_finetune.datasets.stored import FileState, reusable, state_of
from airflow_provider_finetune.datasets.vendors import rules_for
from airflow_provider_finetune.datasets.window import Window
from airflow_provider_finetune.exceptions import DatasetError, FineTuningError
from airflow_provider_finetune.hooks.bounds import for_uploads
from airflow_provider_finetune.hooks.fine_tuning import error_for, explained, fault_of
from airflow_provider_finetune.jobs.fault import FaultKind
from airflow_provider_finetune.jobs.keys import without_keys

if TYPE_CHECKING:
    import logging

    from airflow_provider_finetune.datasets.stored import Content, StoredFile
    from airflow_provider_finetune.datasets.vendors import Endpoint
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

MB = 1024 * 1024
#: What ``POST /files`` takes; more goes through the Uploads API.
MOST_BYTES_AT_ONCE = 512 * MB
#: What the Uploads API takes: https://platform.openai.com/docs/api-reference/uploads
MOST_BYTES = 8 * 1024 * MB
PART_BYTES = 64 * MB
TRIES = 4
_SECONDS_BETWEEN_PROGRESS = 10.0
_HOSTS = {
    ".api.openai.com": "openai",
    ".openai.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".cognitiveservices.azure.com": "azure",
    ".nebius.com": "nebius",
    ".nebius.ai": "nebius",
}


class Source(NamedTuple):
    """A local file with what a path holds.

    ``stamp`` is what the file looked like before it was read; None if nobody else can change it.
    """

    path: str
    file: BinaryIO
    content: Content
    stamp: tuple[int, int] | None


class DatasetUpload:
    """One content on its way to one endpoint.

    :param seconds_kept: after which the endpoint deletes the file; None keeps it.
    :param poll_interval: seconds between two looks at a file that is being processed.
    :param timeout: seconds to wait for that.
    """

    def __init__(
        self,
        hook: FineTuningHook,
        source: Source,
        *,
        purpose: str,
        seconds_kept: int | None,
        poll_interval: float,
        timeout: float,
        log: logging.Logger,
    ) -> None:
        self.hook = hook
        self.path, self.file, self.content, self.stamp = source
        self.name = self.content.name(self.path)
        self.purpose = purpose
        self.seconds_kept = seconds_kept
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.log = log
        self._last_progress = time.monotonic()

    def settled(self) -> str:
        """Return the id of the processed file, which was there or is there now."""
        stored = self.found()
        if stored is None:
            stored = self.sent()
        else:
            self.log.info("Reusing file %s (%s): it has the same content", stored.id, stored.filename)
        return self.processed(stored)

    def found(self) -> StoredFile | None:
        """Return the file with this content that the endpoint has, if it is good for long enough."""
        with explained("list files"):
            files = self.hook.list_files(self.purpose)
        return reusable(files, self.content, now=time.time(), expires_after=self.seconds_kept)

    def sent(self) -> StoredFile:
        """Send the bytes; return the new file. When an answer is lost, look for the file before sending again."""
        send = self._in_one if self.content.size <= MOST_BYTES_AT_ONCE else self._in_parts
        self.log.info("Uploading %s, %s bytes, as %s", self.path, f"{self.content.size:,}", self.name)
        for attempt in range(1, TRIES + 1):
            try:
                stored = send()
                break
            except openai.APIError as error:
                fault = fault_of(error)
            if fault.kind is FaultKind.LOST and (late := self.found()) is not None:
                stored = late
                break
            if fault.kind is FaultKind.REFUSED or attempt == TRIES:
                raise error_for(fault, f"upload {self.name}")
            self.log.warning("%s. Trying again", fault.explain(f"upload {self.name}"))
            time.sleep(fault.retry_after if fault.retry_after is not None else 2 ** (attempt - 1))
        if self.stamp not in (None, stamp_of(self.file)):
            raise FineTuningError(f"{self.path} changed while it was uploaded: delete file {stored.id} at the endpoint")
        return stored

    def processed(self, stored: StoredFile) -> str:
        """Wait until the endpoint has processed the file; return its id."""
        deadline = time.monotonic() + self.timeout
        while True:
            status = getattr(stored, "status", None)
            match state_of(status):
                case FileState.READY:
                    if status != "processed":
                        self.log.warning("File %s has status %r; taking it for processed", stored.id, status)
                    return stored.id
                case FileState.BROKEN:
                    why = without_keys(str(getattr(stored, "status_details", None) or "the endpoint does not say why"))
                    raise DatasetError(f"File {stored.id} ({self.name}) has status {status!r}: {why}")
            if time.monotonic() > deadline:
                raise FineTuningError(
                    f"File {stored.id} has had status {status!r} for {self.timeout:.0f} s; expected "
                    "'processed'. Another try waits for the same file."
                )
            time.sleep(self.poll_interval)
            with explained(f"retrieve file {stored.id}"):
                stored = self.hook.retrieve_file(stored.id)

    def _in_one(self) -> StoredFile:
        # The SDK's own retries would leave doubles behind lost answers.
        client = for_uploads(self.hook.conn).with_options(max_retries=0)
        return client.files.create(
            file=(self.name, self._window(0, self.content.size)),
            purpose=cast("Any", self.purpose),
            **self._expiry(),
        )

    def _in_parts(self) -> StoredFile:
        client = for_uploads(self.hook.conn)
        upload = client.with_options(max_retries=0).uploads.create(
            bytes=self.content.size,
            filename=self.name,
            mime_type="text/jsonl",
            purpose=cast("Any", self.purpose),
            **self._expiry(),
        )
        # Not the SDK's upload_file_chunked: it holds each part in memory, and leaves the upload open when it fails.
        part_client = client.with_options(max_retries=TRIES)
        try:
            parts = []
            for start in range(0, self.content.size, PART_BYTES):
                part = self._window(start, min(PART_BYTES, self.content.size - start))
                sent = part_client.uploads.parts.create(upload.id, data=(self.name, part))
                parts.append(sent.id)
            done = client.with_options(max_retries=0).uploads.complete(upload.id, part_ids=parts)
        except BaseException:
            self._abort(upload.id)
            raise
        if done.file is None:
            raise FineTuningError(f"Upload {upload.id} has status {done.status!r} and no file; expected 'completed'")
        return done.file

    def _abort(self, upload_id: str) -> None:
        try:
            self.hook.conn.with_options(max_retries=1, timeout=10).uploads.cancel(upload_id)
        except openai.APIError as error:
            # Nothing is lost: the endpoint drops it within the hour. Or it was completed, and only the answer lost.
            self.log.info("Upload %s is not cancelled: %s", upload_id, type(error).__name__)

    def _expiry(self) -> dict[str, Any]:
        if self.seconds_kept is None:
            return {}
        return {"expires_after": {"anchor": "created_at", "seconds": self.seconds_kept}}

    def _window(self, start: int, size: int) -> BinaryIO:
        return cast("BinaryIO", Window(self.file, start, size, self._progress))

    def _progress(self, position: int) -> None:
        if time.monotonic() - self._last_progress >= _SECONDS_BETWEEN_PROGRESS:
            self._last_progress = time.monotonic()
            share = 100 * position / max(1, self.content.size)
            self.log.info("Uploaded %s of %s bytes (%.0f %%)", f"{position:,}", f"{self.content.size:,}", share)


def dataset_rules_of(hook: FineTuningHook) -> Endpoint:
    """Return whose rules a dataset for an endpoint is checked by, as the host of its connection tells."""
    host = hook.conn.base_url.host
    name = next((name for ending, name in _HOSTS.items() if f".{host}".endswith(ending)), "")
    return rules_for(name)


def stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Return what changes when somebody writes to the file."""
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns
