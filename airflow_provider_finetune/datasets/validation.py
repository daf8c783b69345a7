"""The check of a dataset: one pass over its bytes, in chunks of any size."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.cost import cost_of
from airflow_provider_finetune.datasets.explain import explain, fitting
from airflow_provider_finetune.datasets.frame import frame_of, token_of
from airflow_provider_finetune.datasets.layout import TEXTS, UNREADABLE, Layouts
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind, quoted
from airflow_provider_finetune.datasets.repeats import Repeats
from airflow_provider_finetune.datasets.report import DatasetReport, FileReport, Tally
from airflow_provider_finetune.datasets.tokens import (
    BYTES_PER_TOKEN,
    DEFAULT_ENCODING,
    counter_for,
    estimated,
    tokens_from,
)

if TYPE_CHECKING:
    from os import PathLike

    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.frame import Frame
    from airflow_provider_finetune.datasets.tokens import TokenSource

_BLOCK = 1 << 18
_QUOTE = ord('"')
# A \uXXXX is six bytes in the file, but two or three of text.
_BYTES_SAVED_PER_ESCAPE = 3.5
_MOST_REPLIES_TOLD_APART = 4096
_MOST_ROWS_TRIED_ON_OTHER_METHODS = 50


@dataclass(frozen=True)
class Limits:
    """Where a check draws its lines.

    :ivar listed: errors, and warnings, that are listed; all are counted.
    :ivar min_examples: the API wants 10 in a training file; a validation file needs one.
    :ivar max_line_bytes: longer lines are errors, and are not held in memory.
    :ivar long_example_tokens: OpenAI's models take 65,536 tokens a training example and cut off the rest.
    :ivar imbalance: the share of examples with one and the same reply that is worth a warning.
    """

    listed: int = 20
    min_examples: int = 10
    max_line_bytes: int = 16 * 1024 * 1024
    long_example_tokens: int = 65_536
    imbalance: float = 0.8


DEFAULT_LIMITS = Limits()


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
    return Limits(**{**vars(limits), "min_examples": min(1, limits.min_examples)})


class DatasetChecker:
    """Checks a file while its bytes pass by: :meth:`feed` them in chunks, then :meth:`finish`.

    :param file: its name in messages.
    :param method: what the file shall train.
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
        self.file = file
        self.method = method
        self.limits = limits
        self.errors = Tally(limits.listed)
        self.warnings = Tally(limits.listed)
        self._token_source, self._count_tokens = counter_for(tokens, encoding)
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._lines = 0
        self._rest = b""
        self._is_skipping = False
        self._closed = False
        self._layouts = Layouts()
        self._repeats = Repeats()
        self._frames: Counter[tuple[str, ...]] = Counter()
        self._lengths: Counter[int] = Counter()
        self._replies: dict[int, int] = {}
        self._ignored: set[str] = set()
        self._blank_lines = 0
        self._other_methods: set[Method] | None = None
        self._rows_tried = 0

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
        if self._closed:
            return
        self._closed = True
        if self._is_skipping:
            self._too_long()
        elif self._rest:
            self._check([self._rest], is_whole=False)
        if (found := self._lines - self._blank_lines) < self.limits.min_examples:
            expected = f"at least {self.limits.min_examples}"
            self._error(None, Fault(ErrorKind.TOO_FEW_EXAMPLES, None, _examples(found), expected))
        self._look_back()

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
        :param is_complete: False when the file is looked at alone and the other one elsewhere.
        """
        self.close()
        errors, warnings = Tally(self.limits.listed), Tally(self.limits.listed)
        if is_complete and validation is None and self.method == "reinforcement":
            fault = Fault(ErrorKind.NO_VALIDATION_FILE, None, "no validation file", "one, for method reinforcement")
            errors.add(fault.at(self.file, None))
        errors.update(self.errors)
        warnings.update(self.warnings)
        if validation is not None:
            validation.close()
            errors.update(validation.errors)
            warnings.update(self._overlap(validation))
            warnings.update(validation.warnings)
        training = self._report()
        return DatasetReport(
            method=self.method,
            training=training,
            validation=None if validation is None else validation._report(),
            errors=errors,
            warnings=warnings,
            cost=cost_of(
                training.tokens.total, n_epochs=n_epochs, price_per_million_tokens=price_per_million_tokens
            ),
            fits=() if training.examples else tuple(sorted(self._other_methods or ())),
        )

    # -- lines

    def _split(self, block: bytes) -> None:
        if self._is_skipping:
            _, newline, block = block.partition(b"\n")
            if not newline:
                return
            self._is_skipping = False
            self._too_long()
        end = block.rfind(b"\n") + 1
        if end:
            lines = BytesIO(self._rest + block[:end] if self._rest else block[:end]).readlines()
            self._rest = block[end:]
            if max(map(len, lines)) > self.limits.max_line_bytes:
                for line in lines:
                    self._check([line]) if len(line) <= self.limits.max_line_bytes else self._too_long()
            else:
                self._check(lines)
        else:
            self._rest += block
        if len(self._rest) > self.limits.max_line_bytes:
            self._rest, self._is_skipping = b"", True

    def _check(self, lines: list[bytes], *, is_whole: bool = True) -> None:
        """Check lines: those in a known layout here, the others one by one."""
        texts_of, by_texts, join = TEXTS[self.method], self._layouts.by_texts, b"".join
        count_tokens, replies, frames = self._count_tokens, self._replies, self._frames
        prompts: list[int] = []
        examples: list[int] = []
        lengths: list[int] = []
        sample = lines[0][:8192]
        has_escapes = sample.count(b"\\u") * 100 > len(sample)
        for line in lines:
            try:
                texts = texts_of(line)
                for known, layout in enumerate(by_texts.get(len(texts), ())):
                    pieces = layout.pieces
                    pieces[1::2] = texts
                    if join(pieces) == line:
                        break
                else:
                    raise ValueError
                for text in texts:
                    if text[0] != _QUOTE or len(text) == 2:
                        raise ValueError
                if not line.isascii():
                    texts = [text if text.isascii() else token_of(json.loads(text)) for text in texts]
            except UNREADABLE:
                prompt, example, length = self._examine(
                    line, self._lines + len(prompts) + 1, is_whole=is_whole
                )
                prompts.append(prompt)
                examples.append(example)
                if length is not None:
                    lengths.append(length)
                continue
            if known:
                self._layouts.found_again(by_texts[len(texts)], known)
            frame = layout.frame
            split = frame.split
            prompt = hash((frame.prompt, *texts[:split]))
            reply = hash((frame.reply, *texts[split:]))
            prompts.append(prompt)
            examples.append(hash((prompt, reply)))
            if reply in replies:
                replies[reply] += 1
            elif len(replies) < _MOST_REPLIES_TOLD_APART:
                replies[reply] = 1
            frames[frame.roles] += 1
            if count_tokens is None:
                length = len(line) - layout.length
                if has_escapes:
                    length -= int(line.count(b"\\u") * _BYTES_SAVED_PER_ESCAPE)
                length = layout.framing_tokens + length // BYTES_PER_TOKEN
            else:
                length = layout.framing_tokens + sum(count_tokens(json.loads(text)) for text in texts)
            lengths.append(length)
            if length > self.limits.long_example_tokens or not frame.trains:
                self._look_at(frame, length, self._lines + len(prompts))
        self._lines += len(lines)
        self._lengths.update(lengths)
        self._repeats.extend(prompts, examples)

    def _examine(self, line: bytes, number: int, *, is_whole: bool) -> tuple[int, int, int | None]:
        """Check a line thoroughly; return the hashes of its prompt and of the example, and its tokens."""
        row, example, faults = explain(line, self.method, is_whole=is_whole)
        for fault in faults:
            self._error(number, fault)
            self._blank_lines += fault.kind == ErrorKind.BLANK_LINE
        if row is None or example is None:
            if row is not None:
                self._try_other_methods(row)
            return 0, 0, None
        frame, texts = frame_of(row, self.method)
        tokens = [token_of(text) for text in texts]
        prompt = hash((frame.prompt, *tokens[: frame.split]))
        reply = hash((frame.reply, *tokens[frame.split :]))
        if reply in self._replies or len(self._replies) < _MOST_REPLIES_TOLD_APART:
            self._replies[reply] = self._replies.get(reply, 0) + 1
        self._frames[frame.roles] += 1
        count = self._count_tokens or estimated
        literal_tokens = count(frame.literal)
        length = frame.framing_tokens + literal_tokens + sum(map(count, texts))
        self._look_at(frame, length, number)
        if is_whole:
            try:
                self._layouts.learn(line, row, frame, TEXTS[self.method](line), literal_tokens)
            except UNREADABLE:
                pass
        return prompt, hash((prompt, reply)), length

    def _too_long(self) -> None:
        self._lines += 1
        self._repeats.extend([0], [0])
        expected = f"at most {self.limits.max_line_bytes:,} bytes a line"
        found = f"a line of more than {self.limits.max_line_bytes:,} bytes"
        self._error(self._lines, Fault(ErrorKind.LINE_TOO_LONG, None, found, expected))

    def _try_other_methods(self, row: dict[str, Any]) -> None:
        if self._rows_tried < _MOST_ROWS_TRIED_ON_OTHER_METHODS:
            self._rows_tried += 1
            fits = fitting(row)
            self._other_methods = fits if self._other_methods is None else self._other_methods & fits

    # -- warnings

    def _look_at(self, frame: Frame, tokens: int, number: int) -> None:
        if tokens > self.limits.long_example_tokens:
            found = f"an example of {'about ' if self._count_tokens is None else ''}{tokens:,} tokens"
            expected = f"at most {self.limits.long_example_tokens:,}: servers cut off the rest"
            self._warning(number, Fault(WarningKind.LONG_EXAMPLE, None, found, expected))
        if not frame.trains:
            found, expected = "every assistant message has weight 0", "at least one of weight 1 to learn from"
            self._warning(number, Fault(WarningKind.ALL_WEIGHTS_ZERO, None, found, expected))
        for field in frame.ignored:
            if field not in self._ignored:
                self._ignored.add(field)
                found = f"field {quoted(field, 40)}, which the format does not know"
                self._warning(number, Fault(WarningKind.IGNORED_FIELD, None, found, "it to be ignored or refused"))

    def _look_back(self) -> None:
        """Warn of what only the whole file shows."""
        for line, earlier, is_same in self._repeats:
            if is_same:
                fault = Fault(WarningKind.DUPLICATE, None, f"repeats line {earlier}", "every example once")
            elif self.method == "dpo":
                continue
            else:
                found = f"another answer to the prompt of line {earlier}"
                fault = Fault(WarningKind.CONFLICT, None, found, "one answer to a prompt")
            self._warning(line, fault)
        count = self._frames.total()
        most = max(self._replies.values(), default=0)
        if self.method in ("supervised", "completion") and most > 1 and most >= self.limits.imbalance * count:
            found = f"one and the same reply in {most:,} of {count:,} examples"
            self._warning(None, Fault(WarningKind.IMBALANCE, None, found, "replies in balance"))

    def _overlap(self, validation: DatasetChecker) -> Tally:
        tally = Tally(self.limits.listed)
        for line, earlier in self._repeats.overlap(validation._repeats):
            found = f"the prompt of {self.file} line {earlier}"
            expected = "validation data that is not trained on"
            tally.add(Fault(WarningKind.OVERLAP, None, found, expected).at(validation.file, line))
        return tally

    # -- results

    def _error(self, line: int | None, fault: Fault) -> None:
        self.errors.add(fault.at(self.file, line))

    def _warning(self, line: int | None, fault: Fault) -> None:
        self.warnings.add(fault.at(self.file, line))

    def _report(self) -> FileReport:
        roles: Counter[str] = Counter()
        for frame, times in self._frames.items():
            for role in frame:
                roles[role] += times
        return FileReport(
            file=self.file,
            sha256=self.sha256,
            size=self._size,
            lines=self._lines,
            examples=self._frames.total(),
            messages_by_role=dict(sorted(roles.items())),
            tokens=tokens_from(self._lengths, self._token_source),
        )


def _examples(count: int) -> str:
    return "1 example" if count == 1 else f"{count:,} examples"
