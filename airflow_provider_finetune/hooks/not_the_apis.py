"""The error for an answer that is none: not what the API describes, or not about what was asked."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import openai

from airflow_provider_finetune.jobs.keys import LONGEST_CODE, without_keys
from airflow_provider_finetune.jobs.payload import name

Answer = TypeVar("Answer")


class NotTheApis(openai.APIError):
    """The answer is not the API's. The SDK hands on, or chokes on, whatever a proxy or a wrong base URL says."""

    def __init__(self, answer: str = "the answer is not JSON") -> None:
        super().__init__(f"{answer} as the API describes it", request=cast("Any", None), body=None)


def not_the_apis() -> openai.APIError:
    """Return the error for an answer that is not the API's, which the SDK itself takes for one."""
    return NotTheApis()


def about_it(answer: Answer, wanted: str) -> Answer:
    """Return the answer to a question about one object, an object with an ``id``, if it is about that.

    :raises openai.APIError: it is about another one, or does not say about which.
    """
    if not isinstance(answer, openai.BaseModel) and not hasattr(answer, "id"):
        raise NotTheApis()
    if (found := name(getattr(answer, "id", None))) != wanted:
        about = without_keys(found, LONGEST_CODE, (wanted,)) if found else "nothing that has an id"
        raise NotTheApis(f"the answer is about {about}, which was not asked for, and is none")
    return answer
