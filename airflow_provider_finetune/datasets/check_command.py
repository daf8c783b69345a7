"""``finetune-dataset check``: the report on datasets, for people or as JSON."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_finetune.datasets import options as shared
from airflow_provider_finetune.datasets.chunks import chunks_of
from airflow_provider_finetune.datasets.formats import Method
from airflow_provider_finetune.datasets.lines import Limits
from airflow_provider_finetune.datasets.pairs import Pair, pairs_by_name, pairs_of
from airflow_provider_finetune.datasets.tokens import DEFAULT_ENCODING, ENCODINGS, EncodingUnavailable, TokenSource
from airflow_provider_finetune.datasets.validation import DatasetChecker, for_validation

if TYPE_CHECKING:
    import argparse

    from airflow_provider_finetune.datasets.report import DatasetReport
    from airflow_provider_finetune.datasets.rules import Rules


def add_to(commands: Any) -> None:
    """Add the command to its parser."""
    command: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="check JSON Lines files",
        description="Check JSON Lines files. Exit code 0: good; 1: errors; 2: a file or an option is of no use.",
    )
    command.add_argument("files", nargs="*", metavar="FILE", help="a training file; - is standard input")
    command.add_argument("--method", choices=get_args(Method), default="supervised", help="default: %(default)s")
    command.add_argument(
        "--validation",
        action="append",
        default=[],
        metavar="FILE",
        help="the validation file of a training file; repeatable, in the order of the training files; or alone",
    )
    command.add_argument(
        "--by-name",
        action="store_true",
        help="the names say which files are for validation, and which go together: train.jsonl and valid.jsonl",
    )
    shared.add_rules(command)
    command.add_argument("--epochs", type=shared.whole(1, 50), metavar="N", help="how often training reads the file")
    command.add_argument("--price", type=shared.price, metavar="P", help="for a million trained tokens, any currency")
    command.add_argument(
        "--tokens",
        choices=get_args(TokenSource),
        default="auto",
        help="count with tiktoken where its encoding is on this machine (auto), insist on it, or only estimate",
    )
    command.add_argument(
        "--encoding", choices=ENCODINGS, default=DEFAULT_ENCODING, help="of tiktoken; default: %(default)s"
    )
    command.add_argument(
        "--listed", type=shared.whole(0), default=20, metavar="N", help="errors and warnings that are listed"
    )
    command.add_argument(
        "--min-examples",
        type=shared.whole(0),
        default=10,
        metavar="N",
        help="fewer in a training file are an error; default: %(default)s",
    )
    command.add_argument("--json", action="store_true", help="print the report as JSON, one for each pair in a list")
    command.set_defaults(run=_run, error=command.error)


def _run(options: argparse.Namespace) -> int:
    pairs, rules = _understood(options)
    reports: list[Any] = []
    code = shared.GOOD
    for pair in pairs:
        try:
            report = _checked(pair, options, rules)
        except (OSError, EncodingUnavailable) as error:
            name = getattr(error, "filename", None) or pair.training or pair.validation
            shared.complain(str(name), error)
            code = shared.UNUSABLE
            reports.append({"ok": False, "file": str(name), "unusable": str(getattr(error, "strerror", error))})
            continue
        code = max(code, shared.GOOD if report.ok else shared.BAD)
        if options.json:
            reports.append(report.as_json())
        else:
            shared.show(report.text(colour=shared.is_coloured()) + ("" if pair is pairs[-1] else "\n"))
    if options.json:
        shared.show(json.dumps(reports[0] if len(reports) == 1 else reports, indent=2))
    return code


def _understood(options: argparse.Namespace) -> tuple[list[Pair], Rules]:
    """Return what to check and by which rules; leave with a message if the options make no sense."""
    try:
        rules = shared.rules_of(options)
        if options.by_name:
            pairs = pairs_by_name([*options.files, *options.validation], os.path.exists)
        else:
            pairs = pairs_of(options.files, options.validation)
    except ValueError as error:
        options.error(str(error))
    names = [name for pair in pairs for name in pair[:2] if name is not None]
    if not pairs:
        options.error("no file to check")
    if names.count(shared.STANDARD_INPUT) > 1:
        options.error("standard input can be read once")
    if options.price is not None and options.epochs is None:
        options.error("--price needs --epochs: cost grows with them")
    return pairs, rules


def _checked(pair: Pair, options: argparse.Namespace, rules: Rules) -> DatasetReport:
    limits = Limits(listed=options.listed, min_examples=options.min_examples, max_line_bytes=options.max_line_bytes)

    def checked(file: str, limits: Limits) -> DatasetChecker:
        name = "standard input" if file == shared.STANDARD_INPUT else file
        checker = DatasetChecker(
            name, options.method, tokens=options.tokens, encoding=options.encoding, limits=limits, rules=rules
        )
        with shared.opened(file) as source:
            for chunk in chunks_of(source, name):
                checker.feed(chunk)
        return checker

    validation = None if pair.validation is None else checked(pair.validation, for_validation(limits))
    training = None if pair.training is None else checked(pair.training, limits)
    if training is None:
        training, validation = validation, None
    assert training is not None
    return training.finish(
        validation,
        n_epochs=options.epochs,
        price_per_million_tokens=options.price,
        is_complete=pair.is_complete,
    )
