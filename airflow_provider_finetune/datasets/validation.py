"""The check of a dataset: one pass over its bytes, in chunks of any size."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from io import BytesIO
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_finetune.datasets.cost import cost_of
from airflow_provider_finetune.datasets.lines import Limits, LineChecker
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind
from airflow_provider_finetune.datasets.report import DatasetReport, FileReport, Tally
from airflow_provider_finetune.datasets.tokens import DEFAULT_ENCODING, counter_for, tokens_from

if TYPE_CHECKING:
    from os import PathLike

    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.tokens import TokenSource

DEFAULT_LIMITS = Limits()
_BLOCK = 1 << 19


def check(
    path: str | PathLike[str],
    *,
    method: Method = "supervised",
    validation_path: str | PathLike[str] | None = None,
    n_epochs: int | None = None,
    price_per_million_tokens: float | None = None,
    tokens: TokenSource = "auto",
    encoding: str = DEFAULT_ENCODING,
    limits: Limits = DEFAULT_LIMITS,
) -> DatasetReport:
    """Return what is wrong with a dataset on this machine, its numbers, and what training on it costs.

    :param path: the training file, JSON Lines.
    :param method: ``supervised``, ``dpo``, ``reinforcement``, or ``completion`` (prompt and completion).
    :param validation_path: the validation file; reinforcement needs one.
    :param n_epochs: how often training reads the file.
    :param price_per_million_tokens: for a million trained tokens, in any currency.
    :param tokens: ``auto`` counts with tiktoken where its encoding is on this machine, which takes longer than all
        else together; ``estimate`` does not; ``tiktoken`` insists.
    :param encoding: of tiktoken, ``o200k_base`` or ``cl100k_base``.
    :raises OSError: a file cannot be read.
    :raises EncodingUnavailable: tiktoken is wanted and cannot be had offline.
    """

    def checked(path: str | PathLike[str], limits: Limits) -> DatasetChecker:
        checker = DatasetChecker(fspath(path), method, tokens=tokens, encoding=encoding, limits=limits)
        with Path(path).open("rb", buffering=0) as file:
            while chunk := file.read(_BLOCK):
                checker.feed(chunk)
        return checker

    training = checked(path, limits)
    validation = None if validation_path is None else checked(validation_path, for_validation(limits))
    return training.finish(validation, n_epochs=n_epochs, price_per_million_tokens=price_per_million_tokens)


def for_validation(limits: Limits) -> Limits:
    """Return the limits for a validation file, which needs but one example."""
    return replace(limits, min_examples=min(1, limits.min_examples))


class DatasetChecker:
    """Checks a file while its bytes pass by: :meth:`feed` them in chunks, then :meth:`finish`.

    :param file: its name in messages.
    :param method: what the file shall train.
    :param tokens: as for :func:`check`.
    """

    def __init__(
        self,
        file: str,
        method: Method = "supervised",
        *,
        tokens: TokenSource = "auto",
        encoding: str = DEFAULT_ENCODING,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._token_source, count_tokens = counter_for(tokens, encoding)
        self._lines = LineChecker(file, method, limits, count_tokens)
        self._most_bytes = limits.max_line_bytes
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._rest = b""
        self._is_skipping = False
        self._is_closed = False

    @property
    def sha256(self) -> str:
        """The hash of the bytes so far, in hexadecimal."""
        return self._sha256.hexdigest()

    @property
    def size(self) -> int:
        """The number of bytes so far."""
        return self._size

    def feed(self, chunk: bytes) -> None:
        """Check the next bytes of the file."""
        for start in range(0, len(chunk), _BLOCK):
            block = chunk[start : start + _BLOCK]
            self._sha256.update(block)
            self._size += len(block)
            self._split(block)

    def close(self) -> None:
        """End the file; more than once does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_skipping:
            self._lines.skip()
        elif self._rest:
            self._lines.check([self._rest], is_whole=False)
        self._lines.look_back()

    def finish(
        self,
        validation: DatasetChecker | None = None,
        *,
        n_epochs: int | None = None,
        price_per_million_tokens: float | None = None,
        is_complete: bool = True,
    ) -> DatasetReport:
        """End the file and return the report.

        :param validation: the checker that was fed the validation file.
        :param is_complete: False when the file is looked at alone, and the other one elsewhere.
        """
        self.close()
        lines = self._lines
        errors, warnings = Tally(lines.limits.listed), Tally(lines.limits.listed)
        if is_complete and validation is None and lines.method == "reinforcement":
            fault = Fault(ErrorKind.NO_VALIDATION_FILE, None, "no validation file", "one, for method reinforcement")
            errors.add(fault.at(lines.file, None))
        errors.update(lines.errors)
        warnings.update(lines.warnings)
        if validation is not None:
            validation.close()
            errors.update(validation._lines.errors)
            warnings.update(self._overlap(validation))
            warnings.update(validation._lines.warnings)
        training = self._report()
        return DatasetReport(
            method=lines.method,
            training=training,
            validation=None if validation is None else validation._report(),
            errors=errors,
            warnings=warnings,
            cost=cost_of(training.tokens.total, n_epochs=n_epochs, price_per_million_tokens=price_per_million_tokens),
            fits=() if training.examples else tuple(sorted(lines.other_methods or ())),
        )

    def _split(self, block: bytes) -> None:
        if self._is_skipping:
            _, newline, block = block.partition(b"\n")
            if not newline:
                return
            self._is_skipping = False
            self._lines.skip()
        end = block.rfind(b"\n") + 1
        if end:
            lines = BytesIO(b"".join((self._rest, memoryview(block)[:end]))).readlines()
            self._rest = block[end:]
            if max(map(len, lines)) <= self._most_bytes:
                self._lines.check(lines)
            else:
                for line in lines:
                    if len(line) <= self._most_bytes:
                        self._lines.check([line])
                    else:
                        self._lines.skip()
        else:
            self._rest += block
        if len(self._rest) > self._most_bytes:
            self._rest, self._is_skipping = b"", True

    def _overlap(self, validation: DatasetChecker) -> Tally:
        tally = Tally(self._lines.limits.listed)
        for line, earlier in self._lines.repeats.overlap(validation._lines.repeats):
            found, expected = f"the prompt of {self._lines.file} line {earlier}", "prompts that are not trained on"
            tally.add(Fault(WarningKind.OVERLAP, None, found, expected).at(validation._lines.file, line))
        return tally

    def _report(self) -> FileReport:
        messages: Counter[str] = Counter()
        for roles, times in self._lines.roles.items():
            for role in roles:
                messages[role] += times
        lengths: Counter[int] = Counter()
        for quarters, times in self._lines.quarter_tokens.items():
            lengths[quarters // 4] += times
        return FileReport(
            file=self._lines.file,
            sha256=self.sha256,
            size=self._size,
            lines=self._lines.lines,
            examples=self._lines.roles.total(),
            messages_by_role=dict(sorted(messages.items())),
            tokens=tokens_from(lengths, self._token_source),
        )
