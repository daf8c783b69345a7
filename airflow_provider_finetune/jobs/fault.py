"""What an error answer, or no answer at all, means for the request behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_provider_finetune.jobs.keys import without_keys
from airflow_provider_finetune.jobs.payload import mapping, text

WIND_DOWN = (
    "OpenAI is closing self-serve fine-tuning: organisations that never fine-tuned lost job creation on 2026-05-07, "
    "inactive ones on 2026-07-02, and nobody creates new jobs after 2027-01-06. To train elsewhere, point the "
    "connection's host at another endpoint of the same protocol, for example Azure's "
    "https://<resource>.openai.azure.com/openai/v1."
)

_REMEDIES = {
    "training_not_available": WIND_DOWN,
    "insufficient_quota": "Add credit or raise the limit of the organisation, then clear the task.",
    "invalid_api_key": "Check the connection's password (API key), and that its host is the endpoint it belongs to.",
    "model_not_available": "Check the model's name, and that the endpoint can fine-tune it.",
    "fine_tune_not_found": "Check the job id, and that the connection points at the endpoint that created it.",
}
_REMEDIES_BY_STATUS = {
    401: _REMEDIES["invalid_api_key"],
    403: "The key is known but may not do this: check its permissions, and the connection's organisation and project.",
    404: "Check the id, and that the connection's host is the API's whole base URL, such as https://host/v1.",
}
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "exceeded_quota"})


class FaultKind(StrEnum):
    """What is certain about a request that went wrong."""

    REFUSED = "refused"  #: nothing happened, and asking again changes nothing
    BUSY = "busy"  #: nothing happened, and asking later may work
    LOST = "lost"  #: it may have happened


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that went wrong. ``retry_after`` is in seconds, where the server gave it."""

    kind: FaultKind
    status: int | None = None
    code: str | None = None
    param: str | None = None
    message: str = ""
    retry_after: float | None = None

    def when_reading(self) -> Fault:
        """Return what it means for a request that costs nothing: without credit, jobs go on and can be waited for."""
        return replace(self, kind=FaultKind.BUSY) if self.status == 429 else self

    def explain(self, doing: str) -> str:
        """Return what happened and what to do about it, for people.

        :param doing: what was tried, to stand behind "Could not": ``"retrieve fine-tuning job ftjob-1"``.
        """
        if self.kind is FaultKind.REFUSED and self.status is None:
            return f"Could not {doing}: {self.message}"
        if self.status is None:
            return (
                f"Could not {doing}: {self.message or 'no answer'}. Check that the endpoint is up and that the "
                "connection's host is its full base URL, such as https://host/v1."
            )
        detail = ", ".join(f"{name} {value}" for name, value in (("code", self.code), ("param", self.param)) if value)
        remedy = _REMEDIES.get(self.code or "") or _REMEDIES_BY_STATUS.get(self.status, "")
        said = self.message or "the server gave no message"
        return f"Could not {doing}: HTTP {self.status}{f' ({detail})' if detail else ''}: {said} {remedy}".rstrip()


def read_fault(status: int | None, body: object = None, retry_after: str | None = None, cause: str = "") -> Fault:
    """Return what a failed request means.

    :param status: the HTTP status; None when no answer came (time-out, lost connection).
    :param body: the decoded body, either ``{"error": {…}}`` or the inner object, or anything else.
    :param retry_after: the ``Retry-After`` header.
    :param cause: what broke, when no answer came.
    """
    error = mapping(mapping(body).get("error")) or mapping(body)
    code, kind, param = (text(error.get(name)) for name in ("code", "type", "param"))
    return Fault(
        kind=_kind(status, {code, kind}),
        status=status,
        code=code,
        param=param,
        message=without_keys(text(error.get("message")) or cause),
        retry_after=_seconds(retry_after),
    )


def _kind(status: int | None, codes: set[str | None]) -> FaultKind:
    if status == 429:
        return FaultKind.REFUSED if codes & _NO_CREDIT else FaultKind.BUSY
    # 408 and 409 come from gateways that gave up on, or doubled, a request which the server behind may have taken.
    if status is None or status >= 500 or status in (408, 409):
        return FaultKind.LOST
    return FaultKind.REFUSED


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value) if value else None
    except ValueError:  # an HTTP date; rare enough to back off without it
        return None
    return seconds if seconds is not None and 0 <= seconds < math.inf else None
