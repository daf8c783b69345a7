"""What the SDK raises becomes a fault, and a fault one of this provider's exceptions."""

from __future__ import annotations

import json
import ssl
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import openai

from airflow_provider_finetune.exceptions import EndpointBusy, EndpointUnreachable, FineTuningError, RequestRefused
from airflow_provider_finetune.hooks.bounds import RedirectRefused
from airflow_provider_finetune.hooks.not_the_apis import NotTheApis
from airflow_provider_finetune.hooks.options import is_invalid_url, sent_by
from airflow_provider_finetune.jobs.fault import Fault, FaultKind, read_fault
from airflow_provider_finetune.jobs.keys import without_keys
from airflow_provider_finetune.jobs.payload import mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.endpoints import Endpoint

#: What a call of the SDK raises when the endpoint refuses, fails, or does not speak the protocol. What cannot be read
#: is a ValueError: no JSON, no text, a number with too many digits.
SDK_ERRORS = (openai.OpenAIError, ValueError, RecursionError)


def fault_of(error: Exception) -> Fault:
    """Return what one of :data:`SDK_ERRORS` means for the request behind it."""
    if isinstance(error, openai.APIStatusError):
        retry_after = error.response.headers.get("retry-after")
        return read_fault(error.status_code, error.body, retry_after, about=_about(error), asked=sent_by(error.request))
    if isinstance(error, RedirectRefused):
        return Fault(FaultKind.REFUSED, message=f"{error.message}.", asked=sent_by(error.request))
    if isinstance(error, openai.OpenAIError) and (why := _why_never(error)):
        return Fault(FaultKind.REFUSED, message=without_keys(why), asked=sent_by(getattr(error, "request", None)))
    if isinstance(error, openai.APIConnectionError):
        cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ", no whole answer in time"
        return read_fault(None, cause=f"{type(error).__name__}{cause}", asked=sent_by(error.request))
    if isinstance(error, openai.OpenAIError) and not isinstance(error, openai.APIError):
        return read_fault(None, cause=str(error))  # no token was to be had, with which to ask
    return read_fault(None, cause=str(error if isinstance(error, NotTheApis) else NotTheApis()))


def _about(error: openai.APIError) -> list[str]:
    """Return the ids that the request named, which the answer may repeat."""
    names = [part for part in error.request.url.path.split("/") if part]
    with suppress(RuntimeError, ValueError):  # an upload is not kept, and is no JSON
        names += [value for value in mapping(json.loads(error.request.content)).values() if isinstance(value, str)]
    return names


@contextmanager
def explained(doing: str, *, reading: bool = False) -> Iterator[None]:
    """Turn the SDK's exceptions into this provider's, which say what to do and hold no secret.

    :param doing: what is being tried: ``"retrieve fine-tuning job ftjob-1"``.
    :param reading: whether it costs nothing, so that a lack of credit is no reason to give up.
    :raises RequestRefused: the endpoint refused, and would again.
    :raises EndpointBusy: the endpoint says that it is busy, or not ready yet.
    :raises EndpointUnreachable: no answer, or the endpoint is in trouble.
    """
    try:
        yield
    except FineTuningError:
        raise
    except SDK_ERRORS as error:
        # "from None": the SDK's message may quote the key, and a traceback would print it.
        fault = fault_of(error)
        raise error_for(fault.when_reading() if reading else fault, doing) from None


def error_for(fault: Fault, doing: str, endpoint: Endpoint | None = None) -> FineTuningError:
    """Return the exception for a fault that could not be dealt with.

    :param doing: what was tried.
    :param endpoint: what is known of the endpoint, for its advice.
    """
    return _ERRORS[fault.kind](fault.explain(doing, endpoint.advice if endpoint else None))


_ERRORS: dict[FaultKind, type[FineTuningError]] = {
    FaultKind.REFUSED: RequestRefused,
    FaultKind.BUSY: EndpointBusy,
    FaultKind.LOST: EndpointUnreachable,
}


def _why_never(error: BaseException) -> str:
    """Return why a request that was not answered will not be either when it is sent again; empty when it may be."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return (
                f"the endpoint's certificate is not trusted: {seen.verify_message}. Correct the connection's host, or "
                "let SSL_CERT_FILE name the certificates to trust."
            )
        if type(seen).__name__ == "SubjectTokenProviderError" and "token file" in str(seen):
            return f"{seen}. The token of the connection's workload identity cannot be read."
        kind = type(seen).__name__  # of httpx or httpx2, and of httpcore below
        if is_invalid_url(seen) or kind == "UnsupportedProtocol":
            return f"the connection's host, or where it redirects to, is no URL ({kind})"
        if kind == "LocalProtocolError" and "header" in str(seen):
            return "a header of the connection's extra has characters in it that no header has"
        seen = seen.__cause__ or seen.__context__
    return ""
