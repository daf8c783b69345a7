"""Asking one endpoint from many tasks at once: when it says "later", all of them wait."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.exceptions import EndpointBusy
from airflow_provider_finetune.hooks.fine_tuning import SDK_ERRORS, error_for, fault_of, not_the_apis
from airflow_provider_finetune.jobs.fault import FaultKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from openai import AsyncOpenAI

    from airflow_provider_finetune.endpoints import Endpoint
    from airflow_provider_finetune.jobs.fault import Fault

#: Times that one request is sent when its answer gets lost: an answer more costs little, a job would not.
ATTEMPTS = 5
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Refused(Exception):
    """The endpoint refused this very request; others may be answered."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.explain("ask"))
        self.fault = fault


class EndpointTraffic:
    """All requests of an evaluation to one endpoint.

    :param patience: seconds for which the endpoint may answer nothing but "later", or nothing at all.
    :param is_stopping: whether nothing is worth waiting for any more.
    """

    def __init__(
        self,
        client: AsyncOpenAI,
        endpoint: Endpoint,
        *,
        patience: float,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.endpoint = endpoint
        self._client = client.with_options(max_retries=0)
        self._patience = patience
        self._is_stopping = is_stopping
        self._open_from = 0.0
        self._pauses = 0
        self._last_answer = time.monotonic()
        self.sent = 0

    @property
    def most_tokens(self) -> str:
        """The name of the argument for the tokens of an answer at most: the API's new one, or what others know."""
        return "max_completion_tokens" if self.endpoint.name in ("openai", "azure") else "max_tokens"

    async def chat(self, body: Mapping[str, Any], doing: str) -> tuple[dict[str, Any], float]:
        """Return the answer to a chat request, and the seconds it took; see :meth:`post`."""
        return await self.post("/chat/completions", body, doing, check=said_by)

    async def post(
        self, path: str, body: Mapping[str, Any], doing: str, check: Callable[[dict[str, Any]], object] = len
    ) -> tuple[dict[str, Any], float]:
        """Return the answer and the seconds it took.

        :param doing: what is tried, for messages.
        :param check: raises one of the SDK's errors when the answer is none.
        :raises Refused: this request was refused, and would be again.
        :raises FineTuningError: the endpoint refuses all such requests, or is out of reach for too long.
        """
        lost = 0
        while True:
            await self._opened()
            started = time.monotonic()
            self.sent += 1
            try:
                answer = await self._client.post(path, body=body, cast_to=object)
                if not isinstance(answer, dict):
                    raise not_the_apis()
                check(answer)
            except SDK_ERRORS as error:
                fault = fault_of(error)
            else:
                self._last_answer, self._pauses = time.monotonic(), 0
                return answer, self._last_answer - started
            if fault.kind is FaultKind.REFUSED:
                if is_of_the_request(fault):
                    raise Refused(fault)
                if fault.status == 404 and self.endpoint.deploy:
                    fault = replace(fault, message=f"{fault.message.rstrip('. ')}. {self.endpoint.deploy}")
                raise error_for(fault, doing, self.endpoint)
            lost += fault.kind is FaultKind.LOST
            if lost >= ATTEMPTS or time.monotonic() - self._last_answer > self._patience or self._is_stopping():
                raise error_for(fault, doing, self.endpoint)
            self._pause(fault, started)

    def _pause(self, fault: Fault, started: float) -> None:
        """Let everyone wait: as long as the endpoint wants, else longer each time."""
        if started < self._open_from and fault.retry_after is None:
            return  # sent before the last pause began: it tells nothing new
        wait = fault.retry_after
        if wait is None:
            wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._pauses)
            self._pauses += 1
        self._open_from = max(self._open_from, time.monotonic() + wait)

    async def _opened(self) -> None:
        while (left := self._open_from - time.monotonic()) > 0 and not self._is_stopping():
            if time.monotonic() + left - self._last_answer > self._patience:
                raise _too_long(left)
            await asyncio.sleep(min(left, 1.0))


def is_of_the_request(fault: Fault) -> bool:
    """Return whether a refusal is about what was asked: too long, filtered; not about the key, or the model."""
    about_all = fault.code in ("model_not_found", "invalid_api_key", "insufficient_quota", "DeploymentNotFound")
    return fault.status in (400, 413, 422) and not about_all and fault.param != "model"


def _too_long(left: float) -> EndpointBusy:
    return EndpointBusy(
        f"The endpoint wants no request for another {left:,.0f} s, which is longer than the evaluation waits. A retry "
        "goes on where it stopped; give the task retries and a retry_delay."
    )


def said_by(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the message and the finish reason of a chat answer.

    :raises openai.APIError: there is none.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise not_the_apis()
    message = choices[0].get("message")
    reason = choices[0].get("finish_reason")
    return message if isinstance(message, dict) else {}, reason if isinstance(reason, str) else None


def used_by(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return the prompt tokens and completion tokens of an answer; 0 where the endpoint does not tell."""
    usage = answer.get("usage")
    found = usage if isinstance(usage, dict) else {}
    counts = (found.get("prompt_tokens"), found.get("completion_tokens", 0))
    prompt, completion = (count if isinstance(count, int) else 0 for count in counts)
    return prompt, completion


def as_text(content: Any) -> str:
    """Return the text of a message: a text, or the texts of its parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else "" if content is None else json.dumps(content)
