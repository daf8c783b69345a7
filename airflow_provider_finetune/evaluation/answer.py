"""An answer of a model to an example, and its grade: one line of the answers file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_finetune.evaluation.template import Sample


class NotAnAnswer(ValueError):
    """A line is whole, and something else than an answer: the file is another one than meant."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a model. The field names are the ones in the answers file.

    :ivar example: hash of the example.
    :ivar settings: hash of what else the request says: temperature, tokens at most …
    :ivar answer: the text; empty where there is none.
    :ivar tools: the tool calls.
    :ivar error: why the endpoint refused this example; None when it answered.
    :ivar latency: seconds from the request to the whole answer.
    :ivar grader: hash of the grader that gave the grade; None before the answer is graded.
    :ivar grade: None while there is none, or when the grader could give none.
    :ivar ungraded: why the grader could give none.
    :ivar judges: prompt and completion tokens of each model that was asked for the grade.
    :ivar run: the task that asked, for what it has spent.
    """

    example: str
    model: str
    conn_id: str
    settings: str
    answer: str = ""
    tools: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None
    latency: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    grader: str | None = None
    grade: float | None = None
    ungraded: str | None = None
    judges: dict[str, list[int]] = field(default_factory=dict)
    run: str = ""

    @property
    def sample(self) -> Sample:
        """The answer as graders see it."""
        return Sample(self.answer, self.tools)

    @property
    def is_empty(self) -> bool:
        """Whether the model said nothing, without an error."""
        return self.error is None and not self.answer.strip() and not self.tools

    def line(self) -> bytes:
        """Return the line for the answers file."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"


def read_answer(line: bytes) -> Answer | None:
    """Return the answer in a line; None for a torn one, which a worker left that died while it wrote.

    :raises NotAnAnswer: the line is whole, and no answer.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, Mapping) or not {"example", "model", "conn_id", "settings"} <= value.keys():
        raise NotAnAnswer("holds something else than answers")
    known = {name: value[name] for name in Answer.__dataclass_fields__ if name in value}
    return Answer(**known)
