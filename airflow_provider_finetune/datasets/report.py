"""What a check found out: problems, numbers, the cost to expect; as values, as JSON, as text for a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.problem import ErrorKind
from airflow_provider_finetune.datasets.rules import Severity
from airflow_provider_finetune.datasets.sample import SAMPLES
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.cost import Cost
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.problem import Problem
    from airflow_provider_finetune.datasets.tokens import Tokens
    from airflow_provider_finetune.datasets.vendors import Endpoint

#: Errors of whoever does not know what a line looks like.
_OF_SHAPE = {
    str(kind)
    for kind in (
        ErrorKind.NOT_JSON_LINES,
        ErrorKind.NOT_JSON,
        ErrorKind.NOT_OBJECT,
        ErrorKind.WRONG_FORMAT,
        ErrorKind.MISSING_FIELD,
    )
}
_PLAIN = {"error": "", "warning": "", "good": "", "dim": "", "end": ""}
_COLOURED = {
    "error": "\x1b[31m",
    "warning": "\x1b[33m",
    "good": "\x1b[32m",
    "dim": "\x1b[2m",
    "end": "\x1b[0m",
}


@dataclass
class Tally:
    """Problems of one severity: the first are listed, all are counted.

    :ivar listed: at most ``most`` problems, in the order they were found.
    :ivar by_kind: how many of each kind.
    """

    most: int = 20
    listed: list[Problem] = field(default_factory=list)
    by_kind: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many problems there are, listed or not."""
        return self.by_kind.total()

    def add(self, problem: Problem, *, is_listed: bool = True) -> None:
        """Count a problem, and list it if there is room.

        :param is_listed: False only counts it.
        """
        self.by_kind[str(problem.kind)] += 1
        if is_listed and len(self.listed) < self.most:
            self.listed.append(problem)

    def update(self, other: Tally) -> None:
        """Add the problems of another tally behind these."""
        self.by_kind.update(other.by_kind)
        self.listed += other.listed[: max(0, self.most - len(self.listed))]

    def as_json(self) -> dict[str, Any]:
        """Return the problems as plain JSON."""
        return {
            "total": self.total,
            "by_kind": dict(self.by_kind),
            "listed": [
                {**asdict(problem), "kind": str(problem.kind), "message": str(problem)} for problem in self.listed
            ],
        }


@dataclass(frozen=True)
class FileReport:
    """The numbers of one file.

    :ivar size: in bytes.
    :ivar examples: lines that hold a good example.
    """

    file: str
    sha256: str
    size: int
    lines: int
    examples: int
    messages_by_role: dict[str, int]
    tokens: Tokens


@dataclass(frozen=True)
class DatasetReport:
    """What a check found out about a dataset.

    :ivar endpoint: whose rules it was checked by.
    :ivar fits: other methods that every example of the training file fits, when it fits its own nowhere.
    """

    method: Method
    training: FileReport
    validation: FileReport | None
    errors: Tally
    warnings: Tally
    cost: Cost
    fits: tuple[Method, ...] = ()
    endpoint: Endpoint = "any"

    @property
    def ok(self) -> bool:
        """Whether a server will take the dataset."""
        return self.errors.total == 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON: small, and without training text."""
        return {
            "ok": self.ok,
            "method": self.method,
            "endpoint": self.endpoint,
            "fits": list(self.fits),
            "training": asdict(self.training),
            "validation": asdict(self.validation) if self.validation else None,
            "errors": self.errors.as_json(),
            "warnings": self.warnings.as_json(),
            **{key: value for key, value in asdict(self.cost).items() if key != "total"},
            "cost": self.cost.total,
        }

    def findings(self) -> Iterator[tuple[Severity, str]]:
        """Yield each listed error and warning as a line, and how many more there are, with its severity."""
        for severity, tally in ((Severity.ERROR, self.errors), (Severity.WARNING, self.warnings)):
            for problem in tally.listed:
                yield severity, f"{problem} [{problem.kind}]"
            if more := tally.total - len(tally.listed):
                yield severity, f"... and {more:,} more: {_counts(tally.by_kind)}"

    def summary(self) -> Iterator[str]:
        """Yield lines: a hint if there is one, examples, tokens, cost, and how many errors and warnings there are."""
        if self.fits:
            yield f"hint: every example fits method {' or '.join(self.fits)}"
        elif _OF_SHAPE & self.errors.by_kind.keys():
            yield f"hint: a line for method {self.method} looks like this:"
            yield SAMPLES[self.method]
        for report in filter(None, (self.training, self.validation)):
            yield from _numbers(report)
        cost = self.cost
        if cost.trained_tokens is not None:
            about = "about " if self.training.tokens.is_estimate else ""
            price = "" if cost.total is None else f", which cost {about}{cost.total:,.2f}"
            trained = counted(cost.trained_tokens, "trained token")
            yield f"{about}{trained} in {counted(cost.n_epochs or 0, 'epoch')}{price}"
        yield f"{counted(self.errors.total, 'error')}, {counted(self.warnings.total, 'warning')}"

    def text(self, *, colour: bool = False) -> str:
        """Return the report as lines for a person.

        :param colour: with ANSI colours, for a terminal.
        """
        paint = _COLOURED if colour else _PLAIN
        lines = []
        for severity, line in self.findings():
            message, bracket, kind = line.rpartition(" [")
            dim = f"{message}{paint['dim']}{bracket}{kind}{paint['end']}" if bracket else line
            lines.append(f"{paint[severity.value]}{severity.value}{paint['end']} {dim}")
        *numbers, verdict = self.summary()
        return "\n".join([*lines, *numbers, f"{paint['good' if self.ok else 'error']}{verdict}{paint['end']}"])


def _numbers(report: FileReport) -> Iterator[str]:
    tokens = report.tokens
    examples, lines = counted(report.examples, "good example"), counted(report.lines, "line")
    yield f"{report.file}: {examples} in {lines}, {counted(report.size, 'byte')}"
    if report.messages_by_role:
        yield f"  messages: {_counts(report.messages_by_role)}"
    yield (
        f"  tokens: {tokens.total:,} in all; an example has {tokens.mean:,} on average, {tokens.p50:,} in the middle, "
        f"{tokens.p95:,} at the 95th percentile, {tokens.max:,} at most; {tokens.source}"
    )
    yield f"  sha256: {report.sha256}"


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
