"""Rows of other tools and vendors, told by their fields: what they are called, and whether they can be converted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

_CONVERT: Final = "`finetune-dataset convert FILE OUTPUT` makes one of it"


@dataclass(frozen=True)
class Foreign:
    """A format of rows that no fine-tuning endpoint of this protocol takes.

    :ivar name: as its users call it, with an article.
    :ivar shape: the fields that make it one.
    :ivar remedy: how to make an example of it.
    """

    name: str
    shape: str
    remedy: str = _CONVERT


SHAREGPT: Final = Foreign("a ShareGPT row", "conversations with from and value")
ALPACA: Final = Foreign("an Alpaca row", "instruction, input, output")
PREFERENCE: Final = Foreign("a TRL preference", "prompt, chosen, rejected")
PROMPT_COMPLETION: Final = Foreign("a TRL prompt and completion", "prompt and completion as lists of messages")
BEDROCK: Final = Foreign("a Bedrock conversation", "messages with content as a list of text, system beside them")
GEMINI: Final = Foreign("a Gemini conversation", "contents with role and parts")
COHERE: Final = Foreign("a Cohere conversation", "messages with the roles System, User and Chatbot")
BATCH_REQUEST: Final = Foreign(
    "a request of the Batch API",
    "custom_id, body",
    "it holds what was asked and no answer, unless body.messages ends with one: then " + _CONVERT,
)
BATCH_ANSWER: Final = Foreign(
    "an answer of the Batch API", "custom_id, response", "it holds no prompt: join it with its request by custom_id"
)
PLAIN_TEXT: Final = Foreign("a plain text", "text", "it has no turns: say which part is the prompt and which the reply")

_COHERE_ROLES: Final = frozenset({"System", "User", "Chatbot"})


def foreign_format(row: dict[str, Any]) -> Foreign | None:
    """Return which other format a row has; None if it is none of those known, or an example of this protocol."""
    if isinstance(messages := row.get("messages"), list):
        return _of_messages(row, [message for message in messages if isinstance(message, dict)])
    if "input" in row and "preferred_output" in row:
        return None
    if isinstance(row.get("conversations"), list):
        return SHAREGPT
    if isinstance(row.get("contents"), list):
        return GEMINI
    if "chosen" in row and "rejected" in row:
        return PREFERENCE
    if "custom_id" in row and ("body" in row or "response" in row):
        return BATCH_REQUEST if "body" in row else BATCH_ANSWER
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output", row.get("response")), str):
        return ALPACA
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        return PROMPT_COMPLETION
    if isinstance(row.get("text"), str) and not {"prompt", "completion", "messages"} & row.keys():
        return PLAIN_TEXT
    return None


def _of_messages(row: dict[str, Any], messages: list[dict[str, Any]]) -> Foreign | None:
    roles = {role for message in messages if isinstance(role := message.get("role"), str)}
    if roles & _COHERE_ROLES:
        return COHERE
    contents = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    is_bedrock = isinstance(row.get("system"), list) or any(
        isinstance(part, dict) and "text" in part and "type" not in part for parts in contents for part in parts
    )
    return BEDROCK if contents and ("schemaVersion" in row or is_bedrock) else None
