"""Giving a grade: here, by a judge at an endpoint, in a process of its own, or by a callable of the user's."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.evaluation.example import digest, last_question
from airflow_provider_finetune.evaluation.grader import (
    LabelModel,
    Multi,
    Python,
    ScoreModel,
    TextSimilarity,
    has_cosine,
    judge_parts,
    needs_others,
)
from airflow_provider_finetune.evaluation.similarity import cosine
from airflow_provider_finetune.exceptions import InvalidRequest
from airflow_provider_finetune.hooks.python_grader import PythonGrader
from airflow_provider_finetune.hooks.traffic import Refused, as_text, said_by, used_by

if TYPE_CHECKING:
    from airflow_provider_finetune.evaluation.example import Example
    from airflow_provider_finetune.evaluation.grader import Grader
    from airflow_provider_finetune.evaluation.template import Sample
    from airflow_provider_finetune.hooks.traffic import EndpointTraffic

#: Times that a judge is asked for a number before the example stays without a grade.
TIMES_TO_ASK = 3
#: What the API's cosine metric embeds texts with.
EMBEDDING_MODEL = "text-embedding-3-large"


@dataclass
class Grade:
    """A grade, or why there is none, and the prompt and completion tokens of each model that was asked."""

    value: float | None = None
    why_none: str | None = None
    judges: dict[str, list[int]] = field(default_factory=dict)


class CallableGrader:
    """A function or a class by its import path, such as ``autoevals.JSONDiff``.

    It is called with the answer as ``output``, the reference as ``expected``, and, if it takes them, ``input`` (the
    last turn of the question), ``item`` and ``output_tools``; it returns a number, or something with a ``score``.

    :raises InvalidRequest: there is nothing to call.
    """

    lowest = 0.0

    def __init__(self, path: str) -> None:
        self.name = path
        self.sha256 = digest(path).hex()
        module, _, attribute = path.replace(":", ".").rpartition(".")
        try:
            found = getattr(import_module(module), attribute)
            self._call: Any = found() if inspect.isclass(found) else found
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InvalidRequest(f"grader is {path!r}, which cannot be loaded: {error}") from None
        if not callable(self._call):
            raise InvalidRequest(f"grader is {path!r}, which cannot be called")
        parameters = inspect.signature(self._call).parameters.values()
        self._takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        self._takes = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL}

    async def grade(self, example: Example, sample: Sample) -> float:
        """Return the grade.

        :raises ValueError: it gave none.
        """
        more: dict[str, Any] = {
            "input": last_question(example.question),
            "item": example.item,
            "output_tools": list(sample.output_tools),
        }
        if not self._takes_all:
            more = {name: value for name, value in more.items() if name in self._takes}
        elif "item" not in self._takes:  # whoever takes anything may hand it on to who does not
            more = {"input": more["input"]}
        try:
            found = await asyncio.to_thread(
                self._call, output=sample.output_text, expected=example.item.get("reference"), **more
            )
            if inspect.isawaitable(found):
                found = await found
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            raise ValueError(f"{self.name} raised {type(error).__name__}") from None
        score = found.get("score") if isinstance(found, Mapping) else getattr(found, "score", found)
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            raise ValueError(f"{self.name} gave no number")
        return float(score)


class Grading:
    """Gives the grades of one evaluation.

    :param judge: where judges and embeddings are asked; None when the grader needs none.
    :param embedding_model: for the metric ``cosine``.
    :param seconds: of CPU for a ``python`` grader, an example.
    :param megabytes: of memory for it.
    """

    def __init__(
        self,
        grader: Grader | CallableGrader,
        judge: EndpointTraffic | None = None,
        *,
        embedding_model: str = EMBEDDING_MODEL,
        seconds: int = 30,
        megabytes: int = 2048,
        processes: int = 2,
    ) -> None:
        self.grader = grader
        self._judge = judge
        self._embedding_model = embedding_model
        self._programs: dict[str, PythonGrader] = {}
        self._limits: dict[str, int] = {"seconds": seconds, "megabytes": megabytes, "processes": processes}

    async def grade(self, example: Example, sample: Sample) -> Grade:
        """Return the grade of an answer, or why the grader can give none.

        :raises FineTuningError: the judge cannot be asked at all.
        """
        grade = Grade()
        try:
            if isinstance(self.grader, CallableGrader):
                grade.value = await self.grader.grade(example, sample)
            else:
                grade.value = await self._grade(self.grader, example, sample, grade)
        except (ValueError, LookupError) as error:
            grade.why_none = str(error)
        return grade

    async def close(self) -> None:
        """End the processes of ``python`` graders."""
        for program in self._programs.values():
            await program.close()

    async def _grade(self, grader: Grader, example: Example, sample: Sample, used: Grade) -> float:
        match grader:
            case Multi():
                parts = {name: await self._grade(part, example, sample, used) for name, part in grader.graders.items()}
                return grader.formula.value(parts)
            case ScoreModel() | LabelModel():
                return await self._judged(grader, example, sample, used)
            case Python():
                if grader.source not in self._programs:
                    self._programs[grader.source] = PythonGrader(grader.source, **self._limits)
                return await self._programs[grader.source].grade(example.item, sample)
            case TextSimilarity(evaluation_metric="cosine"):
                return await self._cosine(*grader.texts(example.item, sample), used)
            case _:
                return grader.grade(example.item, sample)

    async def _judged(self, grader: ScoreModel | LabelModel, example: Example, sample: Sample, used: Grade) -> float:
        assert self._judge is not None
        body, why = {self._judge.most_tokens: grader.most_tokens, **grader.body(example.item, sample)}, ""
        for _ in range(TIMES_TO_ASK):
            try:
                answer, _ = await self._judge.chat(body, f"ask the judge {grader.model}")
            except Refused as refused:
                raise ValueError(f"the judge {grader.model} refused: HTTP {refused.fault.status}") from None
            _count(used, grader.model, answer)
            try:
                return grader.grade_of(as_text(said_by(answer)[0].get("content")))
            except ValueError as error:
                why = str(error)
        raise ValueError(why)

    async def _cosine(self, answer: str, reference: str, used: Grade) -> float:
        assert self._judge is not None
        if not answer.strip() or not reference.strip():  # the API embeds no empty text
            return float(answer == reference)
        body = {"model": self._embedding_model, "input": [answer, reference]}
        try:
            given, _ = await self._judge.post("/embeddings", body, f"ask the embedding model {self._embedding_model}")
            left, right = (row["embedding"] for row in given["data"])
        except Refused as refused:
            raise ValueError(f"the embedding model refused: HTTP {refused.fault.status}") from None
        except (LookupError, TypeError):
            raise ValueError("the embedding model gave no two embeddings") from None
        _count(used, self._embedding_model, given)
        return cosine(left, right)


def _count(used: Grade, model: str, answer: Mapping[str, Any]) -> None:
    before = used.judges.get(model, [0, 0])
    used.judges[model] = [a + b for a, b in zip(before, used_by(answer), strict=True)]


def asks_a_judge(grader: Grader | CallableGrader) -> bool:
    """Return whether a connection is needed to give grades."""
    if isinstance(grader, CallableGrader):
        return False
    return bool(judge_parts(grader)) or has_cosine(grader)


def takes_time(grader: Grader | CallableGrader) -> bool:
    """Return whether an answer is to be kept before its grade is there."""
    return isinstance(grader, CallableGrader) or needs_others(grader)
