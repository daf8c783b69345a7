"""The command ``finetune-dataset``: checks datasets in a terminal and before a commit."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, get_args

from airflow_provider_finetune.datasets.formats import Method
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.tokens import DEFAULT_ENCODING, EncodingUnavailable, TokenSource
from airflow_provider_finetune.datasets.validation import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_finetune.datasets.report import DatasetReport

GOOD, BAD, UNUSABLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for good datasets, 1 for errors in one, 2 when a file or an option cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.validation and len(options.files) > 1:
        parser.error("--validation goes with one training file")
    try:
        reports = [_checked(file, options) for file in options.files]
    except (OSError, EncodingUnavailable) as error:
        print(f"finetune-dataset: {error}", file=sys.stderr)
        return UNUSABLE
    if options.json:
        found = [report.as_json() for report in reports]
        print(json.dumps(found[0] if len(found) == 1 else found, indent=2))
    else:
        colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print("\n\n".join(report.text(colour=colour) for report in reports))
    return GOOD if all(report.ok for report in reports) else BAD


def _checked(file: str, options: argparse.Namespace) -> DatasetReport:
    return check(
        file,
        method=options.method,
        validation_path=options.validation,
        n_epochs=options.epochs,
        price_per_million_tokens=options.price,
        tokens=options.tokens,
        encoding=options.encoding,
        limits=Limits(listed=options.listed, min_examples=options.min_examples),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="finetune-dataset", description="Check datasets before a cent is spent.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("check", help="check JSON Lines files", description=main.__doc__)
    command.add_argument("files", nargs="+", metavar="FILE", help="a training file")
    command.add_argument("--method", choices=get_args(Method), default="supervised", help="default: %(default)s")
    command.add_argument("--validation", metavar="FILE", help="the validation file of the training file")
    command.add_argument("--epochs", type=_epochs, metavar="N", help="how often training reads the file")
    command.add_argument("--price", type=_price, metavar="P", help="for a million trained tokens, in any currency")
    command.add_argument(
        "--tokens",
        choices=get_args(TokenSource),
        default="auto",
        help="count with tiktoken where its encoding is on this machine (auto), insist on it, or only estimate",
    )
    command.add_argument("--encoding", default=DEFAULT_ENCODING, help="of tiktoken; default: %(default)s")
    command.add_argument("--listed", type=int, default=20, metavar="N", help="errors and warnings that are listed")
    command.add_argument(
        "--min-examples", type=int, default=10, metavar="N", help="fewer are an error; default: %(default)s"
    )
    command.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _epochs(text: str) -> int:
    if 1 <= (epochs := int(text)) <= 50:
        return epochs
    raise argparse.ArgumentTypeError(f"{epochs} is not 1 to 50")


def _price(text: str) -> float:
    if 0 <= (price := float(text)) < float("inf"):
        return price
    raise argparse.ArgumentTypeError(f"{text} is not a price")


if __name__ == "__main__":
    sys.exit(main())
