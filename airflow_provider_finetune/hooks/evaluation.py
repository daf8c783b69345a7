"""Carrying out an evaluation: ask what is still to be asked, grade, keep each answer as soon as it is there."""

from __future__ import annotations

import asyncio
import time
from array import array
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.evaluation.answer import Answer
from airflow_provider_finetune.evaluation.budget import Budget, Overspent
from airflow_provider_finetune.evaluation.cost import most_tokens
from airflow_provider_finetune.evaluation.example import digest
from airflow_provider_finetune.evaluation.grader import has_cosine, judge_parts
from airflow_provider_finetune.evaluation.tally import Tally
from airflow_provider_finetune.exceptions import EvaluationError, InvalidRequest
from airflow_provider_finetune.hooks.grading import CallableGrader, Grading, asks_a_judge, takes_time
from airflow_provider_finetune.hooks.traffic import EndpointTraffic, Refused, as_text, said_by, used_by
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_provider_finetune.evaluation.cost import Prices
    from airflow_provider_finetune.evaluation.example import Example
    from airflow_provider_finetune.evaluation.grader import Grader
    from airflow_provider_finetune.evaluation.result import ModelToAsk
    from airflow_provider_finetune.hooks.answers import AnswersFile
    from airflow_provider_finetune.hooks.examples import Examples
    from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook

#: A model that refuses so many requests before it has answered one would refuse them all.
REFUSALS_FROM_THE_START = 5
#: A grader that gives no grade so often before it has given one would never give one.
UNGRADED_FROM_THE_START = 5


