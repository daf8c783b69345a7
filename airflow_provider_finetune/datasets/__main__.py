"""The command ``finetune-dataset``: checks and converts datasets in a terminal, and checks them before a commit."""

from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

from airflow_provider_finetune.datasets import check_command, convert_command

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 0 for good, 1 for bad data, 2 for a file or an option of no use."""
    # A terminal, or a pipe, may know less characters than a message or the name of a file has.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(
        prog="finetune-dataset", description="Check datasets before a cent is spent, and convert what is none yet."
    )
    commands = parser.add_subparsers(required=True)
    for command in (check_command, convert_command):
        command.add_to(commands)
    options = parser.parse_args(arguments)
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
