"""Lines and files that are made to be expensive: what is looked at of them, told and counted has bounds."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import checked

from airflow_provider_finetune.datasets import Conversion, Limits, Rules, check, chunks, records
from airflow_provider_finetune.datasets import explain as module
from airflow_provider_finetune.datasets.__main__ import main
from airflow_provider_finetune.datasets.explain import explain
from airflow_provider_finetune.datasets.problem import MOST_FAULTS
from airflow_provider_finetune.datasets.reading import MOST_VALUES

if TYPE_CHECKING:
    from pathlib import Path

USER = {"role": "user", "content": "q"}
DONE = {"role": "assistant", "content": "done"}
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


def line(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"messages": messages, **fields}).encode() + b"\n"


def found(content: bytes, **rules: Any) -> list[tuple[str, str | None]]:
    report = checked(content, limits=Limits(min_examples=1), rules=Rules.of(**rules))
    return [(str(problem.kind), problem.path) for problem in report.errors.listed]


MANY: list[Any] = [{}] * 3000


@pytest.mark.parametrize(
    "content",
    [
        line(*MANY),
        line({"role": "user", "content": MANY}, DONE),
        line(USER, {"role": "assistant", "tool_calls": MANY}),
        line(USER, DONE, tools=MANY),
        line(USER | {f"key {n}": n for n in range(3000)}, DONE),
        line(USER, DONE, scores=[float("nan")] * 3000),
        line(USER, DONE)[:-2] + b"," + json.dumps(dict.fromkeys(map(str, range(300)), 0)).encode()[1:-1] + b","
        + json.dumps(dict.fromkeys(map(str, range(300)), 1)).encode()[1:],
        line(USER, *[{"role": "tool", "tool_call_id": "x", "content": ""}] * 3000, DONE),
        line(USER, DONE, tools=[{"type": "function", "function": {"name": "f", "parameters": {"properties": {
            str(n): {"type": "x"} for n in range(3000)}}}}]),
    ],
)  # fmt: skip
def test_of_one_line_the_first_hundred_errors_are_told_and_counted(content: bytes) -> None:
    assert len(explain(content, "supervised").errors) == MOST_FAULTS == 100
    assert checked(content, limits=Limits(min_examples=1)).errors.total == 100


def test_pydantic_describes_no_more_than_the_beginning_of_a_large_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a kilobyte for each of the mistakes."""
    described = []
    explained = module._explained
    monkeypatch.setattr(module, "_explained", lambda *given: described.append(given) or explained(*given))
    explain(line(*MANY * 10), "supervised")
    assert 100 <= len(described) <= 1000


def test_mistakes_far_behind_the_beginning_of_a_line_are_told_in_sum() -> None:
    content = line(*[USER] * 2000, *[{}] * 12_000)
    assert [fault.found for fault in explain(content, "supervised").errors] == [
        "an example with 12,000 mistakes in lists or objects of thousands"
    ]


def test_a_mistake_far_behind_the_beginning_of_a_line_is_named_with_its_place() -> None:
    assert found(line(*[USER] * 2000, {"role": "bot", "content": ""}, DONE)) == [
        ("unknown_role", "messages[2000].role")
    ]


def test_a_good_line_may_be_large() -> None:
    assert found(line(*[USER, DONE] * 1500)) == []
    result = {"role": "tool", "content": "ok"}
    calls = [{**CALL, "id": f"c{n}"} for n in range(1500)]
    results = [{**result, "tool_call_id": f"c{n}"} for n in range(1500)]
    assert found(line(USER, {"role": "assistant", "tool_calls": calls}, *results, DONE)) == []
    assert found(line(USER, {"role": "assistant", "tool_calls": calls}, *results[1:], DONE)) == [
        ("call_without_result", "messages[1].tool_calls[0]")
    ]


def test_an_error_behind_thousands_that_are_allowed_is_found() -> None:
    message = USER | {f"key {n}": n for n in range(500)}
    assert found(line(message, {"role": "bot"}), allow=["unknown_field"]) == [("unknown_role", "messages[1].role")]
    numbers = [float("nan")] * 20_000
    content = line(USER, DONE, scores=numbers)[:-2] + b', "id": 1, "id": 2}\n'
    assert found(content, allow=["not_finite", "ignored_field"]) == [("duplicate_key", "id")]


def test_a_line_of_very_many_values_is_refused_before_it_is_read() -> None:
    content = b'{"messages": [' + b"{}," * (MOST_VALUES // 2 + 1) + b"{}]}\n"
    assert found(content) == [("line_too_long", None)]


def test_a_file_that_never_ends_is_read_up_to_what_an_endpoint_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "MOST_BYTES", 3_000_000)
    with pytest.raises(OSError, match="has more than 3,000,000 bytes, which is what an endpoint takes"):
        check("/dev/zero")
    large = tmp_path / "train.jsonl"
    large.write_bytes(line(USER, DONE))
    os.truncate(large, 3_000_001)
    with pytest.raises(OSError, match=str(large)):
        check(large)


@pytest.mark.parametrize("command", ["check", "convert"])
def test_the_commands_say_that_a_file_never_ends(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chunks, "MOST_BYTES", 1000)
    assert main([command, "/dev/zero", *([str(tmp_path / "out.jsonl")] if command == "convert" else [])]) == 2
    assert capsys.readouterr().err == (
        "finetune-dataset: /dev/zero: has more than 1,000 bytes, which is what an endpoint takes\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_file_that_unpacks_to_too_much_is_not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_BYTES", 300_000)
    conversion = Conversion()
    packed = gzip.compress(line(USER, DONE) * 4000)
    assert len(packed) < 30_000
    assert sum(map(len, conversion.lines([packed]))) <= 300_000
    assert conversion.problems == ["a gzip file that holds more than 300,000 bytes"]
