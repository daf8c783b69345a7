"""The route that asks a model: `POST /chat/completions`, without streaming."""

from __future__ import annotations

import asyncio
import json
from time import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse
from starlette.routing import Route

from airflow_provider_finetune.emulator.errors import ApiError, json_body, model_not_found, parse
from airflow_provider_finetune.emulator.examples import tokens_of
from airflow_provider_finetune.emulator.identifiers import new_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_finetune.emulator.store import Store


class Ask(BaseModel):
    """What of a chat request matters here; temperature and the like are accepted and ignored."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    n: int | None = Field(default=None, ge=1, le=128)


async def complete(request: Request) -> Response:
    """Return the model's answer to the last user turn."""
    ask = parse(Ask, await json_body(request))
    if ask.stream:
        raise ApiError(400, "This server does not stream: leave 'stream' out.", param="stream")
    store: Store = request.app.state.store
    model = store.answering(ask.model)
    if model is None:
        raise store.settings.dialect.not_deployed(ask.model) if store.model(ask.model) else model_not_found(ask.model)
    reply = await asyncio.to_thread(model.reply, ask.messages)
    message = {"role": "assistant", "refusal": None, **json.loads(reply)}
    prompt_tokens, reply_tokens = tokens_of(json.dumps(ask.messages)), tokens_of(reply)
    return JSONResponse(
        {
            "id": new_id("chatcmpl-"),
            "object": "chat.completion",
            "created": int(time()),
            "model": model.name,
            "choices": [
                {
                    "index": i,
                    "message": message,
                    "logprobs": None,
                    "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                }
                for i in range(ask.n or 1)
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": reply_tokens,
                "total_tokens": prompt_tokens + reply_tokens,
            },
        }
    )


routes = [Route("/chat/completions", complete, methods=["POST"])]
