"""Good files, made bad in every way that a file can be bad: the right line, the right kind, never an exception."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from generated_datasets import OPENAI, SECRET, Style, call, checked, good_rows, styles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.datasets import Limits, Rules
from airflow_provider_finetune.datasets.explain import explain
from airflow_provider_finetune.datasets.remarks import ONCE

EXAMPLES = 130
quick = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def corrupted_line(how: str, line: bytes, draw: Any) -> bytes:
    """A line with bytes, or JSON, that no reader should take."""
    anywhere = draw(st.integers(0, len(line)))
    inside = draw(st.integers(1, len(line) - 1))
    match how:
        case "bom":
            return b"\xef\xbb\xbf" + line
        case "not_utf8":
            broken = draw(st.sampled_from([b"\x80", b"\xfe", b"\xc3(", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]))
            # Not into the middle of another character.
            while anywhere < len(line) and line[anywhere] & 0xC0 == 0x80:
                anywhere += 1
            return line[:anywhere] + broken + line[anywhere:]
        case "nul_byte":
            return line[:anywhere] + b"\0" + line[anywhere:]
        case "not_finite":
            number = draw(st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e400"]))
            return b'{"extra": ' + number.encode() + b", " + line[1:]
        case "huge_number":
            return b'{"extra": ' + b"9" * 5000 + b", " + line[1:]
        case "duplicate_key":
            again = draw(
                st.sampled_from([b'"role": "user"', b'"r\\u006fle": "user"', b'"role" :"user"', b'"role":"assistant"'])
            )
            # A quote that is not escaped: this is a message, and no text about one.
            at = draw(st.sampled_from([i for i in range(len(line)) if line.startswith(b'"role"', i)]))
            return line[:at] + again + b"," + line[at:]
        case "duplicate_top_key":
            return b'{"messages": ' + draw(st.sampled_from([b"[]", b"7", b'{"a": 1}'])) + b"," + line[1:]
        case "blank_line":
            return draw(st.sampled_from([b"", b" ", b"\t", b" \t "]))
        case "not_json":
            return draw(
                st.sampled_from(
                    [
                        line[:inside],
                        line + b"}",
                        line + b" x",
                        line[:-1],
                        line[1:],
                        line[:-1] + b",}",
                        line.replace(b'"', b"'"),
                        line + b" " + line,
                        line.replace(SECRET.encode(), b"\x01", 1),
                        line.replace(SECRET.encode(), b"\\x", 1),
                        line.replace(SECRET.encode(), b"\\u12", 1),
                    ]
                )
            )
        case "not_object":
            return draw(st.sampled_from([b"[]", b"[1]", b"7", b"null", b"true", b'"text"', b"-1.5e3"]))
        case "too_deep":
            depth = draw(st.sampled_from([101, 500, 5000]))
            opened, closed = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
            return b'{"extra": ' + opened * depth + b"1" + closed * depth + b", " + line[1:]
        case "lone_surrogate":
            half = draw(st.sampled_from([b"\\ud800", b"\\uDFFF", b"\\udc00\\ud800", b"\\ud83d\\u0041"]))
            return line.replace(SECRET.encode(), half, 1)
    raise AssertionError(how)


def corrupted_row(how: str, row: dict[str, Any], draw: Any) -> None:
    """Spoil an example; which is JSON all the same."""
    messages = row["messages"]
    place = draw(st.integers(0, len(messages) - 1))
    message = messages[place]
    last = messages[-1]
    match how:
        case "missing_field":
            target, key = draw(st.sampled_from([(row, "messages"), (message, "role")]))
            del target[key]
        case "empty_messages":
            messages.clear()
        case "wrong_type":
            wrong = draw(st.sampled_from([7, True, {}, 1.5]))
            target, key = draw(st.sampled_from([(row, "messages"), (message, "role"), (message, "content")]))
            target[key] = wrong
        case "wrong_type_of_message":
            messages[place] = draw(st.sampled_from(["text", 7, None, []]))
        case "unknown_role":
            role = draw(st.text(max_size=30).filter(lambda role: role not in ROLES))
            message["role"] = role
        case "missing_content":
            user = draw(st.sampled_from([m for m in messages if m["role"] != "assistant"]))
            if draw(st.booleans()):
                del user["content"]
            else:
                user["content"] = None
        case "missing_reply":
            nothing = st.sampled_from(["", None, " ", "\n\t ", "\u00a0", "\u2003\u3000"])
            parts = nothing.filter(bool).map(lambda text: [{"type": "text", "text": text}])
            last["content"] = draw(nothing | parts | st.just([{"type": "text", "text": ""}] * 2))
        case "unknown_field":
            message[draw(st.sampled_from(["wieght", "metadata", "Content", "tool_call"]))] = SECRET
        case "misplaced_weight":
            user = draw(st.sampled_from([m for m in messages if m["role"] not in ("assistant", "tool")]))
            user["weight"] = draw(st.sampled_from([0, 1]))
        case "extra_field":
            row[draw(st.sampled_from(["weight", "id", "metadata"]))] = draw(st.sampled_from([1, None, SECRET, {}]))
        case "bad_weight":
            last["weight"] = draw(st.sampled_from([2, -1, "1", 0.5, True, False, 1.0, []]))
        case "bad_name":
            user = draw(st.sampled_from([m for m in messages if m["role"] == "user"]))
            user["name"] = draw(st.sampled_from(["two words", " ", "a<b", "x" * 65, "a\\b"]))
        case "bad_tool_name":
            last["tool_calls"] = [call(9)]
            last["tool_calls"][0]["function"]["name"] = draw(
                st.sampled_from(["get weather", "wétter", "", "a.b", "x" * 65, "a\n"])
            )
        case "arguments_not_json":
            last["tool_calls"] = [call(9)]
            last["tool_calls"][0]["function"]["arguments"] = draw(
                st.sampled_from([SECRET, "", "{", "{'a': 1}", "NaN", '{"a": 1,}', "[" * 5000])
            )
        case "result_without_call":
            messages.insert(place, {"role": "tool", "tool_call_id": "call_nowhere", "content": SECRET})
        case "function_result_without_call":
            messages.insert(place, {"role": "function", "name": "get_weather", "content": SECRET})
        case "no_assistant":
            row["messages"] = [m for m in messages if m["role"] in ("system", "developer", "user")]
        case "last_turn":
            messages.append({"role": "user", "content": SECRET})
        case "misplaced_image":
            image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
            last["content"] = [{"type": "text", "text": SECRET}, image]
        case "bad_image":
            urls = [
                *("/data/a.png", "a.png", "C:\\a.png", "file:///a.png", "s3://bucket/a.png", "http:///a.png"),
                *("iVBORw0KGgo=", "data:image/gif;base64,R0lGOA==", "data:image/svg+xml;base64,AAAA"),
                *("data:;base64,AAAA", "data:image/png,AAAA", "data:image/png;base64,", "data:image/png;base64,A?A="),
                *("data:image/png;base64,AAAAA", "data:image/jpeg;base64,R0lGODlhAQABAAAAACw="),
            ]
            image = {"type": "image_url", "image_url": {"url": draw(st.sampled_from(urls))}}
            messages.insert(0, {"role": "user", "content": [{"type": "text", "text": SECRET}, image]})
        case "call_without_result":
            calls = [call(n) for n in range(7, 7 + draw(st.integers(1, 3)))]
            results = [{"role": "tool", "tool_call_id": made["id"], "content": SECRET} for made in calls]
            results.pop(draw(st.integers(0, len(results) - 1)))
            messages[:0] = [{"role": "user", "content": SECRET}, {"role": "assistant", "tool_calls": calls}, *results]
        case "call_without_id":
            last["tool_calls"] = [call(9)]
            del last["tool_calls"][0]["id"]
        case "too_many_images":
            image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
            messages.insert(0, {"role": "user", "content": [image] * draw(st.integers(11, 14))})
        case "unknown_part":
            messages.insert(0, {"role": "user", "content": [{"type": draw(st.sampled_from(["video", ""]))}]})
        case "bad_value":
            row["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]
        case "wrong_format":
            prompt, completion = {"prompt": SECRET, "completion": SECRET}, {"role": "assistant", "content": SECRET}
            pair = {"input": dict(row), "preferred_output": [completion], "non_preferred_output": [completion]}
            other = draw(st.sampled_from([prompt, pair]))
            row.clear()
            row.update(other)
        case _:
            raise AssertionError(how)


ROLES = ("system", "developer", "user", "assistant", "tool", "function")
LINES = [
    "bom",
    "not_utf8",
    "nul_byte",
    "not_finite",
    "huge_number",
    "duplicate_key",
    "duplicate_top_key",
    "blank_line",
    "not_json",
    "not_object",
    "too_deep",
    "lone_surrogate",
]
ROWS = [
    "missing_field",
    "empty_messages",
    "wrong_type",
    "wrong_type_of_message",
    "unknown_role",
    "missing_content",
    "missing_reply",
    "unknown_field",
    "bad_weight",
    "bad_name",
    "bad_tool_name",
    "arguments_not_json",
    "result_without_call",
    "function_result_without_call",
    "no_assistant",
    "last_turn",
    "misplaced_image",
    "too_many_images",
    "bad_image",
    "call_without_result",
    "call_without_id",
    "misplaced_weight",
    "extra_field",
    "unknown_part",
    "bad_value",
    "wrong_format",
]
KIND = {
    "duplicate_top_key": "duplicate_key",
    "wrong_type_of_message": "wrong_type",
    "missing_reply": "missing_content",
    "function_result_without_call": "result_without_call",
    "misplaced_weight": "unknown_field",
    "extra_field": "ignored_field",
}


def kind_of(how: str) -> str:
    return KIND.get(how, how)


def found_in(report: Any) -> set[tuple[int | None, str]]:
    assert SECRET not in json.dumps(report.as_json())
    assert SECRET not in report.text()
    return {(problem.line, str(problem.kind)) for problem in report.errors.listed}


@pytest.mark.parametrize("how", LINES)
@quick
@given(data=st.data(), rows=good_rows(), style=styles, chunk=st.sampled_from([7, 100, 1 << 20]))
def test_a_corrupted_line_is_named_with_its_kind(
    how: str, data: st.DataObject, rows: list[dict[str, Any]], style: Style, chunk: int
) -> None:
    lines = [style.line(row) for row in rows]
    # Readers that open a file as UTF-16 look at its first line; the others may be anywhere.
    bad = data.draw(st.integers(0, len(lines) - 1))
    lines[bad] = corrupted_line(how, lines[bad], data.draw)
    report = checked(style.file(lines), chunk=chunk, limits=Limits(min_examples=1), rules=OPENAI)
    assert found_in(report) == {(bad + 1, kind_of(how))}
    assert report.training.examples == len(lines) - 1


@pytest.mark.parametrize("how", ROWS)
@quick
@given(data=st.data(), rows=good_rows(), style=styles)
def test_a_corrupted_example_is_named_with_its_kind(
    how: str, data: st.DataObject, rows: list[dict[str, Any]], style: Style
) -> None:
    bad = data.draw(st.integers(0, len(rows) - 1))
    rows[bad] = copy.deepcopy(rows[bad])
    corrupted_row(how, rows[bad], data.draw)
    report = checked(style.file([style.line(row) for row in rows]), limits=Limits(min_examples=1), rules=OPENAI)
    assert found_in(report) == {(bad + 1, kind_of(how))}
    assert report.training.examples == len(rows) - 1


@quick
@given(data=st.data(), rows=good_rows(), style=styles)
def test_a_last_line_that_is_cut_off_is_named(data: st.DataObject, rows: list[dict[str, Any]], style: Style) -> None:
    lines = [style.line(row) for row in rows]
    whole = style.file(lines[:-1])
    cut = lines[-1][: data.draw(st.integers(1, len(lines[-1]) - 1))].decode(errors="ignore").encode()
    report = checked(whole + cut, limits=Limits(min_examples=1))
    assert found_in(report) == {(len(lines), "truncated_line")}


@quick
@given(data=st.data(), rows=good_rows(), style=styles, chunk=st.sampled_from([64, 1000, 1 << 20]))
def test_a_line_over_the_size_limit_is_named_and_not_held(
    data: st.DataObject, rows: list[dict[str, Any]], style: Style, chunk: int
) -> None:
    bad = data.draw(st.integers(0, len(rows) - 1))
    rows[bad] = {"messages": [{"role": "user", "content": SECRET * 2000}, {"role": "assistant", "content": "a"}]}
    limits = Limits(min_examples=1, max_line_bytes=20_000)
    report = checked(style.file([style.line(row) for row in rows]), chunk=chunk, limits=limits)
    assert found_in(report) == {(bad + 1, "line_too_long")}
    assert report.training.lines == len(rows)


@quick
@given(rows=good_rows(), style=styles, keep=st.integers(1, 9))
def test_fewer_than_ten_examples_are_too_few(rows: list[dict[str, Any]], style: Style, keep: int) -> None:
    report = checked(style.file([style.line(row) for row in rows[:keep]]))
    assert found_in(report) == {(None, "too_few_examples")}


@pytest.mark.parametrize("method", ["supervised", "dpo", "reinforcement", "completion"])
@quick
@given(data=st.data(), style=styles, chunk=st.sampled_from([5, 100, 1 << 20]), has_last_ending=st.booleans())
def test_good_files_are_good(method: str, data: st.DataObject, style: Style, chunk: int, has_last_ending: bool) -> None:
    rows = data.draw(good_rows(method, fewest=10))
    content = style.file([style.line(row) for row in rows])
    report = checked(content if has_last_ending else content.rstrip(b"\r\n"), method, chunk=chunk)
    assert found_in(report) == set()
    assert report.training.examples == len(rows)
    assert set(report.warnings.by_kind) <= {"images_not_counted"}


@settings(quick, max_examples=600)
@given(
    data=st.data(),
    method=st.sampled_from(["supervised", "dpo", "reinforcement", "completion"]),
    style=styles,
    rules=st.sampled_from([Rules(), OPENAI, Rules("azure"), Rules.of("nebius", allow=["bad_name"], refuse=["bom"])]),
)
def test_what_is_checked_fast_is_judged_like_what_is_checked_thoroughly(
    data: st.DataObject, method: Any, style: Style, rules: Rules
) -> None:
    """Random bytes of a file are changed; the pass over it finds in each line what the thorough look at it finds."""
    rows = data.draw(good_rows(method))
    lines = [style.line(row) for row in [*rows, *rows]]
    for _ in range(data.draw(st.integers(1, 4))):
        bad = data.draw(st.integers(0, len(lines) - 1))
        line = lines[bad]
        at = data.draw(st.integers(0, len(line)))
        token = data.draw(st.sampled_from([b"", b'"', b"\\", b"}", b",", b"x", b"\xff", b"\0", b"0", b" ", b'"a":1,']))
        lines[bad] = line[:at] + token + line[at + data.draw(st.integers(0, 2)) :]
    report = checked(style.file(lines), method, limits=Limits(listed=10_000, min_examples=0), rules=rules)
    assert_judged_alike(report, lines, method, rules)


def assert_judged_alike(report: Any, lines: list[bytes], method: Any, rules: Rules) -> None:
    """Each line of the report has the problems that the models find in it, but for those that are told once."""
    thorough = [
        (number, explain(line, method, rules, is_first=number == 1)) for number, line in enumerate(lines, start=1)
    ]
    once: set[Any] = set()
    for tally, found in ((report.errors, "errors"), (report.warnings, "warnings")):
        expected = [(number, fault) for number, looked_at in thorough for fault in getattr(looked_at, found)]
        expected = [
            (number, fault.kind, fault.path)
            for number, fault in expected
            if fault.kind not in (*ONCE, "wrong_format") or not (fault.found in once or once.add(fault.found))
        ]
        of_the_file = {"duplicate", "conflict", "images_not_counted", "imbalance"}
        listed = [(each.line, each.kind, each.path) for each in tally.listed if each.kind not in of_the_file]
        assert listed == expected


# Whatever differs in every line, and what is wrong with it: most lines take the fast path.
TEXTS = ["", " ", "\n", "\u00a0", "a", "b", '"q"', "é", "{}", '{"x": 1}', '"{}"', "[1]", "null", "call_1", "call_2"]


@settings(quick, max_examples=400)
@given(data=st.data(), style=styles, rules=st.sampled_from([Rules(), OPENAI, Rules("azure")]))
def test_texts_and_ids_of_lines_that_are_written_alike_are_judged_like_one_by_one(
    data: st.DataObject, style: Style, rules: Rules
) -> None:
    draw = data.draw
    method, shape = draw(st.sampled_from(SHAPES))
    good = shape(["question", "call_1", "call_2", "{}", "{}", "call_1", "call_2", "one", "two", "three"])
    rows = [good, good, *(shape(draw(st.lists(st.sampled_from(TEXTS), min_size=10, max_size=10))) for _ in range(12))]
    lines = [style.line(row) for row in rows]
    report = checked(style.file(lines), method, limits=Limits(listed=10_000, min_examples=0), rules=rules)
    assert_judged_alike(report, lines, method, rules)


def _called(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def _two_calls(t: list[str]) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": t[0]},
        {"role": "assistant", "content": "", "tool_calls": [_called(t[1], t[3]), _called(t[2], t[4])]},
        {"role": "tool", "tool_call_id": t[5], "content": t[7]},
        {"role": "tool", "tool_call_id": t[6], "content": t[8]},
        {"role": "assistant", "content": t[9]},
    ]
    return {"messages": messages}


def _one_call(t: list[str]) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": t[0]},
        {"role": "assistant", "content": t[8], "weight": 0},
        {"role": "user", "content": t[7]},
        {"role": "assistant", "tool_calls": [_called(t[1], t[3])]},
        {"role": "tool", "tool_call_id": t[5], "content": t[9]},
        {"role": "user", "content": t[6]},
    ]
    return {"messages": messages}


def _preference(t: list[str]) -> dict[str, Any]:
    return {
        "preferred_output": [{"role": "assistant", "content": t[7]}],
        "input": {"messages": [{"role": "user", "content": t[0]}]},
        "non_preferred_output": [{"role": "assistant", "content": t[8]}],
    }


def _preference_of_calls(t: list[str]) -> dict[str, Any]:
    def output(id: str, arguments: str, result: str, text: str) -> list[dict[str, Any]]:
        return [
            {"role": "assistant", "tool_calls": [_called(id, arguments)]},
            {"role": "tool", "tool_call_id": result, "content": "x"},
            {"role": "assistant", "content": text},
        ]

    return {
        "input": {"messages": [{"role": "user", "content": t[0]}]},
        "preferred_output": output(t[1], t[3], t[5], t[7]),
        "non_preferred_output": output(t[2], t[4], t[6], t[8]),
    }


SHAPES: Any = [
    ("supervised", _two_calls),
    ("supervised", _one_call),
    ("dpo", _preference),
    ("dpo", _preference_of_calls),
    ("completion", lambda t: {"prompt": t[0], "completion": t[7]}),
]


def test_more_than_five_thousand_corrupted_files_are_tried() -> None:
    assert EXAMPLES * (len(LINES) + len(ROWS) + 2 + 4) >= 5000


def calling(n: int, arguments: str, result_for: str) -> dict[str, Any]:
    """A conversation with a call; all of them are written alike."""
    made = call(n)
    made["function"]["arguments"] = arguments
    return {
        "messages": [
            {"role": "user", "content": f"{n} {SECRET}"},
            {"role": "assistant", "content": "", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": result_for, "content": ""},
            {"role": "assistant", "content": f"{SECRET} {n}"},
        ]
    }


@pytest.mark.parametrize("how", ["arguments_not_json", "result_without_call", "missing_content", "bad_value"])
@quick
@given(data=st.data(), style=styles)
def test_a_bad_call_among_many_that_are_written_alike_is_named(how: str, data: st.DataObject, style: Style) -> None:
    rows = [calling(n, json.dumps({"city": f"{SECRET} {n}"}), f"call_{n}") for n in range(30)]
    bad = data.draw(st.integers(0, len(rows) - 1))
    messages = rows[bad]["messages"]
    match how:
        case "arguments_not_json":
            arguments = data.draw(st.sampled_from([SECRET, "", '{"city": }', "{'a': 1}", "NaN", "[1, 2"]))
            messages[1]["tool_calls"][0]["function"]["arguments"] = arguments
        case "result_without_call":
            messages[2]["tool_call_id"] = data.draw(st.sampled_from([f"call_{bad + 1}", "", "call", f"call_{bad} "]))
        case "missing_content":
            messages[3]["content"] = ""
        case "bad_value":
            messages[1]["tool_calls"][0]["id"] = messages[2]["tool_call_id"] = ""
    report = checked(style.file([style.line(row) for row in rows]))
    assert found_in(report) == {(bad + 1, how)}
    assert report.training.examples == len(rows) - 1
