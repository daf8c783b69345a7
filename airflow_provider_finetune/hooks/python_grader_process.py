"""The process in which a ``python`` grader runs: a program of its own, which imports nothing of this package.

Run as ``python -I python_grader_process.py <seconds> <megabytes>``. The first line of its input is the source as a
JSON string; each further line is ``{"sample": …, "item": …}``, and is answered by a line ``{"grade": …}`` or
``{"error": …}``.
"""

import json
import math
import os
import resource
import sys
from typing import Any


def limited(kind: int, most: int) -> None:
    """Set a limit that the grader cannot raise again."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, most) if hard == resource.RLIM_INFINITY else (min(most, hard), min(most, hard)))


def another_turn(seconds: int) -> None:
    """Grant the seconds of CPU for one more example; the limit counts from the start of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def main(seconds: int, megabytes: int) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what the grader prints is nobody's
        os.dup2(nothing, standard)
    source = json.loads(questions.readline())
    limited(resource.RLIMIT_AS, megabytes * 1024 * 1024)
    limited(resource.RLIMIT_FSIZE, 0)
    limited(resource.RLIMIT_NOFILE, 64)
    limited(resource.RLIMIT_CORE, 0)
    another_turn(seconds)
    names: dict[str, Any] = {"__name__": "grader"}
    grade: Any = None
    told: dict[str, Any]
    broken = ""
    try:
        exec(compile(source, "grader.py", "exec"), names)  # noqa: S102 - the user asked for it: allow_python=True
        grade = names["grade"]
    except BaseException as error:  # noqa: BLE001
        broken = f"{type(error).__name__} while it was loaded"
    for line in questions:
        another_turn(seconds)
        try:
            if grade is None:
                raise RuntimeError(broken)
            asked = json.loads(line)
            value = float(grade(asked["sample"], asked["item"]))
            if not math.isfinite(value):
                raise ValueError
            told = {"grade": value}
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the grader's
            # Not its message, which may quote the example.
            told = {"error": broken or type(error).__name__}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
