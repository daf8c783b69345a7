"""Two examples are the same when the model sees the same: duplicates, conflicts, and leaks into validation data."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from generated_datasets import TOOLS, checked
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dataset_corruption import quick as thorough

from airflow_provider_finetune.datasets import DatasetChecker

quick = settings(thorough, max_examples=60)


def example(n: int) -> dict[str, Any]:
    """A conversation with everything that can be written in more than one way."""
    call = {"id": f"call_{n}", "type": "function", "function": {"name": "get_weather", "arguments": f'{{"n": {n}}}'}}
    return {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"question {n}"},
            {"role": "assistant", "content": f"answer {n}"},
            {"role": "user", "content": [{"type": "text", "text": f"and {n}?"}]},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{n}", "content": "rain"},
            {"role": "assistant", "content": f"reply {n}"},
        ],
        "tools": TOOLS,
    }


def content(*rows: dict[str, Any], **style: Any) -> bytes:
    return b"".join(json.dumps(row, **style).encode() + b"\n" for row in rows)


def rewrite(row: dict[str, Any], draw: Any) -> dict[str, Any]:
    """The same example, written otherwise."""
    row = copy.deepcopy(row)
    row |= draw(
        st.sampled_from([{}, {"parallel_tool_calls": True}, {"parallel_tool_calls": None}, {"functions": None}])
    )
    row["tools"][0]["function"] |= draw(
        st.sampled_from([{}, {"strict": None}, {"strict": False}, {"description": None}])
    )
    for message in row["messages"]:
        if isinstance(message.get("content"), str) and draw(st.booleans()):
            message["content"] = [{"type": "text", "text": message["content"]}]
        if message["role"] != "tool":
            message |= draw(st.sampled_from([{}, {"name": ""}, {"name": None}]))
        if message["role"] == "assistant":
            message |= draw(st.sampled_from([{}, {"weight": 1}, {"weight": None}, {"weight": 0}]))
            message |= draw(st.sampled_from([{}, {"refusal": None}, {"refusal": ""}, {"function_call": None}]))
            if "tool_calls" in message:
                message |= draw(st.sampled_from([{}, {"content": None}, {"content": ""}]))
                message["tool_calls"][0]["id"] = row["messages"][5]["tool_call_id"] = draw(st.sampled_from("ab"))
            else:
                message |= draw(st.sampled_from([{}, {"tool_calls": None}]))
    if draw(st.booleans()):
        row["messages"] = [dict(reversed(message.items())) for message in row["messages"]]
    return row


@quick
@given(data=st.data(), ensure_ascii=st.booleans())
def test_an_example_is_a_duplicate_however_it_is_written(data: st.DataObject, ensure_ascii: bool) -> None:
    again = rewrite(example(3), data.draw)
    report = checked(content(*map(example, range(12))) + content(again, ensure_ascii=ensure_ascii))
    assert report.ok
    warned = [(problem.line, problem.kind) for problem in report.warnings.listed if problem.kind != "all_weights_zero"]
    assert warned == [(13, "duplicate")]


@quick
@given(data=st.data())
def test_a_prompt_that_is_trained_on_is_found_in_validation_data_however_it_is_written(data: st.DataObject) -> None:
    leaked = rewrite(example(3), data.draw)
    leaked["messages"][-1]["content"] = "another reply"
    checkers = [DatasetChecker("train.jsonl", tokens="estimate"), DatasetChecker("valid.jsonl", tokens="estimate")]
    checkers[0].feed(content(*map(example, range(12))))
    checkers[1].feed(content(example(20), leaked, example(21)))
    report = checkers[0].finish(checkers[1])
    assert [problem.line for problem in report.warnings.listed if problem.kind == "overlap"] == [2]


def test_turns_of_weight_0_do_not_hide_that_all_of_the_validation_data_is_trained_on() -> None:
    def turns(n: int, *weights: dict[str, int]) -> dict[str, Any]:
        said = [("user", f"q{n}"), ("assistant", f"a{n}"), ("user", "more"), ("assistant", f"z{n}")]
        messages = [{"role": role, "content": text} for role, text in said]
        for message, weight in zip(messages[1::2], weights, strict=False):
            message |= weight
        return {"messages": messages}

    for weights in (
        [{"weight": 0}],
        [{"weight": 0}, {"weight": 1}],
        [{"weight": 1}, {"weight": 0}],
        [{}, {"weight": 1}],
    ):
        training, validation = DatasetChecker("train.jsonl"), DatasetChecker("valid.jsonl")
        training.feed(content(*(turns(n) for n in range(20))))
        validation.feed(content(*(turns(n, *weights) for n in range(20))))
        assert training.finish(validation).warnings.by_kind["overlap"] == 20


OTHERS: list[tuple[str, Any]] = [
    ("another system message", lambda row: row["messages"][0].update(content="Be long.")),
    ("another role", lambda row: row["messages"][0].update(role="developer")),
    ("a name", lambda row: row["messages"][1].update(name="Ann")),
    ("other arguments", lambda row: row["messages"][4]["tool_calls"][0]["function"].update(arguments='{"n": 4}')),
    ("another function", lambda row: row["messages"][4]["tool_calls"][0]["function"].update(name="other")),
    ("another result", lambda row: row["messages"][5].update(content="sun")),
    ("no tools", lambda row: row.pop("tools")),
    ("no calls side by side", lambda row: row.update(parallel_tool_calls=False)),
]


@pytest.mark.parametrize(("what", "change"), OTHERS, ids=[what for what, _ in OTHERS])
def test_what_the_model_sees_makes_another_prompt(what: str, change: Any) -> None:
    other = example(3)
    change(other)
    assert not checked(content(*map(example, range(12)), other)).warnings.total


@pytest.mark.parametrize("reply", [{"content": "another"}, {"content": "reply 3", "refusal": "I cannot."}])
def test_another_reply_is_a_conflict(reply: dict[str, Any]) -> None:
    other = example(3)
    other["messages"][-1] |= reply
    assert checked(content(*map(example, range(12)), other)).warnings.by_kind == {"conflict": 1}


def test_what_follows_the_last_reply_teaches_nothing() -> None:
    rows = [example(n) for n in range(12)]
    thanked = copy.deepcopy(rows[3])
    thanked["messages"].append({"role": "user", "content": "thanks"})
    assert checked(content(*rows, thanked)).warnings.by_kind == {"duplicate": 1, "last_turn": 1}


def test_a_text_moved_to_another_turn_is_another_example() -> None:
    def called(first: str | None, second: str | None) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
        for text in (first, second):
            call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            messages.append({"role": "assistant", "content": text, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": "c", "content": "r"})
        return {"messages": [*messages, {"role": "assistant", "content": "done"}]}

    rows = [called("x", None), called(None, "x"), called("x", ""), called("", "x")]
    report = checked(content(*map(example, range(12)), *rows))
    assert [(problem.line, problem.kind) for problem in report.warnings.listed] == [
        (15, "duplicate"),
        (16, "duplicate"),
    ]


def pair(good: Any, bad: Any) -> dict[str, Any]:
    def output(reply: Any) -> list[dict[str, Any]]:
        return reply if isinstance(reply, list) else [{"role": "assistant", "content": reply}]

    asked = {"messages": [{"role": "user", "content": "q"}]}
    return {"input": asked, "preferred_output": output(good), "non_preferred_output": output(bad)}


@pytest.mark.parametrize(
    "other",
    [
        "same",
        [{"role": "assistant", "content": "same", "weight": 1}],
        [{"content": "same", "role": "assistant", "refusal": None, "name": ""}],
        [{"role": "assistant", "content": [{"type": "text", "text": "same"}]}],
    ],
)
def test_a_preference_between_equal_outputs_is_an_error(other: Any) -> None:
    rows = [pair(f"good {n}", f"bad {n}") for n in range(12)]
    for row in (pair("same", other), pair(other, "same")):
        report = checked(content(*rows, row, pair("same", "different")), "dpo")
        assert [(problem.line, problem.kind) for problem in report.errors.listed] == [(13, "same_outputs")]
