"""The API's graders, by their own rules."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.evaluation import similarity
from airflow_provider_finetune.evaluation.example import read_example
from airflow_provider_finetune.evaluation.formula import Formula
from airflow_provider_finetune.evaluation.grader import read_grader
from airflow_provider_finetune.evaluation.similarity import MetricUnavailable, cosine, metric
from airflow_provider_finetune.evaluation.template import Missing, Sample, render

ITEM = {"reference": "Paris", "answers": ["a", {"b": 1.5}], "none": None}
TEXT, WANTED = "{{ sample.output_text }}", "{{item.reference}}"


def check(operation: str, said: str, **more: Any) -> float:
    grader = {"type": "string_check", "name": "n", "input": TEXT, "reference": WANTED, "operation": operation}
    return read_grader({**grader, **more}).grade(ITEM, Sample(said))


@pytest.mark.parametrize(
    ("operation", "said", "grade"),
    [
        ("eq", "Paris", 1),
        ("eq", "paris", 0),
        ("ne", "Paris", 0),
        ("ne", "London", 1),
        ("like", "It is Paris.", 1),
        ("like", "It is paris.", 0),
        ("ilike", "It is PARIS.", 1),
        ("ilike", "London", 0),
        ("eq", "", 0),
    ],
)
def test_a_string_check_is_exact_or_looks_inside(operation: str, said: str, grade: float) -> None:
    assert check(operation, said) == grade


def test_templates_follow_paths_into_fields_answers_and_calls() -> None:
    sample = Sample('{"city": {"name": "Paris"}, "n": 3}', [{"function": {"name": "f", "arguments": "{}"}}])
    assert render("{{item.answers[1].b}} {{item.answers.0}} {{item.none}}", ITEM, sample) == "1.5 a "
    assert render("{{sample.output_json.city.name}}/{{sample.output_json.n}}", ITEM, sample) == "Paris/3"
    assert render("{{sample.output_tools[0].function.name}}", ITEM, sample) == "f"
    assert render("{{sample.output_json.city}}", ITEM, sample) == '{"name": "Paris"}'
    assert render("{{sample.output_json.city}}", ITEM, Sample("no JSON")) == ""
    with pytest.raises(Missing):
        render("{{item.absent}}", ITEM, sample)


@pytest.mark.parametrize("variable", ["sample.text", "items.reference", "item", "item.a + 1", "item.__class__()", ""])
def test_a_variable_that_is_not_known_is_refused_with_what_is(variable: str) -> None:
    with pytest.raises(ValueError, match="is not known; expected"):
        check("eq", "", input=f"{{{{{variable}}}}}")


@given(st.text())
def test_what_an_answer_says_is_never_taken_for_a_template(said: str) -> None:
    assert render("{{sample.output_text}}", ITEM, Sample(said)) == said


# -- text_similarity


@pytest.mark.parametrize("name", ["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_l"])
def test_a_metric_is_1_for_the_same_text_and_0_for_nothing_in_common(name: str) -> None:
    same = "the cat sat on the mat today"
    assert metric(name)(same, same) == pytest.approx(1)
    assert metric(name)("xyz", "bcd fgh jkl mnp") == pytest.approx(0, abs=0.2 if name == "fuzzy_match" else 1e-9)
    assert 0.1 < metric(name)("the cat sat on the mat", same) < 1
    assert metric(name)("", same) == 0


@given(st.sampled_from(["fuzzy_match", "bleu", "gleu", "rouge_1", "rouge_5", "rouge_l"]), st.text(), st.text())
def test_a_metric_stays_between_0_and_1_for_any_texts(name: str, left: str, right: str) -> None:
    assert 0 <= metric(name)(left, right) <= 1


def test_meteor_says_that_it_needs_wordnet() -> None:
    with pytest.raises(MetricUnavailable, match=r"nltk\.downloader wordnet"):
        metric("meteor")


def test_a_library_that_is_not_installed_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    similarity._rouge.cache_clear()
    with pytest.raises(MetricUnavailable, match=r"rouge_2 needs rouge_score.*\[evaluation\]"):
        metric("rouge_2")


def test_cosine_is_of_embeddings() -> None:
    assert cosine([1, 0], [1, 1]) == pytest.approx(math.sqrt(0.5))
    assert cosine([0, 0], [1, 1]) == 0


# -- judges

JUDGE = {"name": "j", "model": "judge", "input": [{"role": "user", "content": f"{WANTED} or {TEXT}?"}]}


def test_a_judge_is_asked_with_the_templates_filled_in() -> None:
    grader = read_grader({**JUDGE, "type": "score_model", "range": [1, 5]})
    body = grader.body(ITEM, Sample("London"))
    assert body["messages"][-1] == {"role": "user", "content": "Paris or London?"}
    assert "from 1 to 5" in body["messages"][0]["content"]
    assert grader.lowest == 1
    parts = [{"type": "input_text", "text": WANTED}, {"type": "input_image", "image_url": "http://x"}]
    grader = read_grader({**JUDGE, "type": "score_model", "input": [{"role": "user", "content": parts}]})
    assert grader.body(ITEM, Sample())["messages"][-1]["content"] == [
        {"type": "text", "text": "Paris"},
        {"type": "image_url", "image_url": {"url": "http://x"}},
    ]


@pytest.mark.parametrize(
    ("said", "grade"),
    [('{"result": 4}', 4), ('```json\n{"result": 4.5}\n```', 4.5), ("3", 3), ('{"result": "2"}', 2)],
)
def test_a_score_is_found_in_json_or_bare(said: str, grade: float) -> None:
    assert read_grader({**JUDGE, "type": "score_model", "range": [1, 5]}).grade_of(said) == grade


@pytest.mark.parametrize("said", ["", "good", '{"result": null}', '{"result": true}', '{"result": 6}', "[]", "NaN"])
def test_a_judge_without_a_number_in_its_range_is_an_error(said: str) -> None:
    with pytest.raises(ValueError, match="answered no number from 1 to 5"):
        read_grader({**JUDGE, "type": "score_model", "range": [1, 5]}).grade_of(said)


def test_a_label_passes_or_fails_or_is_none() -> None:
    grader = read_grader({**JUDGE, "type": "label_model", "labels": ["good", "bad"], "passing_labels": ["good"]})
    assert (grader.grade_of('{"result": "good"}'), grader.grade_of("bad")) == (1, 0)
    with pytest.raises(ValueError, match="none of the labels"):
        grader.grade_of("better")


# -- multi

PARTS = {name: {"type": "string_check", "input": TEXT, "reference": name, "operation": "like"} for name in "ab"}


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_formula_counts_as_python_does(a: float, b: float) -> None:
    formula = Formula("0.8*a + min(b, 1, a) - abs(-b) / 4 + (a + 2)^2", ["a", "b"])
    assert formula.value({"a": a, "b": b}) == pytest.approx(0.8 * a + min(b, 1, a) - abs(-b) / 4 + (a + 2) ** 2)


@pytest.mark.parametrize(
    "text",
    ["", "a +", "c", "a.real", "__import__('os')", "a if b else a", "[a]", "a(b)", "'a'", "True", "a // b", "lambda: a",
     "min()", "abs(a, b)", "(" * 500 + "a", "a; b", "max(a, key=b)", "1" * 3000, "a := 1"],
)  # fmt: skip
def test_a_formula_with_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="calculate_output"):
        Formula(text, ["a", "b"])


@pytest.mark.parametrize("text", ["a / b", "log(b)", "sqrt(b - 1)", "(a - 2) ^ 0.5", "exp(9999 * a)", "9 ^ 9999 * a"])
def test_a_formula_without_a_value_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="calculate_output has no"):
        Formula(text, ["a", "b"]).value({"a": 1.0, "b": 0.0})


@pytest.mark.parametrize("graders", [PARTS, [{**grader, "name": name} for name, grader in PARTS.items()]])
def test_a_multi_grader_takes_its_graders_by_name_or_as_a_list(graders: Any) -> None:
    grader = read_grader({"type": "multi", "name": "m", "graders": graders, "calculate_output": "a - b"})
    assert set(grader.parts) == {"a", "b"}
    assert grader.fields() == set()
    with pytest.raises(ValueError, match="names 'c'"):
        read_grader({"type": "multi", "name": "m", "graders": graders, "calculate_output": "c"})


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        ({"type": "score_model", **JUDGE, "range": [1, 1]}, "range must be"),
        ({"type": "label_model", **JUDGE, "labels": ["a"], "passing_labels": ["b"]}, "passing_labels has b"),
        ({"type": "python", "source": "def grade(sample, item) return 1"}, "no Python"),
        ({"type": "python", "source": "def score(): pass"}, "no function grade"),
        ({"type": "lambda"}, "lambda"),
    ],
)
def test_a_bad_grader_is_refused_and_says_why(grader: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_grader(grader)


# -- examples


def test_the_last_reply_is_the_reference_and_what_stands_before_it_the_question() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1", "weight": 0},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    example = read_example({"messages": turns, "tools": [{"type": "function"}], "parallel_tool_calls": False})
    assert [turn["role"] for turn in example.question["messages"]] == ["user", "assistant", "user"]
    assert "weight" not in example.question["messages"][1]
    assert example.question["tools"] == [{"type": "function"}]
    assert (example.item["reference"], example.item["reference_tools"]) == ("", calls)


def test_a_reinforcement_line_is_asked_as_it_is_and_a_preference_for_its_input() -> None:
    turns = [{"role": "user", "content": "q"}]
    example = read_example({"messages": turns, "answer": 7})
    assert example.question["messages"] == turns
    assert example.item == {"messages": turns, "answer": 7}
    row = {"input": {"messages": turns}, "preferred_output": [{"role": "assistant", "content": "yes"}]}
    assert read_example(row).item["reference"] == "yes"
    assert read_example({**row, "reference": "own"}).item["reference"] == "own"


@pytest.mark.parametrize("row", [{}, {"messages": []}, {"messages": ["x"]}, {"prompt": "a", "completion": "b"},
                                 {"messages": [{"role": "assistant", "content": "x"}]}])  # fmt: skip
def test_a_line_with_nothing_to_ask_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="messages"):
        read_example(row)


def test_the_same_content_is_the_same_example_whatever_the_order_of_its_keys() -> None:
    left = {"messages": [{"role": "user", "content": "q"}], "a": 1}
    right = {"a": 1, "messages": [{"content": "q", "role": "user"}]}
    assert read_example(left).id == read_example(right).id != read_example({**left, "a": 2}).id
