"""Runs in LiteLLM's own environment: makes the calls that its routes of jobs make once a licence is there.

Reads `[function, arguments]` as JSON, one a line. Answers each with a line: the job, or what the routes would answer
instead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import litellm
from litellm.proxy.utils import handle_exception_on_proxy


async def call(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = await getattr(litellm, function)(**arguments)
    except Exception as e:  # noqa: BLE001 - as the routes do
        error = handle_exception_on_proxy(e)
        return {"status": int(error.code), "error": error.to_dict()}
    return {"status": 200, "job": answer.model_dump(mode="json")}


async def main() -> None:
    for line in sys.stdin:
        print(json.dumps(await call(*json.loads(line))), flush=True)


logging.disable()
asyncio.run(main())
