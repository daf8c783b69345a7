"""A job's events: from pages that are newest first and may repeat, to lines of a log, each once and in order.

Servers are not relied upon for either: events may come in no order, and with another id each time they are asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_finetune.jobs.keys import MOST_TEXT, without_keys
from airflow_provider_finetune.jobs.payload import epoch, mapping, name, number, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: More unseen events than this at once are not read: nobody reads such a log, and a server may invent them.
MOST_EVENTS = 10_000
#: Characters of their messages at most, all together.
MOST_CHARACTERS = 2_000_000
TOO_MANY_EVENTS = "The endpoint lists more events than are read at once; the oldest of them are left out."
TOO_LONG_A_LOG = "The endpoint has more events than a log should hold; those that do not fit are left out."
#: Numbers of one event at most: a step and its metrics.
MOST_NUMBERS = 40
#: Of so many events of the last second that was seen, it is kept which they were.
MOST_MARKS = 64
#: Characters of a number's name at most.
LONGEST_NAME = 64
LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40}


class Event(NamedTuple):
    """Something that happened to a job. ``level`` is one of :mod:`logging`'s numbers, ``data`` what was measured.

    ``mark`` tells the event from others of the same second, by its text, whatever the server says is its id.
    """

    id: str
    created_at: int
    level: int
    message: str
    data: Mapping[str, Any] | None = None
    mark: str = ""

    @classmethod
    def from_api(cls, payload: Mapping[str, Any], about: Collection[str] = ()) -> Event:
        """Return the event that an answer of the API describes; null fields become empty ones.

        :param payload: the decoded JSON object of an event.
        :param about: ids and names that the event may be about, which are no keys.
        """
        said = text(payload.get("message")) or ""
        data = mapping(payload.get("data"))
        return cls(
            id=name(payload.get("id")) or "",
            created_at=epoch(payload.get("created_at")) or 0,
            level=LEVELS.get((text(payload.get("level")) or "").lower(), 20),
            message=without_keys(said, MOST_TEXT, about),
            data=_numbers(data) or None,
            mark=_mark(said, data),
        )


def _numbers(data: Mapping[str, Any]) -> dict[str, int | float]:
    """Return the numbers among an event's data; an endpoint may put anything beside them."""
    found = ((str(key), number(value)) for key, value in data.items())
    short = ((key, value) for key, value in found if value is not None and len(key) <= LONGEST_NAME)
    return dict(islice(short, MOST_NUMBERS))


def _mark(said: str, data: Mapping[str, Any]) -> str:
    content = f"{said[:MOST_TEXT]} {number(data.get('step'))}"
    return hashlib.blake2s(content.encode(errors="replace"), digest_size=4).hexdigest()


@dataclass(slots=True)
class Unseen:
    """Collects the events behind the last one seen, page by page.

    :param last_id: id of the last event seen; None when none was.
    :param last_created_at: its time in epoch seconds, for servers that do not list it any more, or by another id.
    :param marks: which events of that second were seen.
    :param about: ids and names that the events may be about.
    """

    last_id: str | None = None
    last_created_at: int = 0
    marks: tuple[str, ...] = ()
    about: Collection[str] = ()
    _found: list[Event] = field(default_factory=list)
    _read: set[object] = field(default_factory=set)
    _count: int = 0
    _characters: int = 0
    _newest_first: bool = True
    _before: int | None = None

    def afresh(self) -> Unseen:
        """Return a collection that starts where this one did."""
        return Unseen(self.last_id, self.last_created_at, self.marks, self.about)

    def saw(self, event: Event) -> None:
        """Note that an event has been seen: the next collection starts behind it."""
        if self.last_id is None or event.created_at != self.last_created_at:
            self.marks = (event.mark,)
        elif self.marks:  # else they are not known from the second's beginning
            self.marks = (*self.marks, event.mark)[-MOST_MARKS:]
        self.last_id, self.last_created_at = event.id, event.created_at

    def add(self, page: Iterable[Mapping[str, Any]]) -> bool:
        """Take the next older page; return whether older pages may hold unseen events too."""
        grew = reached = False
        for payload in page:
            created_at = epoch(payload.get("created_at")) or 0
            said, step = payload.get("message"), number(mapping(payload.get("data")).get("step"))
            what = {hash((created_at, said if isinstance(said, str) else "", step)), name(payload.get("id"))} - {None}
            is_repeated = not what.isdisjoint(self._read)
            self._read |= what
            if is_repeated:
                continue
            grew = True
            self._count += 1
            self._newest_first = self._newest_first and (self._before is None or created_at <= self._before)
            self._before = created_at
            if self._was_seen(payload, created_at, behind=reached):
                reached = True
            else:
                self._found.append(Event.from_api(payload, self.about))
                self._characters += len(self._found[-1].message)
            if self.is_full:
                return False
        if reached and self._newest_first:
            return False
        # A page that brings nothing new means that the server repeats itself; asking on would never end.
        return grew

    @property
    def is_full(self) -> bool:
        """Whether there are more unseen events than are read; the oldest are left out."""
        return self._count >= MOST_EVENTS or self._characters >= MOST_CHARACTERS

    def _was_seen(self, payload: Mapping[str, Any], created_at: int, *, behind: bool) -> bool:
        if self.last_id is None:
            return False
        if name(payload.get("id")) == self.last_id:
            return True
        if created_at != self.last_created_at:
            return created_at < self.last_created_at
        if 0 < len(self.marks) < MOST_MARKS:
            return _mark(text(payload.get("message")) or "", mapping(payload.get("data"))) in self.marks
        return behind and self._newest_first

    def in_order(self) -> list[Event]:
        """Return the unseen events in the order in which they happened."""
        events = self._found[::-1]
        # Sorting keeps the order of the list within a second. Where a time is missing, there is no other.
        return sorted(events, key=lambda event: event.created_at) if all(e.created_at for e in events) else events


#: Characters that the events of one job may fill of a log at once, and how many more in an hour.
LOG_CHARACTERS = 4_000_000
LOG_CHARACTERS_AN_HOUR = 2_000_000
#: What a line costs beside its text.
_LINE = 100


@dataclass(slots=True)
class LogVolume:
    """How much of a log the events of one job may still fill. No training has as much to say as it begins with."""

    left: float = LOG_CHARACTERS
    _since: float = 0.0
    is_told: bool = False

    def takes(self, event: Event, now: float) -> bool:
        """Return whether there is room for the event, which is taken then.

        :param now: any clock's seconds.
        """
        passed = now - self._since if self._since else 0.0
        self.left = min(LOG_CHARACTERS, self.left + passed / 3600 * LOG_CHARACTERS_AN_HOUR)
        self._since = now
        size = len(event.message) + _LINE
        if size > self.left:
            return False
        self.left -= size
        return True
