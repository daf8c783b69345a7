"""Graders of the reinforcement method: their shapes, and the reward they give to an answer.

`string_check` is exact and `text_similarity` is the F1 of shared words whatever its metric. A `python`,
`score_model` or `lambda` grader is not run: it is approximated by the similarity to the row's first reference field,
and a `multi` grader by the mean of its parts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_TEMPLATE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def similarity(left: str, right: str) -> float:
    """F1 of the words that two texts share, 0 to 1."""
    ours, theirs = _words(left), _words(right)
    if not ours or not theirs:
        return float(left == right)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def render(template: str, item: dict[str, Any], output: str) -> str:
    """The template with `{{item.field}}` taken from the row and anything of `{{sample...}}` from the answer."""

    def value(match: re.Match[str]) -> str:
        root, *path = match[1].split(".")
        if root == "sample":
            return output
        found: Any = item
        for name in path:
            found = found.get(name, "") if isinstance(found, dict) else ""
        return str(found)

    return _TEMPLATE.sub(value, template)


def first_reference(item: dict[str, Any]) -> str:
    """The first field of a row beside its messages, as text; empty when there is none."""
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
        return similarity(render(self.input, item, output), self.reference_of(item))


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
        """The graders whose mean is the reward."""
        return list(self.graders.values()) if isinstance(self.graders, dict) else [self.graders]

    def reference_of(self, item: dict[str, Any]) -> str:
        return self.parts[0].reference_of(item)

    def reward(self, item: dict[str, Any], output: str) -> float:
        return sum(part.reward(item, output) for part in self.parts) / len(self.parts)


Grader = Annotated[StringCheck | TextSimilarity | Python | ScoreModel | Lambda | Multi, Field(discriminator="type")]
Multi.model_rebuild()


def approximated(grader: Grader) -> list[str]:
    """The types of the graders in here whose verdict is only approximated."""
    if isinstance(grader, Multi):
        return ["multi", *(name for part in grader.parts for name in approximated(part))]
    return [grader.type] if isinstance(grader, _Approximated) else []
