"""``finetune-dataset convert``: JSON Lines of examples out of CSV, JSON and the formats of other tools."""

from __future__ import annotations

import argparse
import codecs
import csv
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_finetune.datasets import options as shared
from airflow_provider_finetune.datasets.chunks import chunks_of
from airflow_provider_finetune.datasets.conversion import Conversion
from airflow_provider_finetune.datasets.converter import Columns
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.problem import column
from airflow_provider_finetune.plural import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION = """
Make JSON Lines of examples: chats, or preferences where there is a chosen and a rejected output. Reads JSON Lines, a
JSON array, pretty-printed JSON and CSV, in UTF-8, UTF-16 or UTF-32, packed with gzip or not; knows ShareGPT, Alpaca,
prompt and completion, TRL, Bedrock, Gemini, Cohere and chats by their fields. What it would have to guess is refused,
and then nothing is written. Exit code 0: converted; 1: refused; 2: a file or an option is of no use.
"""


class _Occupied(Exception):
    """There is a file where the output shall go."""


def add_to(commands: Any) -> None:
    """Add the command to its parser."""
    command: argparse.ArgumentParser = commands.add_parser(
        "convert", help="make JSON Lines of CSV, JSON and the formats of other tools", description=_DESCRIPTION
    )
    command.add_argument("file", metavar="FILE", help="what to convert; - is standard input")
    command.add_argument("output", metavar="OUTPUT", help="where the JSON Lines go; - is standard output")
    command.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it is there")
    columns = command.add_argument_group("columns of CSV, or fields of JSON objects")
    columns.add_argument("--user-column", dest="user", metavar="NAME", help="what the user says")
    columns.add_argument("--assistant-column", dest="assistant", metavar="NAME", help="the reply to learn")
    columns.add_argument("--chosen-column", dest="chosen", metavar="NAME", help="the output to prefer")
    columns.add_argument("--rejected-column", dest="rejected", metavar="NAME", help="the output to avoid")
    columns.add_argument("--system-column", dest="system", metavar="NAME", help="the system message of an example")
    columns.add_argument("--system", dest="instructions", metavar="TEXT", help="a system message for every example")
    columns.add_argument("--delimiter", metavar="CHARACTER", help="between the cells; default: told from the header")
    command.add_argument("--input-encoding", type=_encoding, metavar="NAME", help="default: UTF-8, or as a mark says")
    command.add_argument(
        "--method", choices=("supervised", "dpo", "reinforcement"), help="default: that of the first record"
    )
    shared.add_rules(command)
    command.add_argument("--listed", type=shared.whole(0), default=5, metavar="N", help="problems that are listed")
    command.set_defaults(run=_run, error=command.error)


def _run(options: argparse.Namespace) -> int:
    names = ("user", "assistant", "chosen", "rejected", "system", "instructions")
    try:
        columns, rules = Columns(**{name: getattr(options, name) for name in names}), shared.rules_of(options)
    except ValueError as error:
        options.error(str(error))
    if options.delimiter is not None and len(options.delimiter) != 1:
        options.error("--delimiter is one character")
    conversion = Conversion(
        columns=columns,
        method=options.method,
        rules=rules,
        encoding=options.input_encoding,
        delimiter=options.delimiter,
        limits=Limits(listed=options.listed, max_line_bytes=options.max_line_bytes),
    )
    # A quote that is never closed would hold the rest of the file in memory.
    csv.field_size_limit(options.max_line_bytes)
    try:
        with shared.opened(options.file) as source, _written(options.output, options.overwrite, conversion) as output:
            for line in conversion.lines(chunks_of(source, options.file)):
                output.write(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _Occupied:
        shared.complain(options.output, "is there already; say --overwrite to replace it")
        return shared.UNUSABLE
    except OSError as error:
        shared.complain(str(error.filename or options.output), error)
        return shared.UNUSABLE
    return _told(options, conversion)


def _told(options: argparse.Namespace, conversion: Conversion) -> int:
    source = "standard input" if options.file == shared.STANDARD_INPUT else options.file
    if conversion.refused:
        for problem in conversion.problems:
            shared.complain(source, problem)
        if more := conversion.refused - len(conversion.problems):
            shared.complain(source, f"... and {more:,} more")
        shared.complain(source, "nothing is converted" if options.output != shared.STANDARD_INPUT else "not converted")
        return shared.BAD
    examples = counted(conversion.examples, "example")
    print(f"{source}: {conversion.form}, {examples} for method {conversion.method}", file=sys.stderr)
    for name, count in conversion.left_out.most_common(20):
        print(f"left out: {column(name)} of {counted(count, 'record')}", file=sys.stderr)
    return shared.GOOD


@contextmanager
def _written(output: str, overwrite: bool, conversion: Conversion) -> Iterator[BinaryIO]:
    """Open what to write to; it takes its place only when all is converted.

    :raises _Occupied: it is there, and is not to be replaced.
    """
    if output == shared.STANDARD_INPUT:
        yield cast("BinaryIO", sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    place = Path(output)
    if not overwrite and place.exists():
        raise _Occupied
    with tempfile.NamedTemporaryFile(dir=place.parent, prefix=f".{place.name}-", delete=False) as file:
        try:
            yield cast("BinaryIO", file)
            file.flush()
            if conversion.refused:
                return
            os.chmod(file.name, 0o666 & ~_umask())
            if overwrite:
                os.replace(file.name, place)
            else:
                _take(file.name, place)
        finally:
            Path(file.name).unlink(missing_ok=True)


def _take(made: str, place: Path) -> None:
    """Give a file its place, unless somebody else was faster."""
    try:
        os.link(made, place)
    except FileExistsError:
        raise _Occupied from None
    except OSError:
        # A file system without hard links.
        if place.exists():
            raise _Occupied from None
        os.replace(made, place)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"{name!r} is no encoding that Python knows") from None
