"""Graders of the reinforcement method: their shapes, and the reward they give to an answer.

`string_check`, `text_similarity` and `multi` are graded by the code of evaluations. A `python`, `score_model` or
`lambda` grader is not run: it is approximated by the F1 of the words shared with the row's first reference field. So is
a metric whose library, data or model is not here, and a field that a row lacks is empty.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_finetune.evaluation.formula import Formula
from airflow_provider_finetune.evaluation.similarity import COSINE, MetricUnavailable, metric
from airflow_provider_finetune.evaluation.template import Missing, Sample
from airflow_provider_finetune.evaluation.template import render as filled

if TYPE_CHECKING:
    from collections.abc import Callable


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def similarity(left: str, right: str) -> float:
    """Return the F1 of the words that two texts share, 0 to 1."""
    ours, theirs = _words(left), _words(right)
    if not ours or not theirs:
        return float(left == right)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def render(template: str, item: dict[str, Any], output: str) -> str:
    """Return the template with its variables filled in; empty where the row lacks a field."""
    try:
        return filled(template, item, Sample(output))
    except (Missing, ValueError):
        return ""


def first_reference(item: dict[str, Any]) -> str:
    """Return the first field of a row beside its messages, as text; empty when there is none."""
    return next((str(v) for k, v in item.items() if k not in ("messages", "tools")), "")


class StringCheck(BaseModel):
    type: Literal["string_check"]
    name: str
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]

    def reference_of(self, item: dict[str, Any]) -> str:
        return render(self.reference, item, "")

    def reward(self, item: dict[str, Any], output: str) -> float:
        given, wanted = render(self.input, item, output), self.reference_of(item)
        return float(
            {
                "eq": given == wanted,
                "ne": given != wanted,
                "like": wanted in given,
                "ilike": wanted.lower() in given.lower(),
            }[self.operation]
        )


class TextSimilarity(BaseModel):
    type: Literal["text_similarity"]
    name: str
    input: str
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip

    def reference_of(self, item: dict[str, Any]) -> str:
        return render(self.reference, item, "")

    def reward(self, item: dict[str, Any], output: str) -> float:
        return self.measure(render(self.input, item, output), self.reference_of(item))

    @property
    def measure(self) -> Callable[[str, str], float]:
        """The metric, or what stands in for it."""
        try:
            return similarity if self.evaluation_metric == COSINE else metric(self.evaluation_metric)
        except MetricUnavailable:
            return similarity


class _Approximated(BaseModel):
    """A grader whose verdict needs code or a model that is not here."""

    model_config = ConfigDict(extra="allow")

    def reference_of(self, item: dict[str, Any]) -> str:
        return first_reference(item)

    def reward(self, item: dict[str, Any], output: str) -> float:
        return similarity(output, first_reference(item))


class Python(_Approximated):
    type: Literal["python"]
    name: str
    source: str


class ScoreModel(_Approximated):
    type: Literal["score_model"]
    name: str
    model: str
    input: list[Any]


class Lambda(_Approximated):
    """A function in the cloud; `lambda` says which."""

    type: Literal["lambda"]


class Multi(BaseModel):
    type: Literal["multi"]
    name: str
    graders: dict[str, Grader] | Grader
    calculate_output: str

    @property
    def parts(self) -> list[Grader]:
        """The graders whose rewards the formula joins."""
        return list(self.graders.values()) if isinstance(self.graders, dict) else [self.graders]

    @property
    def _by_name(self) -> dict[str, Grader]:
        return self.graders if isinstance(self.graders, dict) else {getattr(self.graders, "name", ""): self.graders}

    def reference_of(self, item: dict[str, Any]) -> str:
        return self.parts[0].reference_of(item)

    def reward(self, item: dict[str, Any], output: str) -> float:
        rewards = {name: part.reward(item, output) for name, part in self._by_name.items()}
        try:
            return Formula(self.calculate_output, rewards).value(rewards)
        except ValueError:  # such as a division by zero
            return 0.0


Grader = Annotated[StringCheck | TextSimilarity | Python | ScoreModel | Lambda | Multi, Field(discriminator="type")]
Multi.model_rebuild()


def approximated(grader: Grader) -> list[str]:
    """Return the types of the graders in here whose verdict is only approximated."""
    if isinstance(grader, Multi):
        return [name for part in grader.parts for name in approximated(part)]
    if isinstance(grader, TextSimilarity) and grader.measure is similarity:
        return [f"{grader.type} ({grader.evaluation_metric})"]
    return [grader.type] if isinstance(grader, _Approximated) else []
