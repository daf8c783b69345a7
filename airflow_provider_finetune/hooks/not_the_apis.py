"""The error for an answer that is none."""

from __future__ import annotations

from typing import Any, cast

import openai


class NotTheApis(openai.APIError):
    """The answer is not the API's. The SDK hands on, or chokes on, whatever a proxy or a wrong base URL says."""

    def __init__(self, answer: str = "the answer is not JSON") -> None:
        super().__init__(f"{answer} as the API describes it", request=cast("Any", None), body=None)
