"""How an endpoint differs from OpenAI's: what it takes and keeps, which routes it lacks, and how it shows a job."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.errors import ApiError, model_not_found
from airflow_provider_finetune.emulator.hyperparameters import CreateJob, Reinforcement
from airflow_provider_finetune.emulator.identifiers import new_id
from airflow_provider_finetune.emulator.job import FIELDS
from airflow_provider_finetune.emulator.model import fine_tuned_name
from airflow_provider_finetune.emulator.requests import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_finetune.emulator.job import Job

Shown = dict[str, Any]
JOBS = "/fine_tuning/jobs"
_NO_PROVIDER = "Invalid request, No litellm managed file id or custom_llm_provider provided."


@dataclass(frozen=True)
class Answer:
    """The error that a route always answers; by default the one for a route that does not exist."""

    status: int = 404
    message: str = "Invalid URL"
    type: str = "invalid_request_error"


def _job_as_it_is(_: Job, shown: Shown, __: bool) -> Shown:
    return shown


def _as_it_is(_: Job, shown: Shown) -> Shown:
    return shown


@dataclass(frozen=True)
class Dialect:
    """What an endpoint does; the defaults are OpenAI's own ways."""

    closed: Mapping[str, Answer] = field(default_factory=dict)
    """Requests (`METHOD /path` below `/v1`, a pattern as in a fault) that are answered with an error, and which."""
    any_post_cancels: bool = False
    """Whether every POST below a job's id is a cancel."""
    needed_header: str | None = None
    """A header without which nothing but files is answered."""
    needs_provider: bool = False
    """Whether a request has to name `custom_llm_provider`: a create in its body, the others in their query."""

    keeps: frozenset[str] = FIELDS
    """Those of `FIELDS` that can be read back from a job; metadata and a suffix that are not kept have no effect."""
    refuses: frozenset[str] = frozenset()
    """Fields of a create request that are answered 400."""
    ignores_method: bool = False
    """Whether `method` has no effect, so that a job trains with the defaults or the older `hyperparameters`."""
    is_strict: bool = False
    """Whether unknown fields of a create request are answered 400."""
    methods: frozenset[str] = frozenset({"supervised", "dpo", "reinforcement"})
    takes_lambda: bool = False
    """Whether reinforcement may be graded by a `lambda`."""
    one_at_a_time: bool = False
    """Whether a create is answered 409 while another job is under way."""

    created_status: int = 200
    list_key: str = "data"
    """Where the list of jobs is; with another key than OpenAI's it is all there is in the answer, and has no pages."""
    show_job: Callable[[Job, Shown, bool], Shown] = _job_as_it_is
    """The job in the endpoint's words; not settled for a while after its end (see `Settings.late_seconds`)."""
    show_event: Callable[[Job, Shown], Shown] = _as_it_is
    show_checkpoint: Callable[[Job, Shown], Shown] = _as_it_is
    shuffles_events: bool = False
    hex_ids: bool = False
    name_model: Callable[[str, str, str], str] = fine_tuned_name
    show_error: Callable[[ApiError], Shown] = lambda error: {"error": error.error}

    must_deploy: bool = False
    """Whether a fine-tuned model answers only after it was deployed."""
    not_deployed: Callable[[str], ApiError] = model_not_found
    """What a chat with a model that is not deployed is answered."""

    def refusal(self, method: str, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> ApiError | None:
        """Return the error for a request that does not get as far as a route.

        :param path: below `/v1`.
        """
        for request, answer in self.closed.items():
            methods, paths = request.split(" ")
            if matches(methods, paths, method, path):
                return ApiError(answer.status, answer.message, type=answer.type)
        if not path.startswith(JOBS):
            return None
        if self.needed_header and not headers.get(self.needed_header):
            return ApiError(401, f"Missing {self.needed_header} header")
        if self.needs_provider and method == "GET" and not query.get("custom_llm_provider"):
            return ApiError(400, _NO_PROVIDER, type="internal_server_error")
        return None

    def path(self, method: str, path: str) -> str:
        """Return the route that answers a request to `path`, both below `/v1`."""
        if self.any_post_cancels and matches("POST", f"{JOBS}/*/**", method, path):
            return "/".join([*path.split("/")[:4], "cancel"])
        return path

    def read(self, body: Shown) -> Shown:
        """Return the body of a create request as far as it has an effect.

        :raises ApiError: the endpoint refuses it.
        """
        given = {name for name, value in body.items() if value is not None}
        if self.needs_provider and "custom_llm_provider" not in given:
            raise ApiError(500, _NO_PROVIDER, type="internal_server_error")
        if self.is_strict and (unknown := sorted(given - CreateJob.model_fields.keys())):
            raise ApiError(400, f"Unsupported parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
        if refused := sorted(given & self.refuses):
            raise ApiError(400, f"Unsupported parameter: '{refused[0]}'.", param=refused[0], code="unknown_parameter")
        lost = {"metadata", "suffix"} - self.keeps | ({"method"} if self.ignores_method else set())
        return {name: value for name, value in body.items() if name not in lost}

    def check(self, wanted: CreateJob) -> None:
        """Raise the error for a method or grader that the endpoint does not have."""
        method = wanted.chosen_method()
        if method.type not in self.methods:
            message = f"Method '{method.type}' is not supported; use one of: {', '.join(sorted(self.methods))}."
            raise ApiError(400, message, param="method.type", code="invalid_value")
        if isinstance(method.part, Reinforcement) and method.part.grader.type == "lambda" and not self.takes_lambda:
            message = "Invalid value for 'method.reinforcement.grader': there is no grader of type 'lambda'."
            raise ApiError(400, message, param="method.reinforcement.grader", code="invalid_value")

    def job(self, job: Job, is_settled: bool) -> Shown:
        """Return the job as the endpoint shows it, once `is_settled` with all that comes late."""
        lost = FIELDS - job.keeps
        return self.show_job(job, {k: v for k, v in job.truth().items() if k not in lost}, is_settled)

    def events(self, job: Job) -> list[Shown]:
        """Return the events in the order of their list: newest first, or in no order that says anything."""
        events = [self.show_event(job, event) for event in reversed(job.events)]
        return sorted(events, key=lambda event: str(event["id"])) if self.shuffles_events else events

    def checkpoints(self, job: Job) -> list[Shown]:
        """Return the checkpoints, newest first."""
        return [self.show_checkpoint(job, checkpoint) for checkpoint in reversed(job.checkpoints)]

    def new_id(self, prefix: str, length: int = 24) -> str:
        """Return a new id of the endpoint's form."""
        return prefix + secrets.token_hex(16) if self.hex_ids else new_id(prefix, length)
