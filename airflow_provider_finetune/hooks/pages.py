"""Reading answers of the SDK: an object, or all pages of a list, whatever an endpoint makes of them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openai
from openai.types.fine_tuning import FineTuningJob

from airflow_provider_finetune.hooks.not_the_apis import NotTheApis
from airflow_provider_finetune.jobs.payload import answered, items, name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

#: Items, bytes and seconds of a list at most, all its pages together. An organisation that has trained a job an hour
#: for ten years is within.
MOST_LISTED = 100_000
LIST_BYTES = 128 << 20
LIST_SECONDS = 900.0


def payload(answer: object) -> dict[str, Any]:
    """Return the JSON object that the SDK read.

    :raises openai.APIError: the answer was none.
    """
    found: dict[str, Any] = answered(_json(_read(answer)))
    return found


def _json(value: Any) -> Any:
    """Return what the SDK made its model of; its own ``to_dict`` fails for a text with half a character."""
    if isinstance(value, openai.BaseModel):
        fields, extra = type(value).model_fields, value.model_extra or {}
        given = {
            (fields[name].alias or name if name in fields else name): part
            for name, part in {**vars(value), **extra}.items()
            if name in value.model_fields_set or name in extra
        }
        return _json(given)
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return [_json(part) for part in value] if isinstance(value, list) else value


def _read(answer: object) -> Any:
    """Return the answer if it is the API's: the SDK hands on whatever a proxy or a wrong base URL says."""
    if isinstance(answer, openai.BaseModel):
        return answer
    raise NotTheApis()


class Endless(NotTheApis):
    """The list has more pages, bytes or seconds than any."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the list does not end within {what}, and is none")


class _Pages:
    """What a list may cost all in all, and which of its items are known."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.bytes = 0
        self.until = time.monotonic() + LIST_SECONDS

    def new(self, answer: Any) -> tuple[list[Any], dict[str, str] | None]:
        """Return what a page brings that is new, and how to ask for the next one; None where there is none."""
        self.bytes += len(answer.http_response.content)
        new, after = _new(answer.parse(), self.seen)
        if after is not None:
            if len(self.seen) >= MOST_LISTED:
                raise Endless(f"{MOST_LISTED:,} items")
            if self.bytes >= LIST_BYTES:
                raise Endless(f"{LIST_BYTES >> 20} MB")
            if time.monotonic() >= self.until:
                raise Endless(f"{LIST_SECONDS:.0f} s")
        return new, after


def pages_of(ask: Callable[..., Any], *arguments: Any, **filters: Any) -> Iterator[list[Any]]:
    """Yield what each page brings that is new; end when one brings nothing, for a server may repeat itself.

    :param ask: a method of the SDK's that lists, with the raw response.
    :raises Endless: there is more than any endpoint has, so that what was listed tells nothing of what exists.
    """
    pages = _Pages()
    after: dict[str, str] | None = {}
    while after is not None:
        with _of_the_api():
            new, after = pages.new(ask(*arguments, **filters, **after))
        if new:
            yield new


async def apages_of(ask: Callable[..., Any], *arguments: Any, **filters: Any) -> AsyncIterator[list[Any]]:
    """Yield what each page brings that is new, as :func:`pages_of`."""
    pages = _Pages()
    after: dict[str, str] | None = {}
    while after is not None:
        with _of_the_api():
            new, after = pages.new(await ask(*arguments, **filters, **after))
        if new:
            yield new


@contextmanager
def _of_the_api() -> Iterator[None]:
    try:
        yield
    except (AttributeError, TypeError):  # the SDK takes whatever it gets for a page
        raise NotTheApis() from None


def _new(page: Any, seen: set[str]) -> tuple[list[Any], dict[str, str] | None]:
    listed = _read(page).data
    if getattr(page, "error", None):
        raise NotTheApis("the answer is an error that calls itself a success, not a list")
    if not isinstance(listed, list):  # some servers call the items of a list of jobs "jobs"
        listed = [FineTuningJob.construct(**dict(job)) for job in items({"jobs": getattr(page, "jobs", None)})]
    listed = [item for item in listed if isinstance(item, openai.BaseModel)]
    new = {_key(item): item for item in listed if _key(item) not in seen}
    seen.update(new)
    more = getattr(page, "has_more", False) is not False and new and _id(listed[-1])
    return list(new.values()), {"after": _id(listed[-1])} if more else None


def _key(item: Any) -> str:
    return _id(item) or repr(payload(item))


def _id(item: Any) -> str:
    return name(getattr(item, "id", None)) or ""
