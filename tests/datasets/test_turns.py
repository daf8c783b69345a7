"""Calls and their results: which conversations are whole, and what is said of those that are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from generated_datasets import checked

USER = {"role": "user", "content": "q"}
DONE = {"role": "assistant", "content": "done"}


def calls(*ids: str | None, **more: Any) -> dict[str, Any]:
    made = [{"type": "function", "function": {"name": "f", "arguments": "{}"}} for _ in ids]
    for call, id in zip(made, ids, strict=True):
        if id is not None:
            call["id"] = id
    return {"role": "assistant", "tool_calls": made, **more}


def result(id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "ok"}


def errors(*messages: dict[str, Any], method: str = "supervised", **fields: Any) -> list[tuple[str, str | None]]:
    """Kinds and paths, the same for the line alone and for one among many that are written alike."""
    rows = [{"messages": [*messages], **fields}] * 3
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    found = [(problem.line, str(problem.kind), problem.path) for problem in checked(content, method).errors.listed]
    first = [each[1:] for each in found if each[0] == 1]
    assert [each for each in found if each[0]] == [(line, *each) for line in (1, 2, 3) for each in first]
    return first


@pytest.mark.parametrize(
    "messages",
    [
        [USER, calls("a")],
        [USER, calls("a", "b")],
        [USER, calls("a"), result("a"), DONE],
        [USER, calls("a", "b"), result("b"), result("a"), DONE],
        [USER, calls("a"), result("a"), calls("b"), result("b"), DONE],
        [USER, calls("a"), result("a"), calls("a"), result("a"), DONE, USER, calls("a")],
        [USER, calls("a", content="let me see"), result("a"), result("a"), DONE],
        [USER, calls(None), result("whatever"), DONE],
        [USER, calls(None, None), result("x"), result("y"), DONE],
        [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, DONE],
    ],
)
def test_a_whole_conversation_is_good(messages: list[dict[str, Any]]) -> None:
    assert errors(*messages) == []


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER, calls("a"), DONE], [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, calls("a"), USER, DONE], [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, calls("a"), {"role": "system", "content": "s"}, result("a"), DONE],
         [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, calls("a"), calls("b"), result("a"), result("b"), DONE],
         [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, calls("a", "b"), result("a"), DONE], [("call_without_result", "messages[1].tool_calls[1]")]),
        ([USER, calls("a", "b", "c"), result("b"), DONE],
         [("call_without_result", "messages[1].tool_calls[0]"), ("call_without_result", "messages[1].tool_calls[2]")]),
        ([USER, DONE, USER, calls("a", "b"), result("b")], [("call_without_result", "messages[3].tool_calls[0]")]),
        ([USER, calls("a"), calls("b")], [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, calls(None), DONE], [("call_without_result", "messages[1].tool_calls[0]")]),
        ([USER, result("a"), DONE], [("result_without_call", "messages[1].tool_call_id")]),
        # One mistake is told once.
        ([USER, calls("a"), result("b"), DONE], [("result_without_call", "messages[2].tool_call_id")]),
    ],
)  # fmt: skip
def test_a_call_wants_its_result_before_the_next_turn(
    messages: list[dict[str, Any]], expected: list[tuple[str, str]]
) -> None:
    assert errors(*messages) == expected


def test_in_reinforcement_the_user_speaks_last_so_every_call_has_its_result() -> None:
    assert errors(USER, calls("a"), result("a"), USER, method="reinforcement", answer=1) == []
    assert errors(USER, calls("a"), USER, method="reinforcement", answer=1) == [
        ("call_without_result", "messages[1].tool_calls[0]")
    ]


def preference(given: list[dict[str, Any]], preferred: list[dict[str, Any]]) -> Any:
    row = {
        "input": {"messages": given},
        "preferred_output": preferred,
        "non_preferred_output": [{**DONE, "content": "x"}],
    }
    report = checked(json.dumps(row).encode() + b"\n", "dpo")
    return [(str(problem.kind), problem.path) for problem in report.errors.listed if problem.line]


def test_an_output_answers_its_own_calls_and_may_end_with_one() -> None:
    assert preference([USER], [calls("a")]) == []
    assert preference([USER], [calls("a"), result("a"), DONE]) == []
    assert preference([USER, calls("a"), result("a")], [DONE]) == []
    assert preference([USER], [calls("a", "b"), result("a"), DONE]) == [
        ("call_without_result", "preferred_output[0].tool_calls[1]")
    ]
    assert preference([USER], [result("a"), DONE]) == [("result_without_call", "preferred_output[0].tool_call_id")]
    assert preference([USER, calls("a")], [DONE]) == [("call_without_result", "input.messages[1].tool_calls[0]")]
    assert preference([USER], [result("a")])[-1] == ("no_assistant", "preferred_output")


def test_arguments_that_were_encoded_twice_are_a_warning() -> None:
    rows = [[USER, calls("a", content=f"{n}")] for n in range(12)]
    for n, arguments in ((5, '"{}"'), (6, '"{\\"x\\": 1}"'), (7, ' "x"'), (8, "[1]"), (9, '{"x": "{}"}')):
        rows[n][1]["tool_calls"][0]["function"]["arguments"] = arguments
    report = checked(b"".join(json.dumps({"messages": row}).encode() + b"\n" for row in rows))
    assert report.ok
    found = [problem for problem in report.warnings.listed if problem.kind == "arguments_encoded_twice"]
    assert [problem.line for problem in found] == [6, 7, 8]
    assert found[0].path == "messages[1].tool_calls[0].function.arguments"
