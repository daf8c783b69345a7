"""The check of complete lines, as many as possible at a time, and what is learned from them about the file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from airflow_provider_finetune.datasets.alike import alike, text_of
from airflow_provider_finetune.datasets.explain import ODD, explain, fitting
from airflow_provider_finetune.datasets.frame import frame_of, token_of
from airflow_provider_finetune.datasets.layout import Layouts
from airflow_provider_finetune.datasets.problem import ErrorKind, Fault, WarningKind
from airflow_provider_finetune.datasets.reading import BOM
from airflow_provider_finetune.datasets.remarks import ONCE
from airflow_provider_finetune.datasets.repeats import Repeats
from airflow_provider_finetune.datasets.report import Tally
from airflow_provider_finetune.datasets.rules import Judged, Severity
from airflow_provider_finetune.datasets.seen import seen_row
from airflow_provider_finetune.datasets.texts import PAID, TELLING, Kind, Side
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_provider_finetune.datasets.alike import Alike
    from airflow_provider_finetune.datasets.form import Form
    from airflow_provider_finetune.datasets.formats import Method
    from airflow_provider_finetune.datasets.layout import Shape
    from airflow_provider_finetune.datasets.rules import Rules

# A \\uXXXX is six bytes in the file, but two or three of text.
_BYTES_SAVED_PER_ESCAPE = 3.5
_MOST_REPLIES_TOLD_APART = 4096
_FIRST_LINES = 16
_FEWEST_FOR_BALANCE = 10
_MOST_ROWS_TRIED_ON_OTHER_METHODS = 50


@dataclass(frozen=True)
class Limits:
    """Where a check draws its lines.

    :ivar listed: errors, and warnings, that are listed; all are counted.
    :ivar min_examples: the API wants 10 in a training file; a validation file needs one.
    :ivar max_line_bytes: longer lines are errors, and are not held in memory. Ten images of 10 MB, which OpenAI takes
        in an example, are 140 MB of base64.
    :ivar long_example_tokens: OpenAI's models take 65,536 tokens a training example and cut off the rest.
    :ivar imbalance: the share of examples with one and the same reply that is worth a warning.
    """

    listed: int = 20
    min_examples: int = 10
    max_line_bytes: int = 144 * 1024 * 1024
    long_example_tokens: int = 65_536
    imbalance: float = 0.8


@dataclass
class _Block:
    """Lines that are checked together, and what is found out about them, in the order of the lines.

    :ivar first: the number of the first line.
    :ivar prompts: per line the hash of its prompt; 0 stands for a line without an example.
    """

    lines: list[bytes]
    first: int
    is_whole: bool
    prompts: list[int] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    found: list[tuple[int, Judged]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prompts = [0] * len(self.lines)
        self.examples = [0] * len(self.lines)
        sample = self.lines[0][:8192]
        self.has_escapes = sample.count(b"\\u") * 100 > len(sample)

    def put(self, places: Sequence[int], prompts: list[int], replies: list[int]) -> None:
        examples = list(map(hash, zip(prompts, replies, strict=True)))
        if len(places) == len(self.lines):
            self.prompts, self.examples = prompts, examples
        else:
            for place, prompt, example in zip(places, prompts, examples, strict=True):
                self.prompts[place], self.examples[place] = prompt, example


class LineChecker:
    """Checks the lines of a file, and counts what is in them.

    :param file: its name in messages.
    :param rules: decide what is an error, and what a warning.
    :param count_tokens: returns the tokens of a text; None for an estimate.
    :ivar quarter_tokens: how many examples have how many tokens, times four: a byte of text is about a quarter.
    """

    def __init__(
        self,
        file: str,
        method: Method,
        limits: Limits,
        rules: Rules,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        self.file = file
        self.method = method
        self.limits = limits
        self.rules = rules
        self.errors = Tally(limits.listed)
        self.warnings = Tally(limits.listed)
        self.lines = 0
        self.roles: Counter[tuple[str, ...]] = Counter()
        self.quarter_tokens: Counter[int] = Counter()
        self.repeats = Repeats()
        self.other_methods: set[Method] | None = None
        self._count_tokens = count_tokens
        self._blank_lines = 0
        self._has_calls = False
        self._rows_tried = 0
        self._layouts = Layouts()
        self._replies: Counter[int] = Counter()
        self._told: set[str] = set()
        self._images = 0

    def check(self, lines: list[bytes], *, is_whole: bool = True) -> None:
        """Check the next lines, each with its line break.

        :param is_whole: False for the last line of a file if no line break ends it.
        """
        if self.lines == 0 and len(lines) > _FIRST_LINES:
            # They tell how the others are to be read.
            self.check(lines[:_FIRST_LINES])
            lines = lines[_FIRST_LINES:]
        block = _Block(lines, self.lines + 1, is_whole)
        groups = alike(lines, self.method, has_calls=self._has_calls)
        for group in groups:
            if not self._check_alike(group, block):
                for narrower in group.by_length():
                    if narrower is group or not self._check_alike(narrower, block):
                        self._check_each(narrower, block)
        if sum(len(group.lines) for group in groups) < len(lines):
            for place in sorted(set(range(len(lines))).difference(*(group.places for group in groups))):
                self._examine(place, block)
        self.lines += len(lines)
        self.repeats.extend(block.prompts, block.examples)
        for place, judged in sorted(block.found, key=itemgetter(0)):
            self._add(block.first + place, judged)

    def _check_alike(self, group: Alike, block: _Block) -> bool:
        """Take lines for good if they have one known layout; return whether they have."""
        shape = self._layouts.of_all(group)
        return shape is not None and self._count(group, shape, block)

    def _check_each(self, group: Alike, block: _Block) -> None:
        """Check lines of several layouts, known or not, good or not."""
        shaped: dict[int, tuple[Shape, list[int]]] = {}
        for i, texts in enumerate(zip(*group.columns, strict=True)):
            shape = self._layouts.of_one(group.lines[i], texts)
            if shape is None:
                self._examine(group.places[i], block)
            else:
                shaped.setdefault(id(shape), (shape, []))[1].append(i)
        for shape, chosen in shaped.values():
            if not self._count(group.only(chosen), shape, block):
                for i in chosen:
                    if not self._count(group.only([i]), shape, block):
                        self._examine(group.places[i], block)

    def _count(self, group: Alike, shape: Shape, block: _Block) -> bool:
        """Take lines of one shape for good; return False if they are not, for what their texts hold."""
        columns = shape.identities(group.columns)
        if columns is None:
            return False
        frame, count = shape.frame, len(group.lines)
        prompts = list(map(hash, zip(repeat(frame.prompt, count), *(columns[i] for i in shape.prompt), strict=True)))
        replies = list(map(hash, zip(repeat(frame.reply, count), *(columns[i] for i in shape.reply), strict=True)))
        block.put(group.places, prompts, replies)
        self._count_replies(replies)
        self.roles[frame.roles] += count
        quarters = self._quarters(group, shape, block)
        self.quarter_tokens.update(quarters)
        self._images += frame.images * count
        if frame.remarks or max(quarters) > 4 * self.limits.long_example_tokens:
            for place, quarter in zip(group.places, quarters, strict=True):
                block.found += [(place, Judged(Severity.WARNING, fault)) for fault in frame.remarks]
                self._weigh(quarter // 4, place, block)
        return True

    def _quarters(self, group: Alike, shape: Shape, block: _Block) -> list[int]:
        """Return four times the tokens of each line: a byte of text is about a quarter of a token."""
        paid = [column for kind, column in zip(shape.kinds, group.columns, strict=True) if kind in PAID]
        if self._count_tokens is not None:
            texts = zip(*paid, strict=True)
            return [shape.quarters + self._quarters_of([text_of(text) for text in line]) for line in texts]
        more = shape.quarters - shape.around
        if block.has_escapes:
            saved = _BYTES_SAVED_PER_ESCAPE
            quarters = [more + len(line) - int(line.count(b"\\u") * saved) for line in group.lines]
        else:
            quarters = [more + length for length in map(len, group.lines)]
        for kind, column in zip(shape.kinds, group.columns, strict=True):
            if kind not in PAID:
                quarters = [quarter - len(text) + 2 for quarter, text in zip(quarters, column, strict=True)]
        return quarters

    def _quarters_of(self, texts: Sequence[str]) -> int:
        if self._count_tokens is None:
            return sum(len(text.encode()) for text in texts)
        return 4 * sum(map(self._count_tokens, texts))

    def _examine(self, place: int, block: _Block) -> None:
        """Check one line thoroughly."""
        line = block.lines[place]
        is_first = block.first + place == 1
        row, example, errors, warnings, common = explain(
            line, self.method, self.rules, is_whole=block.is_whole, is_first=is_first
        )
        block.found += [(place, Judged(Severity.ERROR, fault)) for fault in errors]
        block.found += [(place, Judged(Severity.WARNING, fault)) for fault in warnings]
        if row is None or errors:
            self._blank_lines += not line.removeprefix(BOM).strip()
            if row is not None:
                self._try_other_methods(row)
            return
        try:
            seen = seen_row(row)
            frame, texts = frame_of(seen, self.method, tuple(fault for fault in common if fault.kind not in ONCE))
            telling = sorted((text for text in texts if text.kind in TELLING), key=attrgetter("order"))
            prompt = hash((frame.prompt, *(token_of(text.text) for text in telling if text.side is Side.PROMPT)))
            reply = hash((frame.reply, *(token_of(text.text) for text in telling if text.side is Side.REPLY)))
            around = 4 * frame.framing_tokens + self._quarters_of(frame.literals)
            quarters = around + self._quarters_of([text.text for text in texts if text.kind in PAID])
            self.roles[frame.roles] += 1
        except ODD as error:
            if example is not None and not isinstance(error, UnicodeEncodeError):
                raise
            # What is wrong is allowed, and leaves nothing to count.
            return
        block.put([place], [prompt], [reply])
        self._count_replies([reply])
        self._images += frame.images
        self.quarter_tokens[quarters] += 1
        self._weigh(quarters // 4, place, block)
        self._has_calls = self._has_calls or any(text.kind is Kind.ARGUMENTS for text in texts)
        if block.is_whole and seen is row and example is not None:
            self._layouts.learn(line, row, self.method, frame, texts, around)

    def refuses(self, form: Form) -> bool:
        """Say what the file is instead of JSON Lines; return False if that is allowed, and lines are to be checked."""
        judged = self.rules.judge(form.fault())
        if judged is not None:
            self._add(None, judged)
        return judged is not None

    def skip(self) -> None:
        """Refuse the next line, which is too long to be looked at."""
        self.lines += 1
        self.repeats.extend([0], [0])
        most = f"{self.limits.max_line_bytes:,} bytes"
        fault = Fault(ErrorKind.LINE_TOO_LONG, None, f"a line of more than {most}", f"at most {most} a line")
        self._judge(self.lines, fault)

    def _try_other_methods(self, row: dict[str, Any]) -> None:
        if self._rows_tried < _MOST_ROWS_TRIED_ON_OTHER_METHODS:
            self._rows_tried += 1
            fits = fitting(row, self.rules)
            self.other_methods = fits if self.other_methods is None else self.other_methods & fits

    def _count_replies(self, replies: list[int]) -> None:
        if len(self._replies) < _MOST_REPLIES_TOLD_APART:
            self._replies.update(replies)
        elif not self._replies.keys().isdisjoint(replies):
            self._replies.update(reply for reply in replies if reply in self._replies)

    # -- what is found

    def _weigh(self, tokens: int, place: int, block: _Block) -> None:
        """Warn of an example that is too long."""
        if tokens > self.limits.long_example_tokens:
            found = f"an example of {'about ' if self._count_tokens is None else ''}{tokens:,} tokens"
            expected = f"at most {self.limits.long_example_tokens:,}: servers cut off the rest"
            if judged := self.rules.judge(Fault(WarningKind.LONG_EXAMPLE, None, found, expected)):
                block.found.append((place, judged))

    def look_back(self) -> None:
        """Judge what only the whole file shows."""
        if (count := self.lines - self._blank_lines) < self.limits.min_examples:
            expected = f"at least {self.limits.min_examples}"
            self._judge(None, Fault(ErrorKind.TOO_FEW_EXAMPLES, None, counted(count, "example"), expected))
        for line, earlier, is_same in self.repeats:
            if is_same:
                fault = Fault(WarningKind.DUPLICATE, None, f"the example of line {earlier} again", "every example once")
            elif self.method == "dpo":
                # Several pairs for a prompt are how preferences are collected.
                continue
            else:
                found = f"another answer to the prompt of line {earlier}"
                fault = Fault(WarningKind.CONFLICT, None, found, "one answer to a prompt")
            self._judge(line, fault)
        count = self.roles.total()
        most = max(self._replies.values(), default=0)
        is_telling = count >= _FEWEST_FOR_BALANCE and self.method in ("supervised", "completion")
        if is_telling and most >= self.limits.imbalance * count:
            found = f"one and the same reply in {most:,} of {count:,} examples"
            self._judge(None, Fault(WarningKind.IMBALANCE, None, found, "replies in balance"))
        if self._images:
            found = f"{counted(self._images, 'image')}, whose tokens are not in the numbers"
            self._judge(None, Fault(WarningKind.IMAGES_NOT_COUNTED, None, found, "a higher cost than is told"))

    def _judge(self, line: int | None, fault: Fault) -> None:
        if judged := self.rules.judge(fault):
            self._add(line, judged)

    def _add(self, line: int | None, judged: Judged) -> None:
        severity, fault = judged
        is_known = False
        if fault.kind in ONCE or fault.kind == ErrorKind.WRONG_FORMAT:
            is_known = fault.found in self._told
            if is_known and fault.kind in ONCE:
                return
            self._told.add(fault.found)
        tally = self.warnings if severity is Severity.WARNING else self.errors
        tally.add(fault.at(self.file, line), is_listed=not is_known)
