"""The examples of an evaluation, out of a dataset that is read as often as needed and never held in memory."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from array import array
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

from airflow_provider_finetune.addresses import shown
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.reading import read_object
from airflow_provider_finetune.datasets.seen import seen_fields, seen_message
from airflow_provider_finetune.datasets.vocabulary import is_known
from airflow_provider_finetune.evaluation.example import Example, digest, read_example
from airflow_provider_finetune.exceptions import DatasetError
from airflow_provider_finetune.hooks.storage import chunks, is_remote, reading, spool
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import BinaryIO

_MOST_LINE_BYTES: Final = Limits().max_line_bytes


@dataclass
class Examples:
    """The examples that are asked: those of the dataset, each once, or a sample of them.

    :ivar source: the name of the dataset.
    :ivar places: the place of each example, by its id.
    :ivar lines: the line of the dataset in which each example stands first, by place; the first line is 1.
    :ivar duplicates: how many lines repeat another one; they are asked and counted once.
    :ivar prompt_bytes: of all questions together.
    :ivar prompt_messages: of all questions together.
    :ivar item_bytes: of all lines together, as judges may see them.
    """

    source: str
    sha256: str
    places: dict[bytes, int]
    lines: Sequence[int]
    duplicates: int
    prompt_bytes: int
    prompt_messages: int
    item_bytes: int
    _path: str
    _stack: ExitStack = field(default_factory=ExitStack)

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[tuple[int, Example]]:
        """Yield each example and its place."""
        given = bytearray(len(self))
        with open(self._path, "rb") as lines:
            for _, example in _examples(lines, self.source):
                place = self.places.get(example.id)
                if place is not None and not given[place]:
                    given[place] = 1
                    yield place, example

    def as_json(self) -> dict[str, Any]:
        """Return the part ``dataset`` of the result."""
        return {
            "source": PurePosixPath(self.source).name,
            "sha256": self.sha256,
            "examples": len(self),
            "duplicates": self.duplicates,
        }

    def close(self) -> None:
        """Delete the local copy of a remote dataset."""
        self._stack.close()


def read_examples(
    path: str,
    *,
    storage_conn_id: str | None = None,
    fields: Collection[str] = (),
    training: Iterable[str] = (),
    max_examples: int | None = None,
    seed: int = 0,
) -> Examples:
    """Read a dataset once and check that it can be evaluated on.

    :param path: a local path or a URL; a remote file is copied to the worker's temporary directory.
    :param fields: paths of fields that the grader uses, which every line must have.
    :param training: files that the models were trained on, with none of whose prompts an example may agree.
    :param max_examples: so many examples are drawn, the same ones for the same seed and dataset.
    :raises DatasetError: a line cannot be asked or graded, or training has seen it.
    """
    stack = ExitStack()
    try:
        local, path = _local(path, storage_conn_id, stack), shown(path)
        sizes: dict[bytes, tuple[int, int, int, int]] = {}
        prompts: dict[bytes, int] = {}
        duplicates, training = 0, list(training)
        with open(local, "rb") as lines:
            for number, example in _examples(lines, path):
                _check_fields(example, fields, f"{path} line {number}")
                if example.id in sizes:
                    duplicates += 1
                    continue
                sizes[example.id] = (
                    example.prompt_bytes,
                    len(example.question["messages"]),
                    len(json.dumps(example.item, ensure_ascii=False).encode()),
                    number,
                )
                if training:
                    prompts[_prompt(example)] = number
        if not sizes:
            raise DatasetError(f"{path}: no examples; expected one JSON object in every line")
        for file in training:
            _refuse_overlap(path, prompts, file, storage_conn_id)
        chosen: list[bytes] = list(sizes)
        if max_examples is not None and max_examples < len(chosen):
            # By content, so that a line more or less elsewhere in the file changes little.
            chosen = random.Random(seed).sample(chosen, max_examples)  # noqa: S311 - no secret
        with open(local, "rb") as whole:
            sha256 = hashlib.file_digest(whole, "sha256").hexdigest()
        totals = [sum(column) for column in zip(*(sizes[id] for id in chosen), strict=True)]
        return Examples(
            path,
            sha256,
            {id: place for place, id in enumerate(chosen)},
            array("q", (sizes[id][3] for id in chosen)),
            duplicates,
            totals[0],
            totals[1],
            totals[2],
            local,
            stack,
        )
    except BaseException:
        stack.close()
        raise


def _local(path: str, storage_conn_id: str | None, stack: ExitStack) -> str:
    if not is_remote(path):
        return path
    copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="dataset-"))  # noqa: SIM115 - the stack does
    with reading(path, storage_conn_id) as source:
        for chunk in chunks(source, path):
            spool(chunk, cast("BinaryIO", copy))
    copy.flush()
    return copy.name


def _examples(file: BinaryIO, path: str) -> Iterator[tuple[int, Example]]:
    for number, line in enumerate(iter(lambda: file.readline(_MOST_LINE_BYTES + 1), b""), 1):
        if len(line) > _MOST_LINE_BYTES:
            raise DatasetError(
                f"{path} line {number} has more than {_MOST_LINE_BYTES:,} bytes; expected at most so many"
            )
        if not line.strip():
            continue
        row, faults = read_object(line, is_first=number == 1)
        if row is None:
            *_, fault = faults
            raise DatasetError(f"{path} line {number}: {fault.found}; expected {fault.expected}")
        try:
            yield number, read_example(row)
        except ValueError as error:
            raise DatasetError(f"{path} line {number}: {error}") from None


def _check_fields(example: Example, fields: Collection[str], where: str) -> None:
    for name in fields:
        value: Any = example.item
        for step in name.split("."):
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                hint = ""
                if name in ("reference", "reference_tools"):
                    hint = ": it is the last reply of the assistant, or a field of the line"
                known = sorted(filter(is_known, example.item))
                more = f" and {len(example.item) - len(known)} more" if len(known) < len(example.item) else ""
                raise DatasetError(
                    f"{where}: the grader uses item.{name}, which the line has not{hint}. It has "
                    f"{', '.join(known)}{more}."
                )


def _refuse_overlap(path: str, prompts: dict[bytes, int], training: str, storage_conn_id: str | None) -> None:
    with reading(training, storage_conn_id) as lines:
        training = shown(training)
        trained = {_prompt(example) for _, example in _examples(lines, training)}
    found = sorted(prompts[prompt] for prompt in prompts.keys() & trained)
    if found:
        prompts_are = f"{counted(len(prompts), 'prompt')} {'is' if len(found) == 1 else 'are'}"
        raise DatasetError(
            f"{path}: {len(found)} of {prompts_are} in the training data {training} too, the first in line {found[0]}. "
            "A model that has seen the answer scores better than it is. Take them out, or set allow_overlap=True."
        )


def _prompt(example: Example) -> bytes:
    """Return the same for two prompts between which a model sees no difference."""
    question = example.question
    try:
        return digest([[seen_message(message) for message in question["messages"]], seen_fields(question)])
    except (KeyError, TypeError, IndexError, AttributeError):  # of no form that the checker would pass
        return digest(question)
