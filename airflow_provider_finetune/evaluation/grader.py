"""The API's grader objects: their shapes, what they need of an example, and the grades of those that need no model.

https://platform.openai.com/docs/guides/graders. Other fields than the known ones pass, and are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, field_validator, model_validator

from airflow_provider_finetune.evaluation.example import digest
from airflow_provider_finetune.evaluation.formula import Formula
from airflow_provider_finetune.evaluation.similarity import COSINE, metric
from airflow_provider_finetune.evaluation.template import Sample, check_template, render, variables

if TYPE_CHECKING:
    from collections.abc import Iterator


def _checked(template: str) -> str:
    check_template(template)
    return template


#: What a judge's answer takes at most, unless its sampling_params say otherwise; reasoning needs room.
TOKENS_OF_A_VERDICT = 4096
_MOST_TOKENS = "max_completions_tokens"  # as the API spells it
Template = Annotated[str, AfterValidator(_checked)]


class _Grader(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=(), ignored_types=(cached_property,))

    name: str = ""

    @property
    def templates(self) -> Iterator[str]:
        """The templates that are filled in for each example."""
        yield from ()

    @property
    def parts(self) -> Mapping[str, Grader]:
        """The graders inside, by name; a single grader has none."""
        return {}

    @property
    def lowest(self) -> float:
        """The grade of a request that was refused: the lowest there is."""
        return 0.0

    @cached_property
    def sha256(self) -> str:
        """Hash of all that decides on a grade."""
        return digest(self.model_dump(exclude={"name"})).hex()

    def fields(self) -> set[str]:
        """Return which fields of a line the templates use, as paths."""
        used = {".".join(path) for text in self.templates for root, path in variables(text) if root == "item"}
        return used.union(*(part.fields() for part in self.parts.values()))


class StringCheck(_Grader):
    """Right or wrong: the answer is the reference, is not, or contains it."""

    type: Literal["string_check"]
    input: Template
    reference: Template
    operation: Literal["eq", "ne", "like", "ilike"]

    @property
    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)

    def grade(self, item: Mapping[str, Any], sample: Sample) -> float:
        """Return 1 or 0."""
        given, wanted = render(self.input, item, sample), render(self.reference, item, sample)
        match self.operation:
            case "eq":
                return float(given == wanted)
            case "ne":
                return float(given != wanted)
            case "like":
                return float(wanted in given)
            case "ilike":
                return float(wanted.casefold() in given.casefold())


class TextSimilarity(_Grader):
    """How alike answer and reference are, 0 to 1."""

    type: Literal["text_similarity"]
    input: Template
    reference: Template
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip

    @property
    def templates(self) -> Iterator[str]:
        yield from (self.input, self.reference)

    def texts(self, item: Mapping[str, Any], sample: Sample) -> tuple[str, str]:
        """Return the two texts to compare."""
        return render(self.input, item, sample), render(self.reference, item, sample)

    def grade(self, item: Mapping[str, Any], sample: Sample) -> float:
        """Return the similarity.

        :raises MetricUnavailable: see :func:`.similarity.metric`.
        """
        return metric(self.evaluation_metric)(*self.texts(item, sample))


class Python(_Grader):
    """A program that defines ``grade(sample, item)`` and returns a number."""

    type: Literal["python"]
    source: str

    @field_validator("source")
    @classmethod
    def _compiles(cls, source: str) -> str:
        try:
            compile(source, "grader.py", "exec")
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"source is no Python: {error}") from None
        if "def grade(" not in source:
            raise ValueError("source defines no function grade(sample, item)")
        return source


class _Judging(_Grader):
    """A grader that asks a model."""

    model: str
    input: list[dict[str, Any]] = Field(min_length=1)
    sampling_params: dict[str, Any] | None = None

    @property
    def templates(self) -> Iterator[str]:
        for message in self.input:
            yield from _texts(message.get("content"))

    @property
    def most_tokens(self) -> int:
        """Tokens of the judge's answer at most."""
        most = (self.sampling_params or {}).get(_MOST_TOKENS)
        return most if isinstance(most, int) else TOKENS_OF_A_VERDICT

    @field_validator("input")
    @classmethod
    def _templates_are_known(cls, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for message in messages:
            if message.get("role") not in ("system", "developer", "user", "assistant"):
                raise ValueError("each message of input needs a role: system, developer, user or assistant")
            for text in _texts(message.get("content")):
                check_template(text)
        return messages

    def body(self, item: Mapping[str, Any], sample: Sample) -> dict[str, Any]:
        """Return the chat request to the judge, but for :attr:`most_tokens`, whose name depends on the endpoint."""
        messages = [
            {"role": message["role"], "content": _filled(message.get("content"), item, sample)}
            for message in self.input
        ]
        asked = {"role": "system", "content": self._instruction()}
        sampling = self.sampling_params or {}
        form = {"type": "json_schema", "json_schema": {"name": "grade", "strict": True, "schema": self._schema()}}
        return {
            "model": self.model,
            "messages": [asked, *messages],
            "response_format": form,
            **{key: value for key, value in sampling.items() if value is not None and key != _MOST_TOKENS},
        }

    def _instruction(self) -> str:
        raise NotImplementedError

    def _schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def grade_of(self, said: str) -> float:
        """Return the grade in the judge's answer.

        :raises ValueError: it has none.
        """
        raise NotImplementedError


class ScoreModel(_Judging):
    """A judge that gives a number."""

    type: Literal["score_model"]
    range: tuple[float, float] = (0.0, 1.0)

    @model_validator(mode="after")
    def _range_rises(self) -> ScoreModel:
        if not self.range[0] < self.range[1]:
            raise ValueError("range must be two numbers, the lower one first")
        return self

    @property
    def lowest(self) -> float:
        return self.range[0]

    def _instruction(self) -> str:
        low, high = self.range
        return f'Answer with JSON only: {{"result": <a number from {low:g} to {high:g}>}}.'

    def _schema(self) -> dict[str, Any]:
        return _object("result", {"type": "number"})

    def grade_of(self, said: str) -> float:
        found = _result(said)
        if isinstance(found, str):
            try:
                found = float(found)
            except ValueError:
                found = None
        low, high = self.range
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high:
            raise ValueError(f"the judge {self.model} answered no number from {low:g} to {high:g}")
        return float(found)


class LabelModel(_Judging):
    """A judge that gives a label; the passing ones are 1, the others 0."""

    type: Literal["label_model"]
    labels: list[str] = Field(min_length=1)
    passing_labels: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _passing_are_labels(self) -> LabelModel:
        if unknown := set(self.passing_labels) - set(self.labels):
            raise ValueError(f"passing_labels has {', '.join(sorted(unknown))}, which labels has not")
        return self

    def _instruction(self) -> str:
        return f'Answer with JSON only: {{"result": <one of {json.dumps(self.labels, ensure_ascii=False)}>}}.'

    def _schema(self) -> dict[str, Any]:
        return _object("result", {"type": "string", "enum": self.labels})

    def grade_of(self, said: str) -> float:
        found = _result(said)
        if found not in self.labels:
            raise ValueError(f"the judge {self.model} answered none of the labels")
        return float(found in self.passing_labels)


class Multi(_Grader):
    """Several graders and a formula over their grades."""

    type: Literal["multi"]
    graders: dict[str, Grader]
    calculate_output: str

    @field_validator("graders", mode="before")
    @classmethod
    def _by_name(cls, graders: Any) -> Any:
        # The API takes them by name; the SDK's type has a single one, which is known by its own.
        if isinstance(graders, Mapping) and isinstance(graders.get("type"), str):
            graders = [graders]
        if isinstance(graders, (list, tuple)):
            return {str(grader.get("name", "")): grader for grader in graders if isinstance(grader, Mapping)}
        return graders

    @model_validator(mode="after")
    def _formula_is_one(self) -> Multi:
        if not self.graders:
            raise ValueError("graders is empty")
        if any(isinstance(part, Multi) for part in self.graders.values()):
            raise ValueError("a multi grader cannot be inside another one")
        _ = self.formula
        return self

    @cached_property
    def formula(self) -> Formula:
        """The formula, checked."""
        return Formula(self.calculate_output, self.graders)

    @property
    def parts(self) -> Mapping[str, Grader]:
        return self.graders

    @property
    def lowest(self) -> float:
        try:
            return self.formula.value({name: part.lowest for name, part in self.graders.items()})
        except ValueError:
            return 0.0


Grader = Annotated[StringCheck | TextSimilarity | Python | ScoreModel | LabelModel | Multi, Field(discriminator="type")]
Multi.model_rebuild()
_GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)
TYPES = ("string_check", "text_similarity", "score_model", "label_model", "python", "multi")


