"""Measuring models on the same examples, and comparing them with the one in use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ValidationError

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.arguments import as_invalid_request, number, optional, required, seconds
from airflow_provider_finetune.exceptions import EvaluationError, InvalidRequest
from airflow_provider_finetune.jobs.payload import storable
from airflow_provider_finetune.jobs.request import explain, is_templated, plain
from airflow_provider_finetune.links import EvaluationLink, push_page_link
from airflow_provider_finetune.operators.addressed import AddressedOperator, without_secrets
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_finetune.evaluation.cost import Prices
    from airflow_provider_finetune.evaluation.grader import Grader
    from airflow_provider_finetune.evaluation.result import ModelToAsk
    from airflow_provider_finetune.hooks.answers import AnswersFile
    from airflow_provider_finetune.hooks.evaluation import Evaluation
    from airflow_provider_finetune.hooks.examples import Examples
    from airflow_provider_finetune.hooks.grading import CallableGrader

_GRADERS = ("string_check", "text_similarity", "score_model", "label_model", "python", "multi")


class EvaluateModelOperator(AddressedOperator):
    """Asks models about the same examples, grades the answers, and compares each model with the baseline.

    **Each answer costs what the endpoint charges for it.** It is kept as soon as it is there, so that neither a retry
    nor another evaluation with the same ``answers`` asks for it again.

    Returns the scores and comparisons as small plain JSON without a word of any example. Pushes ``progress`` while it
    runs, and ``markdown``, the scores for people.

    :param models: whom to ask (templated): a name; a mapping with ``model`` and, if it is asked elsewhere,
        ``conn_id``; the outcome of the sensor, which stands for the final model and every checkpoint; or a list of
        these.
    :param dataset: JSON Lines, a local path or a URL that ``ObjectStoragePath`` opens (templated). In chat form, the
        last reply of the assistant is the reference; in the form of reinforcement, the fields beside the messages are.
    :param grader: the API's grader object, as a mapping or as the SDK's type (``openai.types.graders``): string_check,
        text_similarity, score_model, label_model, python or multi; or the import path of a callable, such as
        ``"autoevals.JSONDiff"``. Its braces are the API's: Airflow does not render it.
    :param baseline: the model to compare with, in the form of one of ``models`` (templated); None, also from a
        template, compares with none.
    :param answers: where answers and grades are kept, JSON Lines, a local path or a URL (templated). Without it, a task
        that dies pays for its answers again, and there is no report.
    :param report: where the report goes, one HTML file (templated); beside the answers by default.
    :param training_file: the file that the models were trained on, or a list of such files (templated): examples whose
        prompt is in there are refused.
    :param allow_overlap: evaluate on what was trained on all the same.
    :param max_examples: draw so many examples (templated); the same ones for the same ``seed`` and dataset.
    :param seed: for that (templated).
    :param temperature: of the answers; None leaves it out, which reasoning models want (templated).
    :param max_tokens: of an answer (templated).
    :param extra_body: fields that only a compatible server knows (templated).
    :param prices: for a million tokens, in any currency: ``{"prompt": 0.4, "completion": 1.6}`` for all models, or such
        a mapping by the name of the model (templated).
    :param max_cost: fail before the first request when the answers may cost more, and stop when they do, in the same
        currency (templated); needs ``prices`` and ``max_tokens``.
    :param confidence: of the intervals, 0 to 1.
    :param concurrency: requests at the same time.
    :param patience: seconds, or a timedelta, without any answer from the endpoint before the task fails, for a retry to
        go on from there.
    :param allow_python: run a ``python`` grader, in a process of its own.
    :param grader_seconds: of CPU for it, an example.
    :param grader_memory_mb: of memory for it.
    :param judge_conn_id: the Airflow connection of the judge of ``score_model`` and ``label_model``, and of the
        embeddings for ``cosine`` (templated); ``conn_id`` by default.
    :param embedding_model: for ``cosine`` (templated).
    :param storage_conn_id: the Airflow connection of the object storage (templated).
    :param conn_id: the Airflow connection of the endpoint, of type ``openai`` (templated).
    :raises InvalidRequest: an argument is bad. Literal ones are refused when the DAG is parsed.
    :raises DatasetError: the dataset cannot be asked or graded, or was trained on.
    :raises EvaluationError: it costs too much, or the grader gives no grades.
    :raises FineTuningError: see :mod:`airflow_provider_finetune.exceptions`; a retry goes on with the answers so far.
    """

    template_fields: Sequence[str] = (
        "models",
        "dataset",
        "baseline",
        "answers",
        "report",
        "training_file",
        "max_examples",
        "seed",
        "temperature",
        "max_tokens",
        "extra_body",
        "prices",
        "max_cost",
        "judge_conn_id",
        "embedding_model",
        "storage_conn_id",
        "conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("models", "extra_body", "prices"), "json")
    addresses = ("dataset", "answers", "report", "training_file")
    operator_extra_links = (EvaluationLink(),)
    ui_color = "#dae8fc"

    def __init__(
        self,
        *,
        models: Any,
        dataset: str,
        grader: BaseModel | Mapping[str, Any] | str,
        baseline: Any = None,
        answers: str | None = None,
        report: str | None = None,
        training_file: str | Sequence[str] | None = None,
        allow_overlap: bool = False,
        max_examples: int | str | None = None,
        seed: int | str = 0,
        temperature: float | str | None = 0.0,
        max_tokens: int | str | None = None,
        extra_body: dict[str, Any] | None = None,
        prices: dict[str, Any] | None = None,
        max_cost: float | str | None = None,
        confidence: float = 0.95,
        concurrency: int = 16,
        patience: float | timedelta = 600,
        allow_python: bool = False,
        grader_seconds: int = 30,
        grader_memory_mb: int = 2048,
        judge_conn_id: str | None = None,
        embedding_model: str = "text-embedding-3-large",
        storage_conn_id: str | None = None,
        conn_id: str = "openai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.models = models
        self.dataset = dataset
        self.grader = plain(grader)
        self.baseline = baseline
        self.answers = answers
        self.report = report
        self.training_file = training_file
        self.allow_overlap = allow_overlap
        self.max_examples = max_examples
        self.seed = seed
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.extra_body = extra_body
        self.prices = prices
        self.max_cost = max_cost
        number("confidence", confidence, least=0.5, most=0.9999)
        self.confidence = confidence
        number("concurrency", concurrency, least=1, most=1000, whole=True)
        self.concurrency = concurrency
        self.patience = seconds("patience", patience)
        self.allow_python = allow_python
        number("grader_seconds", grader_seconds, least=1, whole=True)
        self.grader_seconds = grader_seconds
        number("grader_memory_mb", grader_memory_mb, least=64, whole=True)
        self.grader_memory_mb = grader_memory_mb
        self.judge_conn_id = judge_conn_id
        self.embedding_model = embedding_model
        self.storage_conn_id = storage_conn_id
        self.conn_id = conn_id
        self._check_grader_type()
        self._numbers(rendered=False)
        if max_cost is not None and (prices is None or max_tokens is None):
            raise InvalidRequest("max_cost is given without prices and max_tokens: what answers cost is unknown")
        self._limited = max_cost is not None, max_examples is not None
        self._answers_file: AnswersFile | None = None

    @without_secrets
    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, grade, compare; return the result."""
        from airflow_provider_finetune.evaluation.report import markdown
        from airflow_provider_finetune.evaluation.result import result
        from airflow_provider_finetune.hooks.answers import AnswersFile
        from airflow_provider_finetune.hooks.evaluation import Asking, Evaluation
        from airflow_provider_finetune.hooks.evaluation_report import write_report
        from airflow_provider_finetune.hooks.fine_tuning import FineTuningHook
        from airflow_provider_finetune.operators.models_to_ask import with_baseline

        push_page_link(context["ti"], EvaluationLink())
        numbers = self._numbers(rendered=True)
        if self._limited != (numbers["max_cost"] is not None, numbers["max_examples"] is not None):
            raise InvalidRequest("max_cost or max_examples rendered to nothing, and would limit nothing")
        models, candidates, baseline = with_baseline(self.models, self.baseline, self.conn_id)
        grader = self._read_grader()
        prices = self._prices(models, grader)
        conn_ids = {model.conn_id for model in models} | {self._judge()}
        hooks = {conn_id: FineTuningHook(conn_id=conn_id) for conn_id in conn_ids}
        examples = self._examples(grader, numbers)
        path = optional(self.answers)
        answers = self._answers_file = AnswersFile(path, self.storage_conn_id)
        try:
            evaluation = Evaluation(
                models,
                examples,
                grader,
                answers,
                hooks=hooks,
                asking=Asking(
                    temperature=numbers["temperature"],
                    max_tokens=_whole(numbers["max_tokens"]),
                    extra_body=dict(self.extra_body or {}),
                    concurrency=self.concurrency,
                    patience=self.patience,
                    max_cost=numbers["max_cost"],
                ),
                prices=prices,
                judge_conn_id=self._judge(),
                grading={
                    "embedding_model": self.embedding_model,
                    "seconds": self.grader_seconds,
                    "megabytes": self.grader_memory_mb,
                },
                run=_run_of(context),
                tell=lambda progress: self._tell(context, progress),
            )
            self._plan(evaluation, evaluation.read_answers())
            asyncio.run(evaluation.run())
            self._tell(context, evaluation.progress())
            report = _beside(path, optional(self.report))
            found: dict[str, Any] = storable(
                result(
                    models,
                    evaluation.tallies,
                    baseline,
                    candidates,
                    lines=examples.lines,
                    prices=prices,
                    confidence=self.confidence,
                    dataset=examples.as_json(),
                    grader={"type": getattr(grader, "type", "callable"), "name": grader.name, "sha256": grader.sha256},
                    answers=path and shown(path),
                    report=report and shown(report),
                )
            )
            if report is not None:
                write_report(
                    report,
                    evaluation,
                    found,
                    candidates=candidates,
                    baseline=baseline,
                    storage_conn_id=self.storage_conn_id,
                )
            text = markdown(found)
            self.log.info("The result:\n%s", text)
            context["ti"].xcom_push(key="markdown", value=text)
            return found
        finally:
            answers.close()
            examples.close()

    def on_kill(self) -> None:
        """Bring the answers so far to object storage; a local file has them already."""
        if self._answers_file is not None:
            self._answers_file.store()

    def _plan(self, evaluation: Evaluation, kept: int) -> None:
        """Say what will be done, and refuse what may cost too much."""
        to_ask = [evaluation.to_ask(i) for i in range(len(evaluation.models))]
        self.log.info(
            "%s, %s; answers that are there already: %s, to be asked for: %s",
            counted(len(evaluation.examples), "example"), counted(len(evaluation.models), "model"), kept, sum(to_ask),
        )  # fmt: skip
        most, ceiling = evaluation.most_cost(), number("max_cost", self.max_cost)
        if most is not None:
            self.log.info("They cost at most %.4f", most)
        spent = evaluation.budget.spent
        if ceiling is not None and most is not None and spent + most > ceiling:
            raise EvaluationError(
                f"The answers may cost {most:,.4f}, and {spent:,.4f} was spent already; expected at most "
                f"max_cost {ceiling:,.4f}. Use max_examples, a lower max_tokens, fewer models, or raise max_cost."
            )

    def _tell(self, context: Context, progress: dict[str, Any]) -> None:
        self.log.info("%s of %s answers; %s refused", progress["step"], progress["total_steps"], progress["errors"])
        context["ti"].xcom_push(key="progress", value=storable(progress))

    def _examples(self, grader: Any, numbers: Mapping[str, float | None]) -> Examples:
        from airflow_provider_finetune.hooks.examples import read_examples

        given = [self.training_file] if isinstance(self.training_file, str) else self.training_file or ()
        return read_examples(
            required("dataset", self.dataset),
            storage_conn_id=self.storage_conn_id,
            fields=sorted(grader.fields()) if hasattr(grader, "fields") else (),
            training=[] if self.allow_overlap else [file for one in given if (file := optional(str(one)))],
            max_examples=_whole(numbers["max_examples"]),
            seed=_whole(numbers["seed"]) or 0,
        )

    def _read_grader(self) -> Any:
        from airflow_provider_finetune.evaluation.grader import TextSimilarity, has_python, read_grader
        from airflow_provider_finetune.evaluation.similarity import COSINE, metric
        from airflow_provider_finetune.hooks.grading import CallableGrader

        if isinstance(self.grader, str):
            return CallableGrader(self.grader)
        try:
            grader = read_grader(self.grader)
        except ValidationError as error:
            raise InvalidRequest(f"grader is not valid:\n{explain(error, inside=('grader',))}") from None
        if has_python(grader) and not self.allow_python:
            raise InvalidRequest(_PYTHON)
        for part in (grader, *grader.parts.values()):
            if isinstance(part, TextSimilarity) and part.evaluation_metric != COSINE:
                with as_invalid_request():
                    metric(part.evaluation_metric)
        return grader

    def _check_grader_type(self) -> None:
        """Check what can be known while the DAG is parsed, without the rules of graders."""
        grader = self.grader
        if isinstance(grader, str) and grader.strip("."):
            return
        if not isinstance(grader, Mapping) or grader.get("type") not in _GRADERS:
            kind = grader.get("type") if isinstance(grader, Mapping) else grader
            raise InvalidRequest(
                f"grader is of type {kind!r}; expected one of {', '.join(_GRADERS)}, or the import path of a callable"
            )
        if grader["type"] == "python" and not self.allow_python:
            raise InvalidRequest(_PYTHON)

    def _judge(self) -> str:
        return optional(self.judge_conn_id) or required("conn_id", self.conn_id)

    def _prices(self, models: Sequence[ModelToAsk], grader: Grader | CallableGrader) -> Prices:
        from airflow_provider_finetune.evaluation.cost import Prices
        from airflow_provider_finetune.evaluation.grader import judge_parts
        from airflow_provider_finetune.hooks.grading import CallableGrader

        with as_invalid_request():
            prices = Prices(self.prices)
        judges = [] if isinstance(grader, CallableGrader) else [judge.model for judge in judge_parts(grader)]
        names = [*(model.model for model in models), *judges]
        missing = [name for name in dict.fromkeys(names) if prices.of(name) is None]
        if self.max_cost is not None and missing:
            raise InvalidRequest(
                f"max_cost is given, and prices has none for {', '.join(missing)}: what answers cost is unknown"
            )
        return prices

    def _numbers(self, *, rendered: bool) -> dict[str, float | None]:
        """Return the numbers that are known: while the DAG is parsed, some are still templates."""
        limits: dict[str, dict[str, Any]] = {
            "max_examples": {"least": 1, "whole": True},
            "seed": {"whole": True},
            "temperature": {"most": 2},
            "max_tokens": {"least": 1, "whole": True},
            "max_cost": {},
        }
        given = {name: getattr(self, name) for name in limits}
        return {
            name: number(name, value, **limits[name]) if rendered or not is_templated(value) else None
            for name, value in given.items()
        }


_PYTHON = "grader has a python part, which runs code on the worker: set allow_python=True if you trust its source"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _beside(answers: str | None, report: str | None) -> str | None:
    """Return where the report goes: where it is wanted, or beside the answers."""
    if report is not None or answers is None:
        return report
    folder, slash, name = answers.rpartition("/")
    return f"{folder}{slash}{name.removesuffix('.jsonl')}.html"


def _run_of(context: Context) -> str:
    """Return what names this task in its run, over all its attempts."""
    ti: Any = context["ti"]
    parts = (getattr(ti, name, None) for name in ("dag_id", "run_id", "task_id", "map_index"))
    return "/".join(str(part) for part in parts if part is not None)
