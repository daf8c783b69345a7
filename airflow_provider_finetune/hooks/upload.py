"""Brings a dataset to an endpoint once, and waits until it is processed."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, cast

import openai

from airflow_provider_finetune.datasets.stored import FileState, all_reusable, state_of
from airflow_provider_finetune.datasets.vendors import rules_for
from airflow_provider_finetune.datasets.window import Changed, Sending, Window
from airflow_provider_finetune.exceptions import DatasetError, FineTuningError
from airflow_provider_finetune.hooks.bounds import for_uploads
from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, error_for, explained, fault_of, not_the_apis
from airflow_provider_finetune.jobs.fault import FaultKind
from airflow_provider_finetune.jobs.keys import MOST_TEXT, without_keys
from airflow_provider_finetune.jobs.payload import legible, text
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    import logging

    from airflow_provider_finetune.datasets.stored import Content, StoredFile
    from airflow_provider_finetune.datasets.vendors import Endpoint
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

MB = 1024 * 1024
#: What ``POST /files`` takes; more goes through the Uploads API.
MOST_BYTES_AT_ONCE = 512 * MB
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

Verify = Literal["name", "content"]


class Source(NamedTuple):
    """A local file with what a path holds. ``path`` is as it may be shown."""

    path: str
    file: BinaryIO
    content: Content


class DatasetUpload:
    """One content on its way to one endpoint.

    :param verify: what makes a file of the endpoint the same: ``"name"``, which carries the hash, and the size; or
        ``"content"``, which is fetched and hashed.
    :param seconds_kept: after which the endpoint deletes the file; None keeps it.
    :param poll_interval: seconds between two looks at a file that is being processed.
    :param timeout: seconds to wait for that, and at most before the upload is tried again.
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
        verify: Verify = "name",
    ) -> None:
        self.hook = hook
        self.path, self.file, self.content = source
        self.verify = verify
        self.name = self.content.name(self.path)
        self.purpose = purpose
        self.seconds_kept = seconds_kept
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.log = log
        self.sending = Sending(self.content.sha256, self.content.size)
        self._last_progress = time.monotonic()

    def settled(self) -> str:
        """Return the id of the processed file, which was there or is there now."""
        stored = self.found()
        if stored is None:
            stored = self.sent()
        else:
            self.log.info("Reusing file %s (%s): it has the same %s", stored.id, legible(stored.filename), self.verify)
        return self.processed(stored)

    def found(self) -> StoredFile | None:
        """Return the file with this content that the endpoint has, if it is good for long enough."""
        with explained("list files"):
            files = [file for file in self.hook.list_files(self.purpose) if text(getattr(file, "id", None))]
        alike = all_reusable(files, self.content, now=time.time(), expires_after=self.seconds_kept)
        return next((file for file in alike if self.verify == "name" or self._has_content(file)), None)

    def _has_content(self, stored: StoredFile) -> bool:
        """Return whether a file of the endpoint holds the very bytes, as far as the endpoint hands them out."""
        sha256, size = hashlib.sha256(), 0
        try:
            with self.hook.conn.files.with_streaming_response.content(stored.id) as answer:
                for piece in answer.iter_bytes(MB):
                    size += len(piece)
                    if size > self.content.size:
                        break
                    sha256.update(piece)
        except SDK_ERRORS as error:
            why = fault_of(error).explain(f"read file {stored.id}")
            self.log.warning("File %s is not reused, for it cannot be compared. %s", stored.id, why)
            return False
        if (sha256.hexdigest(), size) == (self.content.sha256, self.content.size):
            return True
        self.log.warning("File %s is not reused: its name is that of this content, but it holds another", stored.id)
        return False

    def sent(self) -> StoredFile:
        """Send the bytes; return the new file. When an answer is lost, look for the file before sending again."""
        send = self._in_one if self.content.size <= MOST_BYTES_AT_ONCE else self._in_parts
        self.log.info("Uploading %s, %s, as %s", self.path, counted(self.content.size, "byte"), self.name)
        for attempt in range(1, TRIES + 1):
            try:
                stored = send()
                break
            except (openai.APIError, Changed) as error:
                if self.sending.has_changed:  # whatever the SDK makes of it
                    raise self._changed("The endpoint was not sent all of it.") from None
                fault = fault_of(error)
            if fault.kind is FaultKind.LOST and (late := self.found()) is not None:
                stored = late
                break
            pause = fault.retry_after if fault.retry_after is not None else 2.0 ** (attempt - 1)
            if fault.kind is FaultKind.REFUSED or attempt == TRIES or pause > self.timeout:
                raise error_for(fault, f"upload {self.name}")
            self.log.warning("%s. Trying again", fault.explain(f"upload {self.name}"))
            time.sleep(pause)
        return stored

    def _checked(self, stored: StoredFile) -> StoredFile:
        """Return the new file if its answer names it, and if all of the content was sent.

        :raises openai.APIError: the answer names no file.
        :raises FineTuningError: other bytes were sent; the file is deleted.
        """
        if not text(getattr(stored, "id", None)):
            raise not_the_apis()
        if self.sending.is_whole:
            return stored
        try:
            self.hook.conn.with_options(timeout=30).files.delete(stored.id)
        except SDK_ERRORS as error:
            why = fault_of(error).explain(f"delete file {stored.id}")
            raise self._changed(f"Delete file {stored.id} ({self.name}), which holds other bytes. {why}") from None
        raise self._changed(f"File {stored.id} was deleted again.")

    def _changed(self, done: str) -> FineTuningError:
        return FineTuningError(f"{self.path} changed while it was uploaded. {done} A retry uploads it as it is then.")

    def processed(self, stored: StoredFile) -> str:
        """Wait until the endpoint has processed the file; return its id."""
        deadline = time.monotonic() + self.timeout
        while True:
            status = text(getattr(stored, "status", None))
            match state_of(status):
                case FileState.READY:
                    if status != "processed":
                        self.log.warning("File %s has status %r; taking it for processed", stored.id, status)
                    return stored.id
                case FileState.BROKEN:
                    said = str(getattr(stored, "status_details", None) or "the endpoint does not say why")
                    why = without_keys(legible(said[:MOST_TEXT]))
                    raise DatasetError(f"File {stored.id} ({self.name}) has status {status!r}: {why}")
            if time.monotonic() > deadline:
                raise FineTuningError(
                    f"File {stored.id} has had status {status!r} for {self.timeout:.0f} s; expected "
                    "'processed'. A retry waits for the same file."
                )
            time.sleep(self.poll_interval)
            with explained(f"retrieve file {stored.id}"):
                stored = self.hook.retrieve_file(stored.id)

    def _in_one(self) -> StoredFile:
        # The SDK's own retries would leave doubles behind lost answers.
        client = for_uploads(self.hook.conn).with_options(max_retries=0)
        self.sending = Sending(self.content.sha256, self.content.size)
        return self._checked(
            client.files.create(
                file=(self.name, self._window(0, self.content.size)),
                purpose=cast("Any", self.purpose),
                **self._expiry(),
            )
        )

    def _in_parts(self) -> StoredFile:
        client = for_uploads(self.hook.conn)
        self.sending = Sending(self.content.sha256, self.content.size)
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
            if not self.sending.is_whole:
                self.sending.has_changed = True
                raise not_the_apis()
            done = client.with_options(max_retries=0).uploads.complete(upload.id, part_ids=parts)
        except BaseException:
            self._abort(upload.id)
            raise
        if done.file is None:
            raise FineTuningError(f"Upload {upload.id} has status {done.status!r} and no file; expected 'completed'")
        return self._checked(done.file)

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
        return cast("BinaryIO", Window(self.file, start, size, self._progress, self.sending))

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
