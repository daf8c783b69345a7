"""What a report says about a dataset: warnings, numbers, cost, what is listed and what is only counted."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import SECRET, checked

from airflow_provider_finetune.datasets import DatasetChecker, Limits, check
from airflow_provider_finetune.datasets import layout as layouts
from airflow_provider_finetune.datasets.cost import cost_of
from airflow_provider_finetune.datasets.sample import SAMPLES

if TYPE_CHECKING:
    from pathlib import Path


def row(user: str, assistant: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant, **more}]}


def lines(*rows: dict[str, Any], **style: Any) -> bytes:
    return b"".join(json.dumps(row, **style).encode() + b"\n" for row in rows)


def good(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [row(f"question {n}", f"answer {n}") for n in range(start, start + count)]


def warned(report: Any) -> list[tuple[int | None, str, str]]:
    return [(problem.line, str(problem.kind), problem.found) for problem in report.warnings.listed]


def test_a_message_names_file_line_path_what_was_found_and_what_is_expected() -> None:
    rows = good(20)
    rows[16]["messages"].insert(0, {"role": "system", "content": "x"})
    rows[16]["messages"][2]["role"] = "asistant"
    (problem,) = checked(lines(*rows)).errors.listed
    assert str(problem) == (
        'train.jsonl line 17: messages[2].role is "asistant"; expected one of system, developer, user, assistant, tool'
    )


def test_errors_are_all_counted_and_the_first_are_listed_in_order() -> None:
    bad = [row("q", "a") | {"messages": []} for _ in range(500)]
    report = checked(lines(*good(10), *bad), limits=Limits(listed=3))
    assert report.errors.total == 500
    assert [problem.line for problem in report.errors.listed] == [11, 12, 13]
    assert report.as_json()["errors"]["by_kind"] == {"empty_messages": 500}
    assert "and 497 more" in report.text()


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"sort_keys": True}])
def test_a_repeated_example_is_found_however_it_is_written(style: dict[str, Any]) -> None:
    rows = [row(f"Grüße {n} 你好", "naïve 😀") for n in range(10)]
    report = checked(lines(*rows) + lines(rows[3], **style), limits=Limits(imbalance=2))
    assert warned(report) == [(11, "duplicate", "the example of line 4 again")]


def test_another_answer_to_the_same_prompt_is_a_conflict() -> None:
    report = checked(lines(*good(10), row("question 2", "another")))
    assert warned(report) == [(11, "conflict", "another answer to the prompt of line 3")]


def test_a_prompt_is_another_one_with_another_system_message_or_tools() -> None:
    other = row("question 2", "another")
    other["messages"].insert(0, {"role": "system", "content": "Be brief."})
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert not warned(checked(lines(*good(10), other, row("question 2", "third") | {"tools": [tool]})))


def test_several_preferences_for_a_prompt_are_no_conflict() -> None:
    def pair(n: int) -> dict[str, Any]:
        return {
            "input": {"messages": [{"role": "user", "content": "q"}]},
            "preferred_output": [{"role": "assistant", "content": f"good {n}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"bad {n}"}],
        }

    assert not warned(checked(lines(*map(pair, range(10))), "dpo"))
    assert warned(checked(lines(*map(pair, range(10)), pair(4)), "dpo")) == [
        (11, "duplicate", "the example of line 5 again")
    ]


def test_an_example_in_which_nothing_is_learned_is_named() -> None:
    report = checked(lines(*good(10), row("q", "a", weight=0), row("q2", "a", weight=1), row("q3", "b", weight=0)))
    assert [(line, kind) for line, kind, _ in warned(report)] == [(11, "all_weights_zero"), (13, "all_weights_zero")]


def test_a_very_long_example_is_named() -> None:
    report = checked(lines(*good(10), row("x" * 4000, "a")), limits=Limits(long_example_tokens=900))
    assert [(line, kind) for line, kind, _ in warned(report)] == [(11, "long_example")]


def test_one_reply_nearly_everywhere_is_an_imbalance() -> None:
    rows = [row(f"q {n}", "yes" if n % 10 else "no") for n in range(100)]
    assert warned(checked(lines(*rows))) == [(None, "imbalance", "one and the same reply in 90 of 100 examples")]
    rows = [row(f"q {n}", "yes" if n % 3 else "no") for n in range(100)]
    assert not warned(checked(lines(*rows)))


def test_a_field_that_the_format_does_not_know_is_told_once() -> None:
    report = checked(lines(*(row | {"id": 7} for row in good(20))))
    assert warned(report) == [(1, "ignored_field", 'a field "id" in this and maybe more lines')]


def test_reinforcement_rows_hold_any_reference_fields() -> None:
    rows = [{"messages": [{"role": "user", "content": f"{n}"}], "answer": n, "x": {"y": [1]}} for n in range(10)]
    assert not warned(checked(lines(*rows), "reinforcement"))


def test_validation_rows_that_are_trained_on_are_named(tmp_path: Path) -> None:
    training, validation = tmp_path / "train.jsonl", tmp_path / "valid.jsonl"
    training.write_bytes(lines(*good(20)))
    validation.write_bytes(lines(row("new", "x"), row("question 4", "x")))
    report = check(training, validation_path=validation, tokens="estimate")
    assert [(problem.file, problem.line, problem.found) for problem in report.warnings.listed] == [
        (str(validation), 2, f"the prompt of {training} line 5")
    ]
    assert report.ok


def test_errors_of_the_validation_file_count(tmp_path: Path) -> None:
    training, validation = tmp_path / "train.jsonl", tmp_path / "valid.jsonl"
    training.write_bytes(lines(*good(20)))
    validation.write_bytes(b"")
    report = check(training, validation_path=validation)
    assert [(problem.file, problem.line, str(problem.kind)) for problem in report.errors.listed] == [
        (str(validation), None, "too_few_examples")
    ]


def test_the_methods_that_a_file_would_fit_are_named() -> None:
    completion = [{"prompt": f"{n}", "completion": f"{n}"} for n in range(12)]
    assert checked(lines(*completion)).fits == ("completion",)
    asked = [{"messages": [{"role": "user", "content": f"{n}"}], "answer": n} for n in range(12)]
    assert checked(lines(*asked)).fits == ("reinforcement",)
    assert checked(lines(*good(12)), "dpo").fits == ("supervised",)
    assert checked(lines(*good(12))).fits == ()
    assert checked(lines(*good(12), *asked)).fits == ()


@pytest.mark.parametrize("method", SAMPLES)
def test_a_sample_is_a_good_line_of_its_method(method: Any) -> None:
    report = checked(SAMPLES[method].encode() + b"\n", method, limits=Limits(min_examples=1))
    assert (report.errors.by_kind, report.warnings.by_kind) == ({}, {})


@pytest.mark.parametrize(
    "content",
    [
        b"question,answer\n" + b"why,so\n" * 20,
        b'[{"question": "why"}, {"question": "how"}]',
        b"question: why\n" * 20,
        b'["why", "so"]\n' * 20,
        lines(*[{"question": "why", "answer": "so"}] * 20),
        lines(*[{"instruction": "why", "output": "so"}] * 20),
    ],
    ids=["csv", "json", "text", "arrays", "objects", "alpaca"],
)
def test_whose_lines_have_another_shape_is_shown_a_good_one_once(content: bytes) -> None:
    shown = checked(content).text().splitlines()
    assert shown.count(SAMPLES["supervised"]) == 1
    assert shown[shown.index(SAMPLES["supervised"]) - 1] == "hint: a line for method supervised looks like this:"


def test_whose_lines_have_the_shape_or_that_of_another_method_is_not_shown_one() -> None:
    pair = {"prompt": "why", "completion": "so"}
    for report in (checked(lines(*good(10), row("q", ""))), checked(lines(*[pair] * 20), "dpo")):
        assert report.errors.total
        assert SAMPLES[report.method] not in report.text()


def test_numbers_are_those_of_the_file() -> None:
    system = [{"messages": [{"role": "system", "content": "s"}, *one["messages"]]} for one in good(5, 100)]
    content = lines(*good(20), *system)
    report = checked(content).training
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert report.size == len(content)
    assert (report.lines, report.examples) == (25, 25)
    assert report.messages_by_role == {"assistant": 25, "system": 5, "user": 25}


def test_token_numbers_are_those_of_the_examples() -> None:
    # 4 tokens for each message and 3 for the example, and a token for 4 bytes of text.
    rows = [row("abcd" * n, f"{n:04}") for n in range(1, 101)]
    tokens = checked(lines(*rows)).training.tokens
    assert (tokens.p50, tokens.p95, tokens.max) == (12 + 50, 12 + 95, 12 + 100)
    assert tokens.total == 100 * 12 + 5050
    assert tokens.mean == 62.5
    assert "estimate" in tokens.source


def test_numbers_do_not_depend_on_which_lines_were_checked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*good(300), *(row(f"é{n}", "ü" * n, weight=n % 2) for n in range(1, 60)), *good(5)]
    rows += [{"messages": [{"role": "system", "content": "s"}, *one["messages"]]} for one in good(50, 900)]
    content = lines(*rows, ensure_ascii=False)
    together = checked(content)
    monkeypatch.setattr(layouts.Layouts, "learn", lambda *_: None)
    one_by_one = checked(content)
    assert together.as_json() == one_by_one.as_json()
    assert together.warnings.total > 5


def test_escaped_text_is_estimated_by_its_characters() -> None:
    rows = [row(f"{n}" + "привет" * 50, "мир" * 50) for n in range(50)]
    plain = checked(lines(*rows, ensure_ascii=False)).training.tokens
    escaped = checked(lines(*rows)).training.tokens
    assert escaped.total == pytest.approx(plain.total, rel=0.35)


@pytest.mark.parametrize("chunk", [1, 13, 4096])
def test_a_report_does_not_depend_on_the_chunks(chunk: int) -> None:
    content = lines(*good(15), row("q", ""), row("question 1", "x")) + b"{"
    assert checked(content, chunk=chunk).as_json() == checked(content).as_json()


def test_cost_is_tokens_times_epochs_times_price() -> None:
    assert cost_of(2_000_000, n_epochs=3, price_per_million_tokens=25.0).total == 150
    assert cost_of(2_000_000, n_epochs=3).trained_tokens == 6_000_000
    assert cost_of(2_000_000, price_per_million_tokens=25.0).total is None


def test_a_report_is_json_for_people_and_holds_no_training_text() -> None:
    rows = [row(f"{SECRET} {n}", SECRET) for n in range(12)]
    rows[3]["messages"][0]["role"] = f"the whole prompt {SECRET} landed here"
    rows[4]["messages"][1][f"{SECRET} as a key, which is longer than keys ever are"] = 1
    report = checked(lines(*rows), n_epochs=3, price_per_million_tokens=1.0)
    assert SECRET not in json.dumps(report.as_json()) + report.text()
    assert report.errors.total == 2


def test_nothing_of_a_file_is_an_empty_report() -> None:
    report = checked(b"")
    assert [str(problem.kind) for problem in report.errors.listed] == ["too_few_examples"]
    assert (report.training.lines, report.training.tokens.total, report.training.sha256[:8]) == (0, 0, "e3b0c442")


def test_a_checker_can_be_finished_more_than_once() -> None:
    checker = DatasetChecker("train.jsonl", tokens="estimate")
    checker.feed(lines(*good(9)))
    assert checker.finish().as_json() == checker.finish(n_epochs=None).as_json()
