"""The check of a dataset: one pass over its bytes, in chunks of any size."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from io import BytesIO
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_finetune.datasets.chunks import chunks_of
from airflow_provider_finetune.datasets.cost import cost_of
from airflow_provider_finetune.datasets.explain import ROLES
from airflow_provider_finetune.datasets.form import HEAD_BYTES, form_of
from airflow_provider_finetune.datasets.lines import Limits, LineChecker
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind
from airflow_provider_finetune.datasets.report import DatasetReport, FileReport, Tally
from airflow_provider_finetune.datasets.rules import ANY, Rules, Severity
from airflow_provider_finetune.datasets.tokens import DEFAULT_ENCODING, counter_for, tokens_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    from airflow_provider_finetune.datasets.form import Form
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.tokens import TokenSource
    from airflow_provider_finetune.datasets.vendors import Endpoint

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
    endpoint: Endpoint = "any",
    allow: Iterable[str] = (),
    refuse: Iterable[str] = (),
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
    :param endpoint: whose rules the dataset is checked by: ``openai``, ``azure``, ``nebius``, or ``any``. For any,
        what one vendor takes and another refuses is a warning that names who refuses it.
    :param allow: kinds of problems that are not reported.
    :param refuse: kinds of problems that are errors.
    :raises OSError: a file cannot be read, or is larger than what an endpoint takes.
    :raises ValueError: the endpoint or a kind is none.
    :raises EncodingUnavailable: tiktoken is wanted and cannot be had offline.
    """

    rules = Rules.of(endpoint, allow, refuse)

    def checked(path: str | PathLike[str], limits: Limits) -> DatasetChecker:
        checker = DatasetChecker(fspath(path), method, tokens=tokens, encoding=encoding, limits=limits, rules=rules)
        with Path(path).open("rb", buffering=0) as file:
            for chunk in chunks_of(file, fspath(path)):
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
    :param rules: decide what is an error, and what a warning.
    """

    def __init__(
        self,
        file: str,
        method: Method = "supervised",
        *,
        tokens: TokenSource = "auto",
        encoding: str = DEFAULT_ENCODING,
        limits: Limits = DEFAULT_LIMITS,
        rules: Rules = ANY,
    ) -> None:
        self._token_source, count_tokens = counter_for(tokens, encoding)
        self._lines = LineChecker(file, method, limits, rules, count_tokens)
        self._most_bytes = limits.max_line_bytes
        self._sha256 = hashlib.sha256()
        self._size = 0
        # The first bytes, until they tell the form of the file.
        self._head: bytearray | None = bytearray()
        self._form: Form | None = None
        # A line that has begun, in the blocks it came in.
        self._rest: list[bytes] = []
        self._rest_bytes = 0
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
            if self._head is None:
                self._split(block)
                continue
            self._head += block
            if len(self._head) >= HEAD_BYTES:
                self._begin(is_whole=False)

    def close(self) -> None:
        """End the file; more than once does no harm."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._head is not None:
            self._begin(is_whole=True)
        if self._is_skipping:
            self._lines.skip()
        elif self._rest:
            self._lines.check([b"".join(self._rest)], is_whole=False)
        if self._form is None:
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
            self._judge(fault, lines.file, None, errors, warnings)
        errors.update(lines.errors)
        warnings.update(lines.warnings)
        if validation is not None:
            validation.close()
            errors.update(validation._lines.errors)
            for line, earlier in lines.repeats.overlap(validation._lines.repeats):
                found, expected = f"the prompt of {lines.file} line {earlier}", "prompts that are not trained on"
                fault = Fault(WarningKind.OVERLAP, None, found, expected)
                self._judge(fault, validation._lines.file, line, errors, warnings)
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
            endpoint=lines.rules.endpoint,
        )

    def _begin(self, *, is_whole: bool) -> None:
        """Tell the form of the file from its first bytes; one that is not JSON Lines is named once, and not read on."""
        head, self._head = bytes(self._head or b""), None
        form = form_of(head[:HEAD_BYTES], is_whole=is_whole and len(head) <= HEAD_BYTES)
        self._form = form if form is not None and self._lines.refuses(form) else None
        self._split(head)

    def _split(self, block: bytes) -> None:
        if self._form is not None:
            return
        if self._is_skipping:
            _, newline, block = block.partition(b"\n")
            if not newline:
                return
            self._is_skipping = False
            self._lines.skip()
        end = block.rfind(b"\n") + 1
        if end:
            lines = BytesIO(b"".join((*self._rest, memoryview(block)[:end]))).readlines()
            block = block[end:]
            self._rest, self._rest_bytes = [], 0
            if max(map(len, lines)) <= self._most_bytes:
                self._lines.check(lines)
            else:
                for line in lines:
                    if len(line) <= self._most_bytes:
                        self._lines.check([line])
                    else:
                        self._lines.skip()
        if block:
            self._rest.append(block)
            self._rest_bytes += len(block)
        if self._rest_bytes > self._most_bytes:
            self._rest, self._rest_bytes, self._is_skipping = [], 0, True

    def _judge(self, fault: Fault, file: str, line: int | None, errors: Tally, warnings: Tally) -> None:
        if judged := self._lines.rules.judge(fault):
            tally = errors if judged.severity is Severity.ERROR else warnings
            tally.add(judged.fault.at(file, line))

    def _report(self) -> FileReport:
        messages: Counter[str] = Counter()
        for roles, times in self._lines.roles.items():
            for role in roles:
                # Where unknown roles are allowed, one may be anything.
                messages[role if role in (*ROLES, "function") else "other"] += times
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
