"""What an error answer, or no answer at all, means for the request behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from html import unescape
from typing import TYPE_CHECKING

from airflow_provider_finetune.jobs.keys import LONGEST_CODE, without_keys
from airflow_provider_finetune.jobs.payload import legible, mapping, text

if TYPE_CHECKING:
    from collections.abc import Collection

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
    "daily_rate_limit_exceeded": (
        "What a day allows is used up, and trying again at once does not help. Give the task retries and a long "
        "retry_delay, such as timedelta(hours=6), and put the tasks that create jobs into a pool."
    ),
}
_REMEDIES_BY_STATUS = {
    401: _REMEDIES["invalid_api_key"],
    403: "The key is known but may not do this: check its permissions, and the connection's organisation and project.",
    404: "Check the id, and that the connection's host is the API's whole base URL, such as https://host/v1.",
    429: "The endpoint is busy: give the task retries and a retry_delay, or put tasks like it into a pool.",
}
_PROCESSING = "The endpoint is still processing the file; a retry, after a while, goes on with it."
_STILL_PROCESSING = re.compile(
    r"(still|currently) (being )?process|(is|are) being processed|not (yet )?(been )?(fully )?processed"
    r"|not (yet )?(finished|done) process|not[ _](yet )?ready"
)
_FILE_IS_GONE = (
    "The endpoint does not have this file, or not any more. Clear the task that uploads it, and this one with it. "
    "If the id does not come from an upload task, check it."
)
_GONE = re.compile(r"\binvalid (training|validation)[_ ]file\b|\bno such file\b|\bnot found\b|\bdoes not exist\b")
#: A limit of a day is not over in minutes; nobody says so in seconds.
_OF_THE_DAY = frozenset({"daily_rate_limit_exceeded"})
LATER_SECONDS = 3600.0
#: What an endpoint that says when to ask again can ask for, in seconds: a slip of its clock must not end a wait.
LONGEST_WAIT = 3600.0
#: Characters of an answer that are looked through for what it says.
_MOST_READ = 10_000
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "exceeded_quota"})


class FaultKind(StrEnum):
    """What is certain about a request that went wrong."""

    REFUSED = "refused"  #: nothing happened, and asking again changes nothing
    BUSY = "busy"  #: nothing happened, and asking later may work
    LOST = "lost"  #: it may have happened


@dataclass(frozen=True, slots=True)
class Fault:
    """A request that went wrong. ``retry_after`` is in seconds, where the server gave it.

    ``asked`` says for people whom: ``Connection openai_default, host 10.0.0.1:8000``.
    """

    kind: FaultKind
    status: int | None = None
    code: str | None = None
    param: str | None = None
    message: str = ""
    retry_after: float | None = None
    asked: str = ""

    def when_reading(self) -> Fault:
        """Return what it means for a request that costs nothing: without credit, jobs go on and can be waited for."""
        if self.status != 429:
            return self
        wait = None if self.code in _OF_THE_DAY else self.retry_after
        return replace(self, kind=FaultKind.BUSY, retry_after=wait)

    def explain(self, doing: str, advice: Mapping[str, str] | None = None) -> str:
        """Return what happened and, in a line of its own, who was asked and what to do about it, for people.

        Airflow does not wrap a line of a log: advice behind a long message is out of sight.

        :param doing: what was tried, to stand behind "Could not": ``"retrieve fine-tuning job ftjob-1"``.
        :param advice: what to do about errors of this very endpoint, by code or by words of the message.
        """
        if self.kind is FaultKind.REFUSED and self.status is None:
            return f"Could not {doing}: {self.message}"
        if self.status is None:
            return self._advise(
                f"Could not {doing}: {self.message or 'no answer'}.",
                "Check that the endpoint is up and that the connection's host is its full base URL, such as "
                "https://host/v1.",
            )
        detail = ", ".join(f"{name} {value}" for name, value in (("code", self.code), ("param", self.param)) if value)
        remedy = self._advised(advice or {}) or _REMEDIES.get(self.code or "")
        if not remedy and _is_processing(self.status, self.code, self.message):
            remedy = _PROCESSING
        if not remedy and self._misses_a_file():
            remedy = _FILE_IS_GONE
        remedy = remedy or _REMEDIES_BY_STATUS.get(self.status, "")
        said = self.message or "the server gave no message"
        return self._advise(f"Could not {doing}: HTTP {self.status}{f' ({detail})' if detail else ''}: {said}", remedy)

    def _misses_a_file(self) -> bool:
        """Return whether a file to train with is not there, or not any more."""
        words = f"{self.param} {self.message}".lower()
        is_to_train_with = re.search(r"\b(training|validation)[_ ]file\b", words) is not None
        return self.status in (400, 404, 422) and is_to_train_with and _GONE.search(words) is not None

    def _advise(self, what: str, remedy: str) -> str:
        asked = self.asked and f"{self.asked}."
        return "\n".join(filter(None, (what, " ".join(filter(None, (asked, remedy))))))

    def _advised(self, advice: Mapping[str, str]) -> str:
        message = self.message.lower()
        return next((words for cue, words in advice.items() if cue == self.code or cue in message), "")


def read_fault(
    status: int | None,
    body: object = None,
    retry_after: str | None = None,
    cause: str = "",
    about: Collection[str] = (),
    asked: str = "",
) -> Fault:
    """Return what a failed request means.

    :param status: the HTTP status; None when no answer came (time-out, lost connection).
    :param body: the decoded body, either ``{"error": {…}}`` or the inner object, or anything else.
    :param retry_after: the ``Retry-After`` header.
    :param cause: what broke, when no answer came.
    :param about: ids that the request is about.
    :param asked: connection and host, for people.
    """
    error = mapping(mapping(body).get("error")) or mapping(body)
    code, kind, param = (text(error.get(name)) for name in ("code", "type", "param"))
    message = legible(_said(body))
    wait = _seconds(retry_after)
    if wait is None and code in _OF_THE_DAY:
        wait = LATER_SECONDS
    return Fault(
        kind=FaultKind.BUSY if _is_processing(status, code, message) else _kind(status, {code, kind}),
        status=status,
        code=without_keys(code, LONGEST_CODE, about) if code else None,
        param=without_keys(param, LONGEST_CODE, about) if param else None,
        message=without_keys(message or legible(cause), about=about),
        retry_after=wait,
        asked=asked,
    )


#: Where servers put what they have to say, best first: OpenAI's, FastAPI's, Rails', problem details' (RFC 9457).
_WORDS = ("message", "msg", "detail", "error", "errors", "error_description", "title", "description", "reason")


def _said(body: object, depth: int = 0) -> str:
    """Return what an error answer says, whatever its shape; empty when it says nothing."""
    if isinstance(body, str):
        return _plain(body[:_MOST_READ])
    if depth > 3:
        return ""
    if isinstance(body, Mapping):
        said = next((words for name in _WORDS if (words := _said(body.get(name), depth + 1))), "")
        place = body.get("loc")  # FastAPI: where in the request something is wrong
        if said and isinstance(place, (list, tuple)):
            return f"{'.'.join(str(part) for part in place[:8])}: {said}"
        return said
    if isinstance(body, (list, tuple)):
        return "; ".join(words for part in body[:5] if (words := _said(part, depth + 1)))
    return ""


def _plain(text: str) -> str:
    """Return a text in one line; of a page of HTML, its title."""
    if re.match(r"\s*<(!doctype|html|head|body|\?xml)", text, re.IGNORECASE):
        title = re.search(r"<(title|h1)[^<>]*>([^<]*)", text, re.IGNORECASE)
        text = unescape(title[2] if title else re.sub(r"<[^<>]*>", " ", text))
    return " ".join(text.split())


def _is_processing(status: int | None, code: str | None, message: str) -> bool:
    """Return whether a file that the request needs is not ready: nothing is wrong, but that it comes too early."""
    is_refusal = status is not None and 400 <= status < 500
    words = f"{code} {message}".lower()
    return is_refusal and "file" in words and _STILL_PROCESSING.search(words) is not None


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
    return min(seconds, LONGEST_WAIT) if seconds is not None and 0 <= seconds < math.inf else None


def has_no_list(fault: Fault | None) -> bool:
    """Return whether the answer to a look at the list means that the endpoint has none."""
    return fault is not None and fault.status in (404, 405, 501)


def is_occupied(fault: Fault, *, one_at_a_time: bool = False) -> bool:
    """Return whether a job was refused because another one is running; nothing was created then.

    :param one_at_a_time: whether the endpoint is known for it, whatever its words.
    """
    return fault.status == 409 and (one_at_a_time or re.search(_OCCUPIED, fault.message, re.IGNORECASE) is not None)


_OCCUPIED = r"""(?x)
    \b(job|run|training|fine-?tun\w+)\b .* \b(running|in\ progress|active|busy|at\ a\ time)\b
    | \b(another|one)\b .* \b(job|run|training)\b"""