@dataclass(frozen=True)
class Asking:
    """How models are asked.

    :ivar temperature: None leaves it out, which reasoning models want.
    :ivar max_tokens: of an answer.
    :ivar extra_body: fields that only a compatible server knows.
    :ivar concurrency: requests at the same time.
    :ivar patience: seconds without any answer before the task gives up, for Airflow to retry it.
    :ivar max_cost: what this task may spend, over all its attempts.
    """

    temperature: float | None = 0.0
    max_tokens: int | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 16
    patience: float = 600.0
    max_cost: float | None = None
    progress_interval: float = 5.0

    @property
    def settings(self) -> str:
        """Hash of what decides on an answer beside the example and the model."""
        return digest([self.temperature, self.max_tokens, dict(self.extra_body)]).hex()


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done for one model and example.

    :ivar kept: where the answer stands that has no grade of this grader yet; None to ask.
    """

    model: int
    place: int
    example: Example
    kept: int | None


class Evaluation:
    """Asks models about examples and grades the answers.

    :param models: whom to ask.
    :param hooks: the hook of each connection that is needed.
    :param judge_conn_id: where judges are asked.
    :param run: names the task, for what it has spent in earlier attempts.
    :param tell: called every few seconds with how far it is.
    """

    def __init__(
        self,
        models: Sequence[ModelToAsk],
        examples: Examples,
        grader: Grader | CallableGrader,
        answers: AnswersFile,
        *,
        hooks: Mapping[str, FineTuningHook],
        asking: Asking,
        prices: Prices,
        judge_conn_id: str | None = None,
        grading: Mapping[str, Any] | None = None,
        run: str = "",
        tell: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.models, self.examples, self.grader = models, examples, grader
        self.tallies = [Tally(len(examples)) for _ in models]
        self.asked = [0] * len(models)
        judges = [] if isinstance(grader, CallableGrader) else judge_parts(grader)
        self.budget = Budget(prices, judges, max_tokens=asking.max_tokens, ceiling=asking.max_cost)
        self._answers = answers
        self._hooks, self._asking = hooks, asking
        self._judge_conn_id = judge_conn_id if asks_a_judge(grader) else None
        self._grading_options = dict(grading or {})
        self._run, self._tell = run, tell
        # Where an answer stands that has no grade of this grader yet; -1 where there is none.
        self._kept = [array("q", [-1]) * len(examples) for _ in models]
        self._withheld: list[list[tuple[int, Answer]]] = [[] for _ in models]
        self._has_answered = [False] * len(models)
        self._graded = self._ungraded = 0
        self._why_stopped: BaseException | None = None
        self._done_before = 0
        self._started = time.time()
        embedding = self._grading_options.get("embedding_model")
        is_embedded = not isinstance(grader, CallableGrader) and has_cosine(grader)
        self._grader_id = digest([grader.sha256, embedding]).hex() if is_embedded else grader.sha256
        self._traffic: dict[str, EndpointTraffic] = {}

    def read_answers(self) -> int:
        """Count the answers that are there already; return how many there are.

        :raises InvalidRequest: the file holds the answers to another dataset.
        """
        found = 0
        for number, offsets in enumerate(self._latest()):
            for place, offset in enumerate(offsets):
                if offset < 0:
                    continue
                found += 1
                answer = self._answers.at(offset)
                if self._run and answer.run == self._run:
                    self.budget.spent += self.budget.cost_of(answer)
                if answer.error is None and (answer.grader != self._grader_id or answer.grade is None):
                    self._kept[number][place] = offset
                else:
                    self._count(number, place, answer)
        return found

    def answers_at(self, places: set[int]) -> dict[tuple[int, int], Answer]:
        """Return the answers to some of the examples, by the number of the model and the place."""
        return {
            (number, place): self._answers.at(offsets[place])
            for number, offsets in enumerate(self._latest() if places else ())
            for place in places
            if offsets[place] >= 0
        }

    def _latest(self) -> list[array[int]]:
        """Return where the latest answer of each model to each example stands in the file; -1 where there is none."""
        numbers = {(model.model, model.conn_id): i for i, model in enumerate(self.models)}
        places, settings = self.examples.places, self._asking.settings
        latest = [array("q", [-1]) * len(places) for _ in self.models]
        others, known = 0, False
        for offset, answer in self._answers.read():
            place = places.get(_id(answer.example))
            if place is None:
                others += 1
                continue
            known = True
            number = numbers.get((answer.model, answer.conn_id))
            if number is not None and answer.settings == settings:
                latest[number][place] = offset
        if others and not known:
            raise InvalidRequest(
                f"answers is {shown(self._answers.path or '')}, which holds {counted(others, 'answer')} to another "
                "dataset and none to this one. Name another file, or the dataset that belongs to it."
            )
        return latest

    def to_ask(self, number: int) -> int:
        """Return how many examples a model is still to be asked."""
        return len(self.examples) - self.tallies[number].answered - sum(o >= 0 for o in self._kept[number])

    def most_cost(self) -> float | None:
        """Return what is still to be asked costs at most; None while a price or the tokens at most are missing."""
        n = len(self.examples)
        prompt = most_tokens(self.examples.prompt_bytes, self.examples.prompt_messages) / n
        item, total = self.examples.item_bytes / n, 0.0
        for number, model in enumerate(self.models):
            asking = self.budget.most(model.model, prompt)
            judging = self.budget.most_for_judges(item)
            if None in (asking, judging):
                return None
            to_ask = self.to_ask(number)
            to_grade = n - self.tallies[number].answered
            total += to_ask * cast("float", asking) + to_grade * cast("float", judging)
        return total

    async def run(self) -> None:
        """Ask and grade all that is still to be done.

        :raises FineTuningError: it cannot be finished now; all answers so far are kept.
        """
        async with AsyncExitStack() as stack:
            for conn_id in {model.conn_id for model in self.models} | {self._judge_conn_id} - {None}:
                assert conn_id is not None
                hook = self._hooks[conn_id]
                client = await hook.aget_conn()
                stack.push_async_callback(client.close)
                self._traffic[conn_id] = EndpointTraffic(
                    client,
                    hook.endpoint,
                    patience=self._asking.patience,
                    is_stopping=lambda: self._why_stopped is not None,
                )
            judge = self._traffic[self._judge_conn_id] if self._judge_conn_id else None
            self._grading = Grading(self.grader, judge, **self._grading_options)
            stack.push_async_callback(self._grading.close)
            self._done_before = sum(tally.answered for tally in self.tallies)
            ticking = asyncio.create_task(self._tick())
            try:
                await self._work_off()
            finally:
                ticking.cancel()
                await asyncio.gather(ticking, return_exceptions=True)
                await asyncio.to_thread(self._answers.store)
        if self._why_stopped is not None:
            raise self._why_stopped
        self._settle_withheld()

    async def _work_off(self) -> None:
        works = self._works()
        # One request to each model before all others: a model that is not there costs nothing but this.
        for number in range(len(self.models)):
            first = next(self._works(number), None)
            if first is not None and first.kept is None:
                await self._do(first)
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._asking.concurrency):
                workers.create_task(self._take_from(works))

    def _works(self, only: int | None = None) -> Iterator[_Work]:
        wanted = range(len(self.models)) if only is None else (only,)
        if all(self.tallies[number].answered == len(self.examples) for number in wanted):
            return
        for place, example in self.examples:
            for number in wanted:
                if not self.tallies[number].knows(place) and all(place != at for at, _ in self._withheld[number]):
                    kept = self._kept[number][place]
                    yield _Work(number, place, example, kept if kept >= 0 else None)

    async def _take_from(self, works: Iterator[_Work]) -> None:
        for work in works:
            if self._why_stopped is not None:
                return
            await self._do(work)

    async def _do(self, work: _Work) -> None:
        """Bring one example to its grade; what stops the whole evaluation lets the others finish what they do."""
        if self._why_stopped is not None or self.tallies[work.model].knows(work.place):
            return
        try:
            await self._answered_and_graded(work)
        except Exception as error:  # noqa: BLE001 - raised when all others are done
            self._why_stopped = self._why_stopped or error

    async def _answered_and_graded(self, work: _Work) -> None:
        if work.kept is not None:
            answer = self._answers.at(work.kept)
        else:
            answer = await self._ask(work)
            if answer.error is not None:
                self._refused(work, answer)
                return
            self._has_answered[work.model] = True
            if takes_time(self.grader):
                self._answers.append(answer)
        grade = await self._grading.grade(work.example, answer.sample)
        answer = replace(
            answer,
            grader=self._grader_id,
            grade=grade.value,
            ungraded=grade.why_none,
            judges=grade.judges,
        )
        self.budget.spent += self.budget.cost_of_judges(answer)
        self._answers.append(answer)
        self._count(work.model, work.place, answer)
        self._check_grader(grade.why_none)

    async def _ask(self, work: _Work) -> Answer:
        model = self.models[work.model]
        traffic = self._traffic[model.conn_id]
        body: dict[str, Any] = {"model": model.model, **work.example.question, **self._asking.extra_body}
        if self._asking.temperature is not None:
            body["temperature"] = self._asking.temperature
        if self._asking.max_tokens is not None:
            body[traffic.most_tokens] = self._asking.max_tokens
        answer = Answer(work.example.name, model.model, model.conn_id, self._asking.settings, run=self._run)
        prompt = most_tokens(work.example.prompt_bytes, len(work.example.question["messages"]))
        try:
            with self.budget.promised(self.budget.most(model.model, prompt) or 0.0):
                self.asked[work.model] += 1
                given, latency = await traffic.chat(body, f"ask model {model.model}")
        except Overspent as overspent:
            raise EvaluationError(
                f"{overspent} The answers so far are kept; raise max_cost and clear the task to go on."
            ) from None
        except Refused as refused:
            return replace(answer, error=refused.fault.explain("ask"))
        message, reason = said_by(given)
        prompt_tokens, completion_tokens = used_by(given)
        calls = message.get("tool_calls")
        answer = replace(
            answer,
            answer=as_text(message.get("content")),
            tools=calls if isinstance(calls, list) else [],
            finish_reason=reason,
            latency=round(latency, 4),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )
        self.budget.spent += self.budget.cost_of(answer)
        return answer

    def _refused(self, work: _Work, answer: Answer) -> None:
        """Keep a refusal, once the model has answered something: else it may be the settings that are refused."""
        withheld = self._withheld[work.model]
        withheld.append((work.place, answer))
        if self._has_answered[work.model]:
            self._release(work.model)
        elif len(withheld) >= REFUSALS_FROM_THE_START:
            raise _all_refused(answer, len(withheld))

    def _release(self, number: int) -> None:
        withheld, self._withheld[number] = self._withheld[number], []
        for place, answer in withheld:
            self._answers.append(answer)
            self._count(number, place, answer)

    def _settle_withheld(self) -> None:
        for number, withheld in enumerate(self._withheld):
            if withheld and not self._has_answered[number] and not self.tallies[number].answered:
                raise _all_refused(withheld[0][1], len(withheld))
            self._release(number)

    def _check_grader(self, why_none: str | None) -> None:
        if why_none is None:
            self._graded += 1
            return
        self._ungraded += 1
        if not self._graded and self._ungraded >= min(UNGRADED_FROM_THE_START, len(self.examples)):
            raise EvaluationError(
                f"The grader gave no grade for the first {counted(self._ungraded, 'answer')}: {why_none}. The "
                "answers are kept and are not asked for again; mend the grader and clear the task."
            )

    def _count(self, number: int, place: int, answer: Answer) -> None:
        self.tallies[number].add(place, answer, self.grader.lowest)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._asking.progress_interval)
            await asyncio.to_thread(self._answers.store)
            self._tell(self.progress())

    def progress(self) -> dict[str, Any]:
        """Return how far it is, as small plain JSON."""
        done = sum(tally.answered for tally in self.tallies)
        total, now = len(self.models) * len(self.examples), time.time()
        new = done - self._done_before
        left = (now - self._started) / new * (total - done) if new else None
        return {
            "status": "succeeded" if done == total else "running",
            "estimated_finish": None if left is None else int(now + left),
            "step": done,
            "total_steps": total,
            "asked": sum(self.asked),
            "errors": sum(tally.errors for tally in self.tallies),
            "spent": round(self.budget.spent, 6),
        }


def _id(name: object) -> bytes:
    try:
        return bytes.fromhex(str(name))
    except ValueError:
        return b""


def _all_refused(answer: Answer, count: int) -> EvaluationError:
    return EvaluationError(
        f"The model {answer.model} refused all of the first {count} requests, so it would refuse the others: "
        f"{answer.error} Check temperature, max_tokens and extra_body: some models take none of them."
    )
