"""The champion of a name, and the champions before it. Pure: a record is a value, a history is a list of them."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - msgspec reads annotations
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

#: Older records are forgotten, so that the Variable stays small enough to be read by people.
MOST_RECORDS = 50
#: Records that a task shows.
MOST_SHOWN = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: object) -> str:
    """Return the name of a champion: what the Variable's key and the asset's URI are made of.

    :raises ValueError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"name is {name!r}; expected up to 100 letters, digits, dots, dashes and underscores, beginning with a "
            "letter or digit, such as 'support-bot'"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The record of one promotion or rollback. It is written once and never changed.

    :ivar number: 1 for the first record of the name, then one more each time.
    :ivar model: the model, as the endpoint calls it.
    :ivar conn_id: the Airflow connection of the endpoint where it answers.
    :ivar base_model: what it was fine-tuned from.
    :ivar job_id: the fine-tuning job that made it.
    :ivar dataset_sha256: of the dataset that it was evaluated on.
    :ivar scores: how it did there, and against which model: small plain JSON, the ``numbers`` of the decision.
    :ivar predecessor: the model that was the champion until then; None for the first.
    :ivar restores: for a rollback, the number of the record whose model is the champion again.
    :ivar promoted_at: when, in ISO 8601, UTC.
    :ivar promoted_by: who: a person, or the owner of the task.
    :ivar run: which task did it: ``dag_id``, ``run_id``, ``task_id``, ``map_index``.
    """

    number: int
    model: str
    conn_id: str
    base_model: str | None = None
    job_id: str | None = None
    dataset_sha256: str | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    predecessor: str | None = None
    restores: int | None = None
    promoted_at: str | None = None
    promoted_by: str | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the record as small plain JSON."""
        return dict(msgspec.to_builtins(self))

    @classmethod
    def from_json(cls, value: Any) -> Champion:
        """Return the record in what :meth:`as_json`, or a later version of it, gave.

        :raises ValueError: it is none.
        """
        return msgspec.convert(value, cls)


@dataclass(frozen=True, slots=True)
class History:
    """The records of a name, newest first."""

    name: str
    records: tuple[Champion, ...] = ()

    @property
    def champion(self) -> Champion | None:
        """The record in force; None when there is no champion yet."""
        return self.records[0] if self.records else None

    @property
    def predecessor(self) -> Champion | None:
        """The record that a rollback takes up; None when nothing came before the champion.

        After a rollback, that is what came before the restored record, not what was rolled back.
        """
        if self.champion is None:
            return None
        before = self.original(self.champion).number - 1
        found = next((record for record in self.records if record.number == before), None)
        return found and self.original(found)

    def original(self, record: Champion) -> Champion:
        """Return the record of the promotion that a record stands for: itself, or the one that it restores."""
        if record.restores is None:
            return record
        return next((found for found in self.records if found.number == record.restores), record)

    def latest(self, model: str) -> Champion | None:
        """Return the newest record of a model; None when it never was the champion."""
        return next((record for record in self.records if record.model == model), None)

    def made_by(self, run: Mapping[str, Any]) -> Champion | None:
        """Return the newest record that a task made, in any of its attempts; None when it made none."""
        return next((record for record in self.records if run and record.run == run), None)

    def latest_as_json(self) -> list[dict[str, Any]]:
        """Return the last champions for people, newest first: number, model, score, when, by whom."""
        return [
            {
                "number": record.number,
                "model": record.model,
                "scores": {"score": record.scores.get("score")},
                "promoted_at": record.promoted_at,
                "promoted_by": record.promoted_by,
            }
            for record in self.records[:MOST_SHOWN]
        ]

    def followed_by(self, record: Champion) -> History:
        """Return the history with a new champion, which gets its number and its predecessor."""
        now = self.champion
        after = replace(
            record, number=1 if now is None else now.number + 1, predecessor=None if now is None else now.model
        )
        return History(self.name, (after, *self.records)[:MOST_RECORDS])

    def as_text(self) -> str:
        """Return the JSON that is kept: ``champion``, and ``history`` with the records before it, newest first."""
        kept = {"name": self.name, "champion": self.champion, "history": self.records[1:]}
        return msgspec.json.format(msgspec.json.encode(kept), indent=2).decode()

    @classmethod
    def from_text(cls, name: str, text: str | None) -> History:
        """Return the history in what :meth:`as_text`, or a later version of it, gave.

        :param text: None or blank when nothing is kept.
        :raises ValueError: it is something else, or belongs to another name.
        """
        if not (text or "").strip():
            return cls(name)
        kept = msgspec.json.decode(text or "", type=_Kept)
        if kept.name != name:
            raise ValueError(f"it is the record of {kept.name!r}")
        return cls(name, (kept.champion, *kept.history) if kept.champion else ())


class _Kept(msgspec.Struct):
    name: str
    champion: Champion | None
    history: list[Champion]