def read_grader(value: Mapping[str, Any]) -> Grader:
    """Return the checked grader.

    :param value: the API's grader object.
    :raises pydantic.ValidationError: it is none; a ``ValueError``.
    """
    return _GRADER.validate_python(value)


def judge_parts(grader: Grader) -> list[ScoreModel | LabelModel]:
    """Return the graders that ask a model."""
    own = [grader] if isinstance(grader, (ScoreModel, LabelModel)) else []
    return own + [found for part in grader.parts.values() for found in judge_parts(part)]


def has_cosine(grader: Grader) -> bool:
    """Return whether texts have to be embedded."""
    is_cosine = isinstance(grader, TextSimilarity) and grader.evaluation_metric == COSINE
    return is_cosine or any(map(has_cosine, grader.parts.values()))


def needs_others(grader: Grader) -> bool:
    """Return whether a grade takes more than this process: a judge, an embedding, a process of its own."""
    return has_cosine(grader) or has_python(grader) or bool(judge_parts(grader))


def has_python(grader: Grader) -> bool:
    """Return whether a program is part of the grader."""
    return isinstance(grader, Python) or any(map(has_python, grader.parts.values()))


def _object(name: str, kind: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: kind}, "required": [name], "additionalProperties": False}


def _result(said: str) -> Any:
    """Return the result in an answer: in JSON, in a code block of JSON, or bare."""
    text = said.strip().removeprefix("```json").strip("`").strip()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value.get("result") if isinstance(value, Mapping) else value


def _texts(content: Any) -> Iterator[str]:
    match content:
        case str():
            yield content
        case Mapping():
            yield from _texts(content.get("text"))
        case list() | tuple():
            for part in content:
                yield from _texts(part)


def _filled(content: Any, item: Mapping[str, Any], sample: Sample) -> Any:
    """Return a content of the Responses API as one of the chat API, its templates filled in."""
    match content:
        case str():
            return render(content, item, sample)
        case {"type": "input_image", "image_url": url, **more}:
            return [
                {"type": "image_url", "image_url": {"url": url, **{k: v for k, v in more.items() if k == "detail"}}}
            ]
        case Mapping():
            return [{"type": "text", "text": render(str(content.get("text", "")), item, sample)}]
        case list() | tuple():
            parts = [_filled(part, item, sample) for part in content]
            return [
                inner
                for part in parts
                for inner in (part if isinstance(part, list) else [{"type": "text", "text": part}])
            ]
    return ""
