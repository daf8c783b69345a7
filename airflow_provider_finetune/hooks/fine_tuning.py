"""A connection becomes a client: the fine-tuning calls of the API, sync and async."""

from __future__ import annotations

import base64
import binascii
import math
import time
from contextlib import asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.providers.openai.hooks.openai import OpenAIHook

from airflow_provider_finetune.endpoints import Endpoint, endpoint_for
from airflow_provider_finetune.hooks.bounds import bounded, for_short_answers, for_uploads
from airflow_provider_finetune.hooks.errors import SDK_ERRORS as SDK_ERRORS
from airflow_provider_finetune.hooks.errors import error_for as error_for
from airflow_provider_finetune.hooks.errors import explained as explained
from airflow_provider_finetune.hooks.errors import fault_of as fault_of
from airflow_provider_finetune.hooks.not_the_apis import about_it as about_it
from airflow_provider_finetune.hooks.not_the_apis import not_the_apis as not_the_apis
from airflow_provider_finetune.hooks.options import checked, named, usable
from airflow_provider_finetune.hooks.pages import apages_of, pages_of
from airflow_provider_finetune.hooks.pages import payload as payload
from airflow_provider_finetune.hooks.secrets import without_secrets
from airflow_provider_finetune.hooks.size import TRIGGERER as TRIGGERER
from airflow_provider_finetune.hooks.size import WORKER, Content, Size
from airflow_provider_finetune.jobs.checkpoints import MOST_CHECKPOINTS
from airflow_provider_finetune.jobs.events import Event, Unseen
from airflow_provider_finetune.jobs.payload import MOST_ITEMS, epoch, mapping, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from openai import AsyncOpenAI, OpenAI
    from openai.types import FileDeleted, FileObject, Model, ModelDeleted
    from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
    from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

    from airflow_provider_finetune.endpoints import Endpoint

PAGE = 100


