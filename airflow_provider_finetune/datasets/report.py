"""What a check found out: problems, numbers, the cost to expect; as values, as JSON, as text for a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_finetune.datasets.cost import Cost
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.problem import Problem
    from airflow_provider_finetune.datasets.tokens import Tokens

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

    def add(self, problem: Problem) -> None:
        """Count a problem, and list it if there is room."""
        self.by_kind[str(problem.kind)] += 1
        if len(self.listed) < self.most:
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

    :ivar fits: other methods that every example of the training file fits, when it fits its own nowhere.
    """

    method: Method
    training: FileReport
    validation: FileReport | None
    errors: Tally
    warnings: Tally
    cost: Cost
    fits: tuple[Method, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a server will take the dataset."""
        return self.errors.total == 0

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON: small, and without training text."""
        return {
            "ok": self.ok,
            "method": self.method,
            "fits": list(self.fits),
            "training": asdict(self.training),
            "validation": asdict(self.validation) if self.validation else None,
            "errors": self.errors.as_json(),
            "warnings": self.warnings.as_json(),
            **{key: value for key, value in asdict(self.cost).items() if key != "total"},
            "cost": self.cost.total,
        }

    def text(self, *, colour: bool = False) -> str:
        """Return the report as lines for a person.

        :param colour: with ANSI colours, for a terminal.
        """
        return "\n".join(self._lines(_COLOURED if colour else _PLAIN))

    def _lines(self, paint: dict[str, str]) -> Iterator[str]:
        for name, tally in (("error", self.errors), ("warning", self.warnings)):
            for problem in tally.listed:
                yield f"{paint[name]}{name}{paint['end']} {problem} {paint['dim']}[{problem.kind}]{paint['end']}"
            if more := tally.total - len(tally.listed):
                yield f"{paint[name]}{name}{paint['end']} … and {more} more: {_counts(tally.by_kind)}"
        if self.fits:
            yield f"{paint['warning']}hint{paint['end']} every example fits method {' or '.join(self.fits)}"
        for report in filter(None, (self.training, self.validation)):
            yield from _numbers(report)
        cost = self.cost
        if cost.trained_tokens is not None:
            about = "about " if self.training.tokens.is_estimate else ""
            price = "" if cost.total is None else f", which cost {about}{cost.total:,.2f}"
            yield f"{about}{cost.trained_tokens:,} trained tokens in {cost.n_epochs} epochs{price}"
        verdict = f"{_plural(self.errors.total, 'error')}, {_plural(self.warnings.total, 'warning')}"
        yield f"{paint['good' if self.ok else 'error']}{verdict}{paint['end']}"


def _numbers(report: FileReport) -> Iterator[str]:
    tokens = report.tokens
    yield f"{report.file}: {report.examples:,} good examples in {report.lines:,} lines, {report.size:,} bytes"
    if report.messages_by_role:
        yield f"  messages: {_counts(report.messages_by_role)}"
    yield (
        f"  tokens: {tokens.total:,} in all; an example has {tokens.mean:,} on average, {tokens.p50:,} in the middle, "
        f"{tokens.p95:,} at the 95th percentile, {tokens.max:,} at most; {tokens.source}"
    )
    yield f"  sha256: {report.sha256}"


def _counts(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
