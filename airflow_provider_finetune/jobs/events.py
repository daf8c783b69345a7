"""A job's events: from pages that are newest first and may repeat, to lines of a log, each once and in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_finetune.jobs.keys import MOST_TEXT, without_keys
from airflow_provider_finetune.jobs.payload import epoch, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: More unseen events than this at once are not read: nobody reads such a log, and a server may invent them.
MOST_EVENTS = 10_000
LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}


class Event(NamedTuple):
    """Something that happened to a job. ``level`` is one of :mod:`logging`'s numbers."""

    id: str
    created_at: int
    level: int
    message: str
    data: Mapping[str, Any] | None = None

    @classmethod
    def from_api(cls, payload: Mapping[str, Any]) -> Event:
        """Return the event that an answer of the API describes; null fields become empty ones."""
        return cls(
            id=text(payload.get("id")) or "",
            created_at=epoch(payload.get("created_at")) or 0,
            level=LEVELS.get(str(payload.get("level")).lower(), 20),
            message=without_keys(text(payload.get("message")) or "", MOST_TEXT),
            data=mapping(payload.get("data")) or None,
        )


@dataclass(slots=True)
class Unseen:
    """Collects the events behind the last one seen, page by page.

    :param last_id: id of the last event seen; None when none was.
    :param last_created_at: its time in epoch seconds, for servers that no longer list it.
    """

    last_id: str | None = None
    last_created_at: int = 0
    _found: dict[str, Event] = field(default_factory=dict)

    def add(self, page: Iterable[Mapping[str, Any]]) -> bool:
        """Take the next older page; return whether older pages may hold unseen events too."""
        grew = False
        for payload in page:
            event = Event.from_api(payload)
            if self.last_id is not None and (event.id == self.last_id or event.created_at < self.last_created_at):
                return False
            if event.id not in self._found:
                self._found[event.id] = event
                grew = True
        # A page that brings nothing new means that the server repeats itself; asking on would never end.
        return grew and len(self._found) < MOST_EVENTS

    def in_order(self) -> list[Event]:
        """Return the unseen events in the order in which they happened."""
        return list(reversed(self._found.values()))
