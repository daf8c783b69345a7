"""Pages of a list: `after` an item, `limit` items, `has_more`."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request


def page(
    request: Request,
    items: Sequence[Any],
    *,
    limit: int,
    most: int = 10_000,
    id_of: Callable[[Any], Any] = itemgetter("id"),
    show: Callable[[Any], Any] = dict,
) -> dict[str, Any]:
    """Return the part of `items` (in the order of the list) that the request asks for.

    :param limit: items a page when the request does not say.
    :param most: the largest page a request may ask for.
    :param id_of: the id of an item.
    :param show: an item as the page holds it; called for those of the page only.
    """
    raw = request.query_params.get("limit", str(limit))
    if not raw.isdecimal() or not 1 <= int(raw) <= most:
        raise ApiError(400, f"Invalid 'limit': expected an integer from 1 to {most}.", param="limit")
    start = 0
    if after := request.query_params.get("after"):
        start = next((i + 1 for i, item in enumerate(items) if id_of(item) == after), 0)
        if not start:
            raise ApiError(400, f"No item with id '{after}' found in this list.", param="after")
    data = [show(item) for item in items[start : start + int(raw)]]
    return {"object": "list", "data": data, "has_more": start + len(data) < len(items)}


def with_ends(listed: dict[str, Any], empty: str | None) -> dict[str, Any]:
    """Return the page with `first_id` and `last_id`, which are `empty` on a page of nothing."""
    ids = [item["id"] for item in listed["data"]] or [empty]
    return {**listed, "first_id": ids[0], "last_id": ids[-1]}
