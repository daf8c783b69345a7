"""What is an error depends on the endpoint, and on what the user allows and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from generated_datasets import checked

from airflow_provider_finetune.datasets import Limits, Rules, check
from airflow_provider_finetune.datasets.problem import KINDS, ErrorKind
from airflow_provider_finetune.datasets.vendors import ENDPOINTS, MOST_IMAGE_BYTES, NAMES, RULES, VENDORS, rules_for

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
BOM = b"\xef\xbb\xbf"
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
LARGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * (MOST_IMAGE_BYTES // 3 * 4 + 8)}"}}
FUNCTION = {"name": "f", "parameters": {"type": "object", "title": "F", "properties": {"x": {"type": "string"}}}}


def chat(n: int, *before: dict[str, Any], after: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]
    return {"messages": [*before, *turns, *after], **fields}


def call(n: int, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "arguments": json.dumps({"n": n})}, **more}


def with_tool_in_output(n: int) -> dict[str, Any]:
    return {
        "input": {"messages": [{"role": "user", "content": f"question {n}"}]},
        "preferred_output": [
            {"role": "assistant", "tool_calls": [call(n, id="c")]},
            {"role": "tool", "tool_call_id": "c", "content": "result"},
            {"role": "assistant", "content": f"answer {n}"},
        ],
        "non_preferred_output": [{"role": "assistant", "content": f"worse {n}"}],
    }


def system(role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": "Be brief."}


def lines(row: Callable[[int], dict[str, Any]], count: int = 12) -> bytes:
    return b"".join(json.dumps(row(n)).encode() + b"\n" for n in range(count))


def images(count: int, image: dict[str, Any] = IMAGE) -> Callable[[int], dict[str, Any]]:
    return lambda n: chat(n, {"role": "user", "content": [{"type": "text", "text": "look"}, *[image] * count]})


THANKS = {"role": "user", "content": "thanks"}
#: A file for each kind that vendors disagree on, what it is for, and what each vendor makes of it.
FILES: list[tuple[str, str, bytes, str]] = [
    # kind, method, content; then OpenAI, Azure, Nebius, any: (e)rror, (w)arning, (-) nothing
    ("bom", "supervised", BOM + lines(chat), "e-ww"),
    ("last_turn", "supervised", lines(lambda n: chat(n, after=(THANKS,))), "ee-w"),
    ("last_turn", "supervised", lines(lambda n: chat(n, after=(THANKS, THANKS))), "ee-w"),
    ("too_many_images", "supervised", lines(images(11)), "e-ww"),
    ("too_many_images", "supervised", lines(images(64)), "e-ww"),
    ("too_many_images", "supervised", lines(images(65)), "eeee"),
    ("too_many_images", "supervised", lines(images(10)), "----"),
    ("image_too_large", "supervised", lines(chat, 11) + lines(images(1, LARGE), 1), "eeee"),
    ("tool_in_output", "dpo", lines(with_tool_in_output), "e-ww"),
    ("ignored_field", "supervised", lines(lambda n: chat(n, weight=1)), "ewww"),
    ("ignored_field", "supervised", lines(lambda n: chat(n, metadata=None)), "ewww"),
    ("several_system_messages", "supervised", lines(lambda n: chat(n, system(), system())), "-eww"),
    ("several_system_messages", "supervised", lines(lambda n: chat(n, system("developer"), system())), "-eww"),
    ("several_system_messages", "supervised", lines(lambda n: chat(n, system(), THANKS, system())), "-eww"),
    ("call_without_id", "supervised",
     lines(lambda n: chat(n, after=(THANKS, {"role": "assistant", "tool_calls": [call(n)]}))), "e-ww"),
    ("tool_schema", "supervised", lines(lambda n: chat(n, tools=[{"type": "function", "function": FUNCTION}])), "-w-w"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "method", "content", "verdicts"), FILES)
def test_the_endpoint_decides(kind: str, method: str, content: bytes, verdicts: str) -> None:
    for endpoint, expected in zip(("openai", "azure", "nebius", "any"), verdicts, strict=True):
        report = checked(content, method, rules=Rules(endpoint))
        found = "e" if report.errors.by_kind[kind] else "w" if report.warnings.by_kind[kind] else "-"
        assert (endpoint, found) == (endpoint, expected)
        assert report.ok == (expected != "e")
        assert set(report.errors.by_kind) <= {kind}
        if expected != "e":
            assert report.training.examples == 12


def test_each_kind_of_the_table_is_tried() -> None:
    assert {kind for kind, *_ in FILES} == {str(rule.kind) for rule in RULES}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bom", "OpenAI refuses"),
        ("last_turn", "OpenAI and Azure refuse"),
        ("several_system_messages", "Azure refuses"),
        ("tool_schema", "Azure may refuse"),
        ("ignored_field", "OpenAI refuses"),
    ],
)
def test_for_any_endpoint_the_warning_names_who_refuses(kind: str, names: str) -> None:
    method, content = next((method, content) for found, method, content, _ in FILES if found == kind)
    (first, *_) = [problem for problem in checked(content, method).warnings.listed if problem.kind == kind]
    assert names in str(first)


def test_a_byte_order_mark_within_a_file_is_an_error_everywhere() -> None:
    content = lines(chat, 6) + BOM + lines(chat, 12)
    for endpoint in ENDPOINTS:
        assert checked(content, rules=Rules(endpoint)).errors.by_kind == {"bom": 1}


def test_reinforcement_ends_with_the_user_everywhere() -> None:
    content = lines(lambda n: chat(n, answer=n))
    for endpoint in ENDPOINTS:
        assert checked(content, "reinforcement", rules=Rules(endpoint)).errors.by_kind == {"last_turn": 12}


@pytest.mark.parametrize(("kind", "method", "content", "verdicts"), FILES)
def test_every_kind_can_be_allowed_and_refused(kind: str, method: str, content: bytes, verdicts: str) -> None:
    for endpoint in ENDPOINTS:
        allowed = checked(content, method, rules=Rules.of(endpoint, allow=[kind]))
        assert allowed.ok
        assert kind not in allowed.warnings.by_kind
        assert allowed.training.examples == 12
        refused = checked(content, method, rules=Rules.of(endpoint, refuse=[kind]))
        if verdicts != "----":
            assert not refused.ok
            assert set(refused.errors.by_kind) == {kind}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("bad_name", lambda n: chat(n, {"role": "user", "name": "two words", "content": "x"})),
        ("unknown_field", lambda n: chat(n, {"role": "user", "content": "x", "extra": [1]})),
        ("unknown_part", lambda n: chat(n, {"role": "user", "content": [{"type": "input_audio", "data": "x"}]})),
        ("unknown_role", lambda n: chat(n, {"role": "critic", "content": "x"})),
        ("missing_content", lambda n: chat(n, {"role": "assistant", "content": ""})),
        ("bad_weight", lambda n: chat(n, {"role": "assistant", "content": "x", "weight": 0.5})),
        ("bad_image", images(1, {"type": "image_url", "image_url": {"url": "/a.png"}})),
        ("call_without_result", lambda n: chat(n, {"role": "assistant", "tool_calls": [call(n, id="c")]})),
        ("result_without_call", lambda n: chat(n, {"role": "tool", "tool_call_id": "c", "content": "x"})),
    ],
)
def test_what_no_endpoint_takes_can_be_allowed_and_is_counted_then(
    kind: str, row: Callable[[int], dict[str, Any]]
) -> None:
    assert checked(lines(row)).errors.by_kind == {kind: 12}
    report = checked(lines(row) + lines(row, 1), rules=Rules.of(allow=[kind]))
    assert report.ok
    assert report.training.examples == 13
    assert report.warnings.by_kind["duplicate"] == 1


def test_lines_that_are_not_even_json_can_be_allowed() -> None:
    content = lines(chat) + b"{\n" + b"\n" + b"[1]\n"
    report = checked(content, rules=Rules.of(allow=["not_json", "blank_line", "not_object"]))
    assert report.ok
    assert report.training.examples == 12


def test_warnings_can_be_refused_and_problems_of_the_file_allowed(tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_bytes(lines(chat, 3) + lines(chat, 1))
    assert check(few, refuse=["duplicate"]).errors.by_kind == {"duplicate": 1, "too_few_examples": 1}
    report = check(few, allow=["duplicate", "too_few_examples"])
    assert report.ok
    assert not report.warnings.total
    assert (
        check(few, validation_path=few, refuse=["overlap"], allow=["too_few_examples"]).errors.by_kind["overlap"] == 4
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"endpoint": "opanai"}, "expected one of openai, azure, nebius, any"),
        ({"allow": ["last_tern"]}, "did you mean last_turn?"),
        ({"refuse": ["nothing like it"]}, "expected one of all_weights_zero, "),
        ({"allow": ["bom"], "refuse": ["bom"]}, "bom is both allowed and refused"),
    ],
)
def test_rules_that_are_none_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check("nowhere.jsonl", **arguments)


def test_an_endpoint_without_rules_of_its_own_is_any() -> None:
    assert [rules_for(name) for name in ("openai", "azure", "nebius", "bedrock", "")] == [*VENDORS, "any", "any"]


def test_lines_as_long_as_the_images_that_are_allowed_are_taken() -> None:
    most = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'A' * 9_000_000}"}}
    content = lines(chat, 11) + lines(images(2, most), 1)
    assert checked(content).ok
    assert Limits().max_line_bytes > 10 * MOST_IMAGE_BYTES * 4 / 3
    assert checked(content, limits=Limits(max_line_bytes=1000)).errors.by_kind == {"line_too_long": 1}


# -- the documentation


def test_the_documentation_shows_the_table() -> None:
    header = "| kind | what | " + " | ".join(NAMES[vendor] for vendor in VENDORS) + " |"
    table = DOCS[DOCS.index(header) :].partition("\n\n")[0].splitlines()[2:]
    assert table == [
        f"| `{rule.kind}` | {rule.what} | {' | '.join(rule.verdict(vendor) for vendor in VENDORS)} |" for rule in RULES
    ]
    for rule in RULES:
        assert f"- `{rule.kind}`: {'; '.join(rule.sources)}\n" in DOCS


def test_the_documentation_explains_every_kind() -> None:
    explained = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", DOCS, re.MULTILINE))))
    assert explained >= KINDS
    assert ErrorKind.BOM in KINDS
