"""Reading answers of the SDK: an object, or all pages of a list, whatever an endpoint makes of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import openai
from openai.types.fine_tuning import FineTuningJob

from airflow_provider_finetune.hooks.bounds import NotTheApis
from airflow_provider_finetune.jobs.payload import items, storable, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def payload(answer: object) -> dict[str, Any]:
    """Return the JSON object that the SDK read.

    :raises openai.APIError: the answer was none.
    """
    found: dict[str, Any] = storable(_json(_read(answer)))
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


def pages_of(ask: Callable[..., Any], *arguments: Any, **filters: Any) -> Iterator[list[Any]]:
    """Yield what each page brings that is new; end when one brings nothing, for a server may repeat itself."""
    seen: set[str] = set()
    after: dict[str, str] | None = {}
    while after is not None:
        with _of_the_api():
            page = ask(*arguments, **filters, **after)
            new, after = _new(page, seen)
        if new:
            yield new


async def apages_of(ask: Callable[..., Any], *arguments: Any, **filters: Any) -> AsyncIterator[list[Any]]:
    """Yield what each page brings that is new, as :func:`pages_of`."""
    seen: set[str] = set()
    after: dict[str, str] | None = {}
    while after is not None:
        with _of_the_api():
            page = await ask(*arguments, **filters, **after)
            new, after = _new(page, seen)
        if new:
            yield new


@contextmanager
def _of_the_api() -> Iterator[None]:
    try:
        yield
    except (AttributeError, TypeError):  # the SDK takes whatever it gets for a page
        raise NotTheApis() from None


def _new(page: Any, seen: set[str]) -> tuple[list[Any], dict[str, str] | None]:
    """Return the items of a page that are new, and how to ask for the next one; None where there is none."""
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
    return text(getattr(item, "id", None)) or ""
