"""What the model sees of a message: two that differ in nothing else are the same."""

from __future__ import annotations

from typing import Any


def seen_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message without what no model sees: weights, what is null or empty, ids of calls without a result.

    :param message: a good message; its texts may have been taken out of it.
    """
    seen = {key: value for key, value in message.items() if key != "weight" and not _is_nothing(key, value)}
    content = seen.get("content")
    if isinstance(content, list):
        seen["content"] = _seen_content(content)
    if seen.get("content") in ("", None) and (seen.get("tool_calls") or seen.get("function_call")):
        seen.pop("content", None)
    if calls := seen.get("tool_calls"):
        seen["tool_calls"] = [{key: value for key, value in call.items() if key != "id"} for call in calls]
    seen.pop("tool_call_id", None)
    return seen


def seen_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return an example in which a content of one text part is that text; the same object if there is none.

    :param row: a good example.
    """
    copy = dict(row)
    for key, value in row.items():
        if key == "input" and isinstance(value, dict):
            copy[key] = seen_row(value)
        elif isinstance(value, list) and any(_is_one_text(message) for message in value):
            copy[key] = [
                {**message, "content": message["content"][0]["text"]} if _is_one_text(message) else message
                for message in value
            ]
    return row if all(copy[key] is row[key] for key in row) else copy


def seen_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the model is given beside the messages, without those that say nothing.

    :param row: what holds ``messages``: a good example, or the input of a preference.
    """
    seen: dict[str, Any] = {}
    if tools := row.get("tools"):
        seen["tools"] = [{**tool, "function": _seen_function(tool["function"])} for tool in tools]
    if functions := row.get("functions"):
        seen["functions"] = [_seen_function(function) for function in functions]
    # Calls side by side are what the API does unless told otherwise.
    if row.get("parallel_tool_calls") is False:
        seen["parallel_tool_calls"] = False
    return seen


def _is_nothing(key: str, value: Any) -> bool:
    return value is None or (key in ("name", "refusal", "tool_calls") and not value)


def _is_one_text(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text"


def _seen_content(parts: list[dict[str, Any]]) -> Any:
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return [
        {"type": "image_url", "image_url": {key: value for key, value in image.items() if value not in (None, "auto")}}
        if (image := part.get("image_url"))
        else part
        for part in parts
    ]


def _seen_function(function: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in function.items() if value not in (None, False, "")}