class FineTuningHook(OpenAIHook):
    """Fine-tuning over an Airflow connection of type ``openai``, whatever endpoint it points at.

    Every call has an async twin whose name starts with ``a``. Async calls share one client inside
    ``async with hook:``; outside of it each opens and closes a client of its own.

    The calls raise the SDK's exceptions (``openai.APIStatusError`` …); wrap them in :func:`explained` to turn them
    into this provider's, with what to do about them and without secrets.

    :param conn_id: the Airflow connection: API key, base URL (host), and in the extra whatever the official provider
        reads there (``openai_client_kwargs``, ``auth_type`` …).
    """

    #: How large an answer may be; the triggerer, which is everybody's, takes less.
    answer_size: Size = WORKER
    _async_client: AsyncOpenAI | None = None

    # -- jobs: https://platform.openai.com/docs/api-reference/fine-tuning

    def create_job(self, **request: Any) -> FineTuningJob:
        """Create a job, asking the server exactly once: the SDK's own retries could pay twice.

        :param request: the arguments of the SDK's ``fine_tuning.jobs.create``.
        """
        return self.conn.with_options(max_retries=0).fine_tuning.jobs.create(**request)

    async def acreate_job(self, **request: Any) -> FineTuningJob:
        """Create a job, as :meth:`create_job`."""
        async with self._aclient(quick=False) as client:
            return await client.with_options(max_retries=0).fine_tuning.jobs.create(**request)

    def retrieve_job(self, job_id: str) -> FineTuningJob:
        """Return the job as it is now. An answer about another job is none: ``openai.APIError``."""
        return about_it(self._quick.fine_tuning.jobs.retrieve(job_id), job_id)

    async def aretrieve_job(self, job_id: str) -> FineTuningJob:
        """Return the job as it is now."""
        async with self._aclient() as client:
            return about_it(await client.fine_tuning.jobs.retrieve(job_id), job_id)

    def list_jobs(
        self, metadata: Mapping[str, str] | None = None, *, since: float | None = None
    ) -> list[FineTuningJob]:
        """Return all jobs, newest first.

        :param metadata: only jobs that carry these pairs. Servers that ignore the filter are checked here.
        :param since: epoch seconds; ask for no more pages behind one whose jobs are all older.
        """
        jobs: list[FineTuningJob] = []
        for page in pages_of(self._quick.fine_tuning.jobs.with_raw_response.list, limit=PAGE, **_filter(metadata)):
            jobs += [job for job in page if _carries(job, metadata)]
            if _are_older(page, since):
                break
        return jobs

    async def alist_jobs(
        self, metadata: Mapping[str, str] | None = None, *, since: float | None = None
    ) -> list[FineTuningJob]:
        """Return all jobs, newest first, as :meth:`list_jobs`."""
        jobs: list[FineTuningJob] = []
        async with self._aclient() as client:
            async for page in apages_of(
                client.fine_tuning.jobs.with_raw_response.list, limit=PAGE, **_filter(metadata)
            ):
                jobs += [job for job in page if _carries(job, metadata)]
                if _are_older(page, since):
                    break
        return jobs

    def cancel_job(self, job_id: str) -> FineTuningJob:
        """Ask for the job to be cancelled; return the job."""
        return self._quick.fine_tuning.jobs.cancel(job_id)

    async def acancel_job(self, job_id: str) -> FineTuningJob:
        """Ask for the job to be cancelled; return the job."""
        async with self._aclient() as client:
            return await client.fine_tuning.jobs.cancel(job_id)

    def pause_job(self, job_id: str) -> FineTuningJob:
        """Ask for the job to be paused; return the job. It goes through ``pausing`` while it writes a checkpoint."""
        return self._quick.fine_tuning.jobs.pause(job_id)

    async def apause_job(self, job_id: str) -> FineTuningJob:
        """Ask for the job to be paused; return the job."""
        async with self._aclient() as client:
            return await client.fine_tuning.jobs.pause(job_id)

    def resume_job(self, job_id: str) -> FineTuningJob:
        """Ask for the paused job to go on; return the job."""
        return self._quick.fine_tuning.jobs.resume(job_id)

    async def aresume_job(self, job_id: str) -> FineTuningJob:
        """Ask for the paused job to go on; return the job."""
        async with self._aclient() as client:
            return await client.fine_tuning.jobs.resume(job_id)

    def list_events(
        self, job_id: str, *, unseen: Unseen | None = None, seconds: float | None = None
    ) -> list[FineTuningJobEvent]:
        """Return the events of the job in the order they happened, each once.

        :param unseen: start behind the last event seen, and stop asking for pages there.
        :param seconds: for how long to ask for pages, newest first; what was found until then is returned.
        """
        unseen, until = unseen or Unseen(), _until(seconds)
        found: dict[tuple[int, str], FineTuningJobEvent] = {}
        for page in pages_of(
            self._quick.fine_tuning.jobs.with_raw_response.list_events, job_id, limit=PAGE, **_timeout(seconds)
        ):
            found |= {_event(event): event for event in page[:MOST_ITEMS]}
            if not unseen.add(map(payload, page[:MOST_ITEMS])) or time.monotonic() >= until:
                break
        return [found[event.created_at, event.mark] for event in unseen.in_order()]

    async def alist_events(
        self, job_id: str, *, unseen: Unseen | None = None, seconds: float | None = None
    ) -> list[FineTuningJobEvent]:
        """Return the events of the job in the order they happened, each once, as :meth:`list_events`."""
        unseen, until = unseen or Unseen(), _until(seconds)
        found: dict[tuple[int, str], FineTuningJobEvent] = {}
        async with self._aclient() as client:
            pages = apages_of(
                client.fine_tuning.jobs.with_raw_response.list_events, job_id, limit=PAGE, **_timeout(seconds)
            )
            async for page in pages:
                found |= {_event(event): event for event in page[:MOST_ITEMS]}
                if not unseen.add(map(payload, page[:MOST_ITEMS])) or time.monotonic() >= until:
                    break
        return [found[event.created_at, event.mark] for event in unseen.in_order()]

    def list_checkpoints(self, job_id: str) -> list[FineTuningJobCheckpoint]:
        """Return the checkpoints of the job, newest first, each once; the newest 1,000 if there are more."""
        found: list[FineTuningJobCheckpoint] = []
        for page in pages_of(self._quick.fine_tuning.jobs.checkpoints.with_raw_response.list, job_id, limit=PAGE):
            found += page
            if len(found) > MOST_CHECKPOINTS:
                break
        return self._newest(found)

    async def alist_checkpoints(self, job_id: str) -> list[FineTuningJobCheckpoint]:
        """Return the checkpoints of the job, newest first, each once, as :meth:`list_checkpoints`."""
        found: list[FineTuningJobCheckpoint] = []
        async with self._aclient() as client:
            pages = apages_of(client.fine_tuning.jobs.checkpoints.with_raw_response.list, job_id, limit=PAGE)
            async for page in pages:
                found += page
                if len(found) > MOST_CHECKPOINTS:
                    break
        return self._newest(found)

    def _newest(self, checkpoints: list[FineTuningJobCheckpoint]) -> list[FineTuningJobCheckpoint]:
        if len(checkpoints) > MOST_CHECKPOINTS:
            self.log.warning("The endpoint lists more than %s checkpoints; the rest is left out", MOST_CHECKPOINTS)
        return checkpoints[:MOST_CHECKPOINTS]

    # -- files: https://platform.openai.com/docs/api-reference/files

    def create_file(self, file: Any, *, purpose: str = "fine-tune", expires_after: int | None = None) -> FileObject:
        """Upload a file of up to 512 MB; return the file, which the server may still be processing.

        :param file: a path, or ``(name, binary stream)``.
        :param expires_after: seconds after which the server deletes the file, 3600 to 2592000.
        """
        return for_uploads(self.conn).files.create(file=file, purpose=purpose, **_expiry(expires_after))  # type: ignore[arg-type]

    async def acreate_file(
        self, file: Any, *, purpose: str = "fine-tune", expires_after: int | None = None
    ) -> FileObject:
        """Upload a file, as :meth:`create_file`."""
        async with self._aclient(quick=False) as client:
            return await for_uploads(client).files.create(file=file, purpose=purpose, **_expiry(expires_after))  # type: ignore[arg-type]

    def retrieve_file(self, file_id: str) -> FileObject:
        """Return what the server knows of the file."""
        return about_it(self._quick.files.retrieve(file_id), file_id)

    async def aretrieve_file(self, file_id: str) -> FileObject:
        """Return what the server knows of the file."""
        async with self._aclient() as client:
            return about_it(await client.files.retrieve(file_id), file_id)

    def list_files(self, purpose: str = "fine-tune") -> list[FileObject]:
        """Return all files of a purpose, newest first."""
        pages = pages_of(self._quick.files.with_raw_response.list, purpose=purpose)
        return [file for page in pages for file in page if _is_for(file, purpose)]

    async def alist_files(self, purpose: str = "fine-tune") -> list[FileObject]:
        """Return all files of a purpose, newest first."""
        async with self._aclient() as client:
            pages = apages_of(client.files.with_raw_response.list, purpose=purpose)
            return [file async for page in pages for file in page if _is_for(file, purpose)]

    def read_file(self, file_id: str) -> bytes:
        """Return the content of a file, of up to 512 MB. Result files that come base64-encoded are decoded."""
        found = Content()
        with self.conn.files.with_streaming_response.content(file_id) as answer:
            for piece in answer.iter_bytes():
                found.add(piece)
        return _decoded(found.whole())

    async def aread_file(self, file_id: str) -> bytes:
        """Return the content of a file, as :meth:`read_file`."""
        async with self._aclient(quick=False) as client:
            found = Content()
            async with client.files.with_streaming_response.content(file_id) as answer:
                async for piece in answer.iter_bytes():
                    found.add(piece)
            return _decoded(found.whole())

    def delete_file(self, file_id: str) -> FileDeleted:
        """Delete a file."""
        return self._quick.files.delete(file_id)

    async def adelete_file(self, file_id: str) -> FileDeleted:
        """Delete a file."""
        async with self._aclient() as client:
            return await client.files.delete(file_id)

    # -- models: https://platform.openai.com/docs/api-reference/models

    def list_models(self) -> list[Model]:
        """Return the models that the endpoint offers."""
        return [model for page in pages_of(self._quick.models.with_raw_response.list) for model in page]

    async def alist_models(self) -> list[Model]:
        """Return the models that the endpoint offers."""
        async with self._aclient() as client:
            return [model async for page in apages_of(client.models.with_raw_response.list) for model in page]

    def retrieve_model(self, model: str) -> Model:
        """Return what the endpoint knows of a model; some tell its ``shutdown_date`` (YYYY-MM-DD)."""
        return self._quick.models.retrieve(model)

    async def aretrieve_model(self, model: str) -> Model:
        """Return what the endpoint knows of a model."""
        async with self._aclient() as client:
            return await client.models.retrieve(model)

    def delete_model(self, model: str) -> ModelDeleted:
        """Delete a fine-tuned model."""
        return self._quick.models.delete(model)

    async def adelete_model(self, model: str) -> ModelDeleted:
        """Delete a fine-tuned model."""
        async with self._aclient() as client:
            return await client.models.delete(model)

    # -- the connection

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the key may list fine-tuning jobs and, for people, who was asked and taken for what.

        One request, which changes nothing and costs nothing. The text holds no secret.
        """
        taken_for = ""
        try:
            taken_for = self.endpoint.told()
            with explained("list fine-tuning jobs", reading=True):
                next(
                    pages_of(self._quick.with_options(max_retries=0).fine_tuning.jobs.with_raw_response.list, limit=1),
                    None,
                )
        except AirflowException as error:
            return False, f"{error}\n{taken_for}".strip()
        return True, f"{self.conn.base_url.host} answers, and the key may list fine-tuning jobs. {taken_for}"

    # -- clients

    @cached_property
    def endpoint(self) -> Endpoint:
        """What is known of the endpoint: by its host, or by its name in the connection's extra.

        The extra that names one is ``{"finetune": {"endpoint": "azure"}}``.

        :raises RequestRefused: the extra names none that is known.
        """
        with usable(self.conn_id):
            return endpoint_for(str(self.conn.base_url), text(self.settings.get("endpoint")))

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The part ``finetune`` of the connection's extra; empty where there is none.

        ``endpoint`` names what is known of the endpoint, and ``extra_body`` has fields that the endpoint wants in each
        create request: ``{"custom_llm_provider": "openai"}``.
        """
        return mapping(self.get_connection(self.conn_id).extra_dejson.get("finetune"))

    def get_conn(self) -> OpenAI:
        """Return a client for the connection. It may outlive the hook: ``FineTuningHook().conn.models.list()``.

        :raises FineTuningError: the connection has no API key, or its extra does not fit the SDK's client.
        """
        with usable(self.conn_id):
            return without_secrets(named(bounded(checked(super().get_conn()), self.answer_size), self.conn_id))

    async def aget_conn(self) -> AsyncOpenAI:
        """Return a new async client for the connection, for the caller to close; errors as :meth:`get_conn`."""
        with usable(self.conn_id):
            return without_secrets(named(bounded(checked(await super().aget_conn()), self.answer_size), self.conn_id))

    async def __aenter__(self) -> FineTuningHook:
        """Open the client that all async calls inside the block share."""
        self._async_client = await self.aget_conn()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the shared client."""
        client, self._async_client = self._async_client, None
        if client is not None:
            await client.close()

    @cached_property
    def _quick(self) -> OpenAI:
        """The client for all that has a short answer; neither a file nor a job that is created takes its time."""
        return for_short_answers(self.conn)

    @asynccontextmanager
    async def _aclient(self, *, quick: bool = True) -> AsyncIterator[AsyncOpenAI]:
        if self._async_client is not None:
            yield for_short_answers(self._async_client) if quick else self._async_client
            return
        async with await self.aget_conn() as client:
            yield for_short_answers(client) if quick else client


def _filter(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    return {"metadata": dict(metadata)} if metadata else {}


def _carries(job: FineTuningJob, metadata: Mapping[str, str] | None) -> bool:
    return not metadata or metadata.items() <= mapping(job.metadata).items()


def _are_older(jobs: Iterable[FineTuningJob], since: float | None) -> bool:
    return since is not None and all(0 < (epoch(job.created_at) or 0) < since for job in jobs)


def _is_for(file: FileObject, purpose: str) -> bool:
    # Servers that ignore the filter are checked here; some leave the purpose out.
    return getattr(file, "purpose", None) in (purpose, None)


def _until(seconds: float | None) -> float:
    return math.inf if seconds is None else time.monotonic() + seconds


def _timeout(seconds: float | None) -> dict[str, float]:
    return {} if seconds is None else {"timeout": seconds}


def _event(event: FineTuningJobEvent) -> tuple[int, str]:
    read = Event.from_api(payload(event))
    return read.created_at, read.mark


def _expiry(seconds: int | None) -> dict[str, Any]:
    return {} if seconds is None else {"expires_after": {"anchor": "created_at", "seconds": seconds}}


def _decoded(content: bytes) -> bytes:
    try:
        decoded = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return content
    return decoded if b"," in decoded or b"\n" in decoded else content
