"""A file of another form or format becomes JSON Lines of examples, record by record, and nothing is guessed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.converter import Columns, Converter, UnknownFields
from airflow_provider_finetune.datasets.explain import explain
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.records import Unconvertible, read_records
from airflow_provider_finetune.datasets.rules import ANY

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.rules import Rules


class Conversion:
    """Converts a file: :meth:`lines` yields what to write.

    What it yields passes the check for the same rules, but for the number of examples. When a record cannot be
    converted, the others are looked at all the same, so that :attr:`problems` lists more than one; but what was
    yielded is to be thrown away.

    :param columns: which columns or fields hold what, where their names do not tell.
    :param method: what the examples are for; None leaves it to the first record.
    :param rules: by which the examples are checked.
    :param encoding: of the text, as Python calls it; None for UTF-8, or what a byte order mark says.
    :param delimiter: between the cells of CSV; None to tell it from the first lines.
    :param limits: what is listed, and how long a record may be.
    :ivar form: what the file is, in words; "" before it was looked at.
    :ivar examples: how many were made.
    :ivar problems: the first of them, in words, without training text.
    :ivar refused: how many records could not be converted.
    """

    def __init__(
        self,
        *,
        columns: Columns | None = None,
        method: Method | None = None,
        rules: Rules = ANY,
        encoding: str | None = None,
        delimiter: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._converter = Converter(columns, method)
        self._rules = rules
        self._encoding = encoding
        self._delimiter = delimiter
        self._limits = limits or Limits()
        self.form = ""
        self.examples = 0
        self.problems: list[str] = []
        self.refused = 0

    @property
    def method(self) -> Method | None:
        """What the examples are for; None as long as there is none."""
        return self._converter.method

    @property
    def left_out(self) -> Counter[str]:
        """Fields that an example has no place for, and in how many records they were."""
        return self._converter.left_out

    def lines(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the examples as JSON Lines in UTF-8, each with its line break.

        :param chunks: the bytes of the file.
        """
        try:
            records = read_records(
                chunks, encoding=self._encoding, delimiter=self._delimiter, most=self._limits.max_line_bytes
            )
            self.form = records.form
            for number, record in records.rows:
                if (line := self._line(number, record)) is not None:
                    self.examples += 1
                    yield line
        except Unconvertible as error:
            self._refuse(str(error))
        if not self.examples and not self.refused:
            self._refuse("no records")

    def _line(self, number: int, record: Any) -> bytes | None:
        try:
            example = self._converter.example(record)
            line = json.dumps(example, ensure_ascii=False).encode() + b"\n"
        except UnknownFields as error:
            raise Unconvertible(f"record {number}: {error}") from None
        except (Unconvertible, UnicodeEncodeError) as error:
            reason = str(error) if isinstance(error, Unconvertible) else "text with half a surrogate pair"
            self._refuse(f"record {number}: {reason}")
            return None
        errors = explain(line, self._converter.method or "supervised", self._rules).errors
        for fault in errors[:1]:
            self._refuse(f"record {number} would be no example: {fault}")
        return None if errors else line

    def _refuse(self, problem: str) -> None:
        self.refused += 1
        if len(self.problems) < self._limits.listed:
            self.problems.append(problem)
