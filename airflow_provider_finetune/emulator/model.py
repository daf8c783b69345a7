"""A model that answers: a base model, a fine-tuned one, or a checkpoint."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from time import time
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.emulator.examples import last_user_turn, reply_of

if TYPE_CHECKING:
    from airflow_provider_finetune.emulator.learner import Model

ORGANIZATION = "org-emulator"
BASE_MODELS = (
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini-2024-07-18",
    "gpt-3.5-turbo-0125",
    "o4-mini-2025-04-16",
)
ALIASES = {
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
    "o4-mini": "o4-mini-2025-04-16",
}


@dataclass(frozen=True)
class ServedModel:
    """A model that answers; `learned` is `None` for a base model."""

    name: str
    created_at: int
    shutdown_date: str | None = None
    learned: Model | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "object": "model",
            "created": self.created_at,
            "owned_by": ORGANIZATION if self.learned else "system",
            "shutdown_date": self.shutdown_date,
        }

    def reply(self, messages: list[dict[str, Any]]) -> str:
        """Return the assistant message (see `examples.reply_of`): a learned one, or one of the prompt's own words."""
        prompt = last_user_turn(messages)
        if self.learned:
            return self.learned.answer(prompt)
        words = prompt.split() or ["Hello"]
        return reply_of({"content": words[zlib.crc32(prompt.encode()) % len(words)]})


def fine_tuned_name(base: str, suffix: str, part: str) -> str:
    """Return the name of a model that a job made.

    :param base: the name of the model that was trained.
    :param part: tells the models of all jobs apart.
    """
    snapshot = base.split(":")[1] if base.startswith("ft:") else base
    return f"ft:{snapshot}:{ORGANIZATION.removeprefix('org-')}:{suffix}:{part}"


def base_models(extra: dict[str, str | None]) -> list[ServedModel]:
    """Return the base models that can be trained.

    :param extra: shutdown dates (YYYY-MM-DD or `None`) by name; replaces or adds to the built-in ones.
    :raises ValueError: a date is none.
    """
    dates = {**dict.fromkeys(BASE_MODELS), **extra}
    for day in extra.values():
        if day:
            date.fromisoformat(day)
    return [ServedModel(name, int(time()), day) for name, day in dates.items()]
