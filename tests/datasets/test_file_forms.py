"""A file that is no JSON Lines is named once, with how to convert it; a single bad line is named as one."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import SECRET, checked

from airflow_provider_finetune.datasets import Conversion, Rules
from airflow_provider_finetune.datasets.form import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


def rows(count: int, length: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{n} {SECRET} " + 'é, "x" ' * length},
                {"role": "assistant", "content": f"answer {n}", "weight": None},
            ],
            "parallel_tool_calls": False,
        }
        for n in range(count)
    ]


def dumped(row: Any, **style: Any) -> str:
    return json.dumps(row, ensure_ascii=False, **style)


def as_csv(count: int, delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["question", "the answer", "id"])
    writer.writerows([f'{n}: {SECRET}{delimiter} \n"so"', f"answer {n}", n] for n in range(count))
    return text.getvalue()


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("train.jsonl", content)
    return archive.getvalue()


FORMS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "array": ("a JSON array", lambda n: dumped(rows(n)).encode()),
    "array of lines": ("a JSON array", lambda n: ("[" + ",\n".join(map(dumped, rows(n))) + "]\n").encode()),
    "pretty array": ("a JSON array", lambda n: dumped(rows(n), indent=2).encode()),
    "array with a mark": ("a JSON array", lambda n: b"\xef\xbb\xbf" + dumped(rows(n)).encode()),
    "pretty": ("pretty-printed JSON", lambda n: "\n".join(dumped(row, indent=1) for row in rows(n)).encode()),
    "pretty with CR": ("pretty-printed JSON", lambda n: dumped(rows(1)[0], indent=1).replace("\n", "\r").encode()),
    "in one line": ("several JSON objects in a line", lambda n: "".join(map(dumped, rows(n))).encode()),
    "in one line, spaced": ("several JSON objects in a line", lambda n: " ".join(map(dumped, rows(n))).encode()),
    "in one line, commas": ("several JSON objects in a line", lambda n: ", ".join(map(dumped, rows(n))).encode()),
    "two in each line": (
        "several JSON objects in a line",
        lambda n: "".join(dumped(row) + dumped(row) + "\n" for row in rows(n)).encode(),
    ),
    "commas between lines": ("commas between them", lambda n: ",\n".join(map(dumped, rows(n))).encode()),
    "CR": ("lines that end in CR only", lambda n: "".join(dumped(row) + "\r" for row in rows(n)).encode()),
    "gzip": ("a gzip file", lambda n: gzip.compress("".join(dumped(row) + "\n" for row in rows(n)).encode())),
    "UTF-16": ("UTF-16", lambda n: "".join(dumped(row) + "\n" for row in rows(n)).encode("utf-16")),
    "UTF-16 big": ("UTF-16", lambda n: "".join(dumped(row) + "\n" for row in rows(n)).encode("utf-16-be")),
    "UTF-32": ("UTF-32", lambda n: "".join(dumped(row) + "\n" for row in rows(n)).encode("utf-32")),
    "UTF-32 bare": ("UTF-32", lambda n: "".join(dumped(row) + "\n" for row in rows(n)).encode("utf-32-le")),
    "CSV": ("a CSV file", lambda n: as_csv(n, ",").encode()),
    "CSV with semicolons": ("a CSV file", lambda n: b"\xef\xbb\xbf" + as_csv(n, ";").encode()),
    "TSV": ("a CSV file", lambda n: as_csv(n, "\t").encode()),
    "CSV in UTF-16": ("UTF-16", lambda n: as_csv(n, ",").encode("utf-16")),
}


@pytest.mark.parametrize("count", [12, 400])
@pytest.mark.parametrize("chunk", [1000, 1 << 20])
@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_another_form_is_named_once(name: str, count: int, chunk: int) -> None:
    found, made = FORMS[name]
    content = made(count)
    report = checked(content, chunk=chunk)
    (problem,) = report.errors.listed
    assert problem.line is None
    assert found in problem.found
    assert "`finetune-dataset convert" in problem.expected
    assert str(problem.kind) == ("not_utf8" if "UTF" in found else "not_json_lines")
    assert (report.errors.total, report.warnings.total, report.training.size) == (1, 0, len(content))
    assert SECRET not in report.text() + json.dumps(report.as_json())


@pytest.mark.parametrize("name", [name for name in FORMS if "CSV" not in FORMS[name][0] and "CSV" not in name])
@pytest.mark.parametrize("chunk", [HEAD_BYTES - 1, 7001])
def test_each_of_these_forms_is_converted_without_loss(name: str, chunk: int) -> None:
    count = 1 if name == "pretty with CR" else 300
    content = FORMS[name][1](count)
    conversion = Conversion()
    lines = list(conversion.lines(content[i : i + chunk] for i in range(0, len(content), chunk)))
    assert not conversion.problems
    twice = 2 if name == "two in each line" else 1
    assert [json.loads(line) for line in lines] == [row for row in rows(count) for _ in range(twice)]
    assert all(line.endswith(b"}\n") and b"\n" not in line[:-1] for line in lines)


@pytest.mark.parametrize(
    ("content", "found", "remedy"),
    [
        (zipped(b"{}"), "a ZIP file", "unpack it"),
        (bz2.compress(b"{}"), "a bzip2 file", "bunzip2"),
        (lzma.compress(b"{}"), "an xz file", "unxz"),
        (b"PAR1" + bytes(100), "a Parquet file", "JSON Lines"),
    ],
)
def test_what_cannot_be_converted_is_named_too(content: bytes, found: str, remedy: str) -> None:
    (problem,) = checked(content).errors.listed
    assert found in problem.found
    assert remedy in problem.expected
    conversion = Conversion()
    assert list(conversion.lines([content])) == []
    assert found in conversion.problems[0]
    assert remedy in conversion.problems[0]


def lines(count: int = 12) -> list[bytes]:
    return [dumped(row).encode() for row in rows(count)]


@pytest.mark.parametrize(
    ("bad", "kind", "found"),
    [
        (lambda line: line + line, "not_json", "more than one JSON value in the line, the next from column"),
        (lambda line: line + b"\r" + line, "not_json", "more than one JSON value in the line"),
        (lambda line: line + b",", "not_json", "a comma behind the object, at column"),
        (lambda line: line[:-5], "not_json", "JSON that is cut off at the end of the line, column"),
        (lambda line: b"[" + line + b"]", "not_object", "a list instead of an object"),
        (lambda line: b"question,answer", "not_json", "not JSON at column 1"),
        (lambda line: b"\xff\xfe" + line, "not_utf8", "bytes that are not UTF-8 at byte 1"),
    ],
)
@pytest.mark.parametrize("place", [0, 5, 11])
def test_one_bad_line_does_not_make_another_file(bad: Any, kind: str, found: str, place: int) -> None:
    content = lines()
    content[place] = bad(content[place])
    if kind == "not_utf8" and place == 0:
        pytest.skip("that is how a file in UTF-16 begins")
    report = checked(b"\n".join(content) + b"\n")
    assert [(problem.line, str(problem.kind)) for problem in report.errors.listed] == [(place + 1, kind)]
    assert found in report.errors.listed[0].found
    assert report.training.examples == 11


def test_json_that_breaks_at_the_end_of_a_line_is_reported_there() -> None:
    content = lines()
    content[4] = b'{"messages": [{"role": "user",   '
    (problem,) = checked(b"\n".join(content) + b"\n").errors.listed
    assert problem.found == "JSON that is cut off at the end of the line, column 31"


def test_the_form_of_a_file_may_be_allowed_and_then_lines_are_checked() -> None:
    report = checked(",\n".join(map(dumped, rows(12))).encode(), rules=Rules.of(allow=["not_json_lines"]))
    assert report.errors.by_kind == {"not_json": 11}


def test_lists_of_messages_are_no_json_array() -> None:
    content = b"".join(dumped(row["messages"]).encode() + b"\n" for row in rows(12))
    assert checked(content).errors.by_kind == {"not_object": 12}


ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ShareGPT": ("a ShareGPT row", {"conversations": [{"from": "human", "value": SECRET}]}),
    "Alpaca": ("an Alpaca row", {"instruction": SECRET, "input": "", "output": SECRET}),
    "TRL": ("a TRL preference", {"prompt": SECRET, "chosen": SECRET, "rejected": SECRET}),
    "TRL chat": ("a TRL prompt and completion", {"prompt": [{"role": "user"}], "completion": [{"role": "assistant"}]}),
    "batch": (
        "a request of the Batch API",
        {"custom_id": "1", "method": "POST", "url": "/v1", "body": {"messages": []}},
    ),
    "batch answer": ("an answer of the Batch API", {"custom_id": "1", "response": {"body": {}}}),
    "Bedrock": (
        "a Bedrock conversation",
        {"system": [{"text": "s"}], "messages": [{"role": "user", "content": [{"text": SECRET}]}]},
    ),
    "Gemini": ("a Gemini conversation", {"contents": [{"role": "user", "parts": [{"text": SECRET}]}]}),
    "Cohere": ("a Cohere conversation", {"messages": [{"role": "User", "content": SECRET}]}),
    "text": ("a plain text", {"text": SECRET}),
}


@pytest.mark.parametrize("method", ["supervised", "dpo"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_other_tools_are_named_as_what_they_are(name: str, method: str) -> None:
    found, row = ROWS[name]
    report = checked(dumped(row).encode() + b"\n" + (dumped(row).encode() + b"\n") * 30, method)
    (problem,) = report.errors.listed
    assert (str(problem.kind), problem.line) == ("wrong_format", 1)
    assert found in problem.found
    assert "convert" in problem.expected or "prompt" in problem.expected
    # Each is counted, and one is listed.
    assert report.errors.by_kind == {"wrong_format": 31}
    assert SECRET not in report.text()
