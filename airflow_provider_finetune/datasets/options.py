"""Options that the commands of ``finetune-dataset`` share, and the numbers and words they take."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.rules import Rules
from airflow_provider_finetune.datasets.vendors import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD, BAD, UNUSABLE = 0, 1, 2
STANDARD_INPUT = "-"


def add_rules(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is an error."""
    command.add_argument(
        "--for",
        dest="endpoint",
        choices=ENDPOINTS,
        default="any",
        help="whose rules hold; any warns of what only some refuse. default: %(default)s",
    )
    command.add_argument(
        "--allow", action="append", default=[], metavar="KIND", help="do not report problems of this kind; repeatable"
    )
    command.add_argument(
        "--refuse", action="append", default=[], metavar="KIND", help="make problems of this kind errors; repeatable"
    )
    command.add_argument(
        "--max-line-bytes",
        type=whole(1),
        default=Limits().max_line_bytes,
        metavar="N",
        help="longer lines are errors; default: %(default)s",
    )


def rules_of(options: argparse.Namespace) -> Rules:
    """Return the rules that the options ask for.

    :raises ValueError: a kind is none.
    """
    return Rules.of(options.endpoint, options.allow, options.refuse)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads a whole number of an option."""
    expected = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
        return number

    return read


def price(text: str) -> float:
    """Read a price."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if 0 <= found < float("inf"):
        return found
    raise argparse.ArgumentTypeError(f"{text!r} is not a price of 0 or more")


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """Open a file to read its bytes; ``-`` is standard input."""
    if file == STANDARD_INPUT:
        yield cast("BinaryIO", sys.stdin.buffer)
        return
    with open(file, "rb", buffering=0) as opened_file:
        yield cast("BinaryIO", opened_file)


def show(text: str) -> None:
    """Print on standard output; when nobody reads it any more, do nothing."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would try to write the rest as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(about: str, error: object) -> None:
    """Tell on standard error why something is of no use."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    print(f"finetune-dataset: {about}: {reason}", file=sys.stderr)


def is_coloured() -> bool:
    """Return whether the output is for a terminal that wants colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
