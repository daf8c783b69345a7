"""The metrics of a job's steps: bounded in memory, thinned so that peaks stay, as columns of plain JSON."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.jobs.keys import without_keys
from airflow_provider_finetune.jobs.payload import legible, mapping, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Steps that are shown at most: a chart has hardly more pixels, and an XCom should stay small.
MOST_STEPS = 500
#: Metrics that are kept at most: a server may invent any number of names.
MOST_METRICS = 16
LONGEST_NAME = 64
_MISSING = math.nan


class Metrics:
    """The metrics of a job, by step. However many are added, it never holds more than twice ``MOST_STEPS`` steps.

    A value that is not finite counts as missing; so does a negative loss or accuracy, by which servers mean "not
    known". Six significant digits are kept.
    """

    def __init__(self) -> None:
        self.steps = array("q")
        self.columns: dict[str, array[float]] = {}

    def add(self, data: Mapping[str, Any]) -> dict[str, float]:
        """Take the metrics of a step; return what was taken of them, nothing where there are none.

        :param data: ``{"step": 7, "train_loss": 0.4, ...}``, as an event of type ``metrics`` has it. What comes again
            for a step replaces what was there.
        """
        step = number(data.get("step"))
        values = {name: found for name, value in data.items() if (found := _measured(name, value)) is not None}
        values = {name: value for name, value in values.items() if name in self.columns or self._begin(name)}
        if step is None or step < 0 or not values:
            return {}
        row = self._row(int(step))
        for name, value in values.items():
            self.columns[name][row] = value
        if len(self.steps) >= 2 * MOST_STEPS:
            self._keep(thinned(self.steps, self.columns.values(), MOST_STEPS))
        return values

    def at(self, step: int) -> dict[str, float]:
        """Return the metrics of a step; nothing where they are not kept."""
        row = bisect_left(self.steps, step)
        if row == len(self.steps) or self.steps[row] != step:
            return {}
        return {name: column[row] for name, column in self.columns.items() if not math.isnan(column[row])}

    def to_json(self) -> dict[str, list[Any]]:
        """Return the columns ``{"step": [...], "train_loss": [...], ...}`` of ``MOST_STEPS`` steps at most.

        All are of one length, by step ascending; a missing value is None.
        """
        rows = thinned(self.steps, self.columns.values(), MOST_STEPS)
        shown: dict[str, list[Any]] = {"step": [self.steps[row] for row in rows]}
        for name, column in self.columns.items():
            shown[name] = [None if math.isnan(column[row]) else column[row] for row in rows]
        return shown

    def add_json(self, columns: object) -> None:
        """Take what :meth:`to_json` returned; what cannot be read of it is left out."""
        found = {name: values for name, values in mapping(columns).items() if isinstance(values, list)}
        for row in range(len(found.get("step", ()))):
            self.add({name: values[row] for name, values in found.items() if row < len(values)})

    def _begin(self, name: str) -> bool:
        """Return whether there may be another column, having begun it."""
        if len(self.columns) == MOST_METRICS or len(name) > LONGEST_NAME or legible(without_keys(name)) != name:
            return False
        self.columns[name] = array("d", [_MISSING]) * len(self.steps)
        return True

    def _row(self, step: int) -> int:
        row = bisect_left(self.steps, step)
        if row == len(self.steps) or self.steps[row] != step:
            self.steps.insert(row, step)
            for column in self.columns.values():
                column.insert(row, _MISSING)
        return row

    def _keep(self, rows: Sequence[int]) -> None:
        self.steps = array("q", [self.steps[row] for row in rows])
        for name, column in self.columns.items():
            self.columns[name] = array("d", [column[row] for row in rows])


def thinned(steps: Sequence[int], columns: Iterable[Sequence[float]], most: int) -> list[int]:
    """Return the rows to keep, at most so many: the first, the last, and the peaks of every column.

    The range of the steps is cut into equal parts, as many as can be afforded. Of each part, the rows with the lowest
    and the highest value of every column stay. So the lowest and the highest of all stay however often a growing table
    is thinned.

    :param steps: ascending.
    :param columns: each as long as ``steps``; NaN is a missing value.
    :param most: at least two for every column, and two.
    """
    if len(steps) <= most:
        return list(range(len(steps)))
    found = []
    for column in columns:
        rows = [row for row, value in enumerate(column) if value == value]
        found.append((rows, [column[row] for row in rows]))
    parts = most // 2
    while True:
        kept = _peaks(steps, found, parts) | {0, len(steps) - 1}
        if len(kept) <= most:
            return sorted(kept)
        parts = parts * 4 // 5


def _peaks(steps: Sequence[int], columns: list[tuple[list[int], list[float]]], parts: int) -> set[int]:
    """Return the rows with the lowest and the highest value of each column in each part of the range.

    :param columns: of each, the rows that have a value, and the values.
    """
    kept = set()
    span = steps[-1] - steps[0] + 1
    ends = [bisect_left(steps, steps[0] + span * part / parts) for part in range(1, parts + 1)]
    for rows, values in columns:
        start = 0
        for end in (bisect_left(rows, end) for end in ends):
            if part := values[start:end]:
                kept.add(rows[start + part.index(min(part))])
                kept.add(rows[start + part.index(max(part))])
            start = end
    return kept


def _measured(name: object, value: object) -> float | None:
    found = None if isinstance(value, bool) or name in ("step", "total_steps") else number(value)
    if found is None or not isinstance(name, str) or not name:
        return None
    return None if found < 0 and ("loss" in name or "accuracy" in name) else float(f"{found:.6g}")
