"""What a report may repeat of a file: words of the formats and near misses of them, and nothing else."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from generated_datasets import checked, good_row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.datasets import Limits, Rules
from airflow_provider_finetune.datasets.problem import KINDS
from airflow_provider_finetune.datasets.vocabulary import OWN, is_known

METHODS = ("supervised", "dpo", "reinforcement", "completion")
MARK = "zq9x"
NUMBER = 90817263544

#: Each holds the mark: what a careless export puts where a role, a key or a name is due.
planted = st.sampled_from(
    [
        f"jane.{MARK}@example.com",
        f"sk-live-{MARK}",
        f"{MARK}_key",
        f"user{MARK}",
        f"Is {MARK} odd?",
        f"@{MARK}",
        f"{MARK}.role",
        f"{MARK}\x1b[31m\n",
        f"{MARK}:",
        f"data:image/{MARK};base64,AAAA",
        f"data:image/png;base64,{MARK}?",
        f"{MARK}://bucket/a.png",
        f"https://example.com/{MARK}.gif",
        f"{{{MARK}}} {{{{ {MARK} }}}}",
        f"\ud800{MARK}",
    ]
)
values = planted | st.just(NUMBER) | st.just({f"{MARK}": MARK}) | st.just([MARK, NUMBER]) | st.just(None)
words = st.sampled_from(sorted(OWN))
trees = st.recursive(
    values | words | st.integers(-2, 2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | planted, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def spoiled(row: dict[str, Any], path: tuple[Any, ...], key: str, value: Any, how: str) -> dict[str, Any]:
    """A row in which something else stands at a path: another value, another key, or a key more."""
    row = copy.deepcopy(row)
    *above, last = path
    holder: Any = row
    for step in above:
        holder = holder[step]
    inner = holder[last]
    if how == "key" and isinstance(holder, dict):
        renamed = {key if old == last else old: one for old, one in holder.items()}
        holder.clear()
        holder.update(renamed)
    elif how == "more" and isinstance(inner, dict):
        inner[key] = value
    else:
        holder[last] = value
    return row


def told(content: bytes, method: str, rules: Rules) -> str:
    report = checked(content, method, limits=Limits(min_examples=1), rules=rules)
    as_json = report.as_json()
    return "\n".join([report.text(), json.dumps(as_json), json.dumps(as_json, ensure_ascii=False)]).casefold()


RULES = [Rules(), Rules("openai"), Rules("azure"), Rules(allow=KINDS), Rules(refuse=KINDS)]
thorough = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@settings(thorough, max_examples=100)
@given(
    data=st.data(),
    method=st.sampled_from(METHODS),
    key=planted,
    value=trees,
    how=st.sampled_from(["value", "key", "more"]),
    rules=st.sampled_from(RULES),
)
def test_what_is_planted_anywhere_in_a_row_is_not_repeated(
    data: st.DataObject, method: str, key: str, value: Any, how: str, rules: Rules
) -> None:
    rows = [good_row(method, random.Random(n), n, "text") for n in range(3)]
    path = data.draw(st.sampled_from(places(rows[1])[1:]))
    rows[1] = spoiled(rows[1], path, key, value, how)
    found = told(b"".join(json.dumps(row).encode() + b"\n" for row in rows), method, rules)
    assert MARK not in found
    assert str(NUMBER) not in found


@settings(thorough, max_examples=60)
@given(rows=st.lists(trees, min_size=1, max_size=3), method=st.sampled_from(METHODS), rules=st.sampled_from(RULES))
def test_nothing_of_rows_of_any_shape_is_repeated(rows: list[Any], method: str, rules: Rules) -> None:
    found = told(b"".join(json.dumps(row).encode() + b"\n" for row in rows), method, rules)
    assert MARK not in found
    assert str(NUMBER) not in found


@settings(thorough, max_examples=60)
@given(data=st.data(), text=planted)
def test_bytes_that_are_no_json_are_not_repeated(data: st.DataObject, text: str) -> None:
    line = json.dumps({"messages": [{"role": text, "content": text}]}).encode()
    at = data.draw(st.integers(0, len(line)))
    broken = data.draw(st.sampled_from([b"", b"\0", b"\xff", b'"', b"{", b"\\", MARK.encode()]))
    assert MARK not in told(line[:at] + broken + line[at:] + b"\n", "supervised", Rules())


@pytest.mark.parametrize("slip", ["asistant", "assisstant", "Assistant", "assitsant", "usre", "use", "users", "sytem"])
def test_a_slip_of_the_pen_is_shown_since_it_is_what_the_person_has_to_mend(slip: str) -> None:
    row = {"messages": [{"role": slip, "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert f'messages[0].role is "{slip}"'.casefold() in told(json.dumps(row).encode(), "supervised", Rules())


@pytest.mark.parametrize("other", ["Rose", "Bob", "Mabel", "jane", "4711", "sk-1", "a", "", "user@example.com"])
def test_a_word_that_is_near_no_word_of_the_formats_is_told_by_its_length(other: str) -> None:
    row = {"messages": [{"role": other, "content": "q"}, {"role": "assistant", "content": "a"}]}
    noun = "character" if len(other) == 1 else "characters"
    found = told(json.dumps(row).encode(), "supervised", Rules())
    assert f"messages[0].role is a string of {len(other)} {noun};" in found


@settings(thorough, max_examples=60)
@given(word=words, at=st.integers(0, 30), letter=st.sampled_from("azqé_"))
def test_a_word_with_a_letter_too_many_is_near_it_if_it_has_four_letters_or_more(
    word: str, at: int, letter: str
) -> None:
    assert is_known(word)
    assert is_known(word.upper())
    assert is_known(word[:at] + letter + word[at:])


def test_a_key_that_is_no_word_of_the_format_is_told_by_its_place_among_the_keys() -> None:
    messages = [{"role": "user", "content": "q", "jane@example.com": 1}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": messages}, {"messages": messages[1:], "4711 Main St": 1, "source": 1}]
    report = checked(b"".join(json.dumps(row).encode() + b"\n" for row in rows), limits=Limits(min_examples=1))
    assert [str(problem) for problem in (*report.errors.listed, *report.warnings.listed)] == [
        "train.jsonl line 1: messages[0].<key 3> is an unknown field of 16 characters; expected only fields of the "
        "format",
        "train.jsonl line 2: a field <key 2>, of 12 characters, in this and maybe more lines; expected fields of the "
        "format (OpenAI refuses such a file)",
        'train.jsonl line 2: a field "source" in this and maybe more lines; expected fields of the format '
        "(OpenAI refuses such a file)",
    ]


def test_roles_that_are_allowed_are_counted_without_their_names() -> None:
    messages = [{"role": f"{MARK}", "content": "q"}, {"role": "assistant", "content": "a"}]
    content = json.dumps({"messages": messages}).encode() + b"\n"
    report = checked(content, limits=Limits(min_examples=1), rules=Rules.of(allow=["unknown_role"]))
    assert report.training.messages_by_role == {"assistant": 1, "other": 1}


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        ({"role": ["assistant"], "content": "a"}, ["wrong_type", "no_assistant", "last_turn"]),
        ({"role": "assistant", "content": "\ud800"}, ["lone_surrogate"]),
    ],
)
def test_what_is_wrong_and_allowed_does_not_end_the_check(message: dict[str, Any], allowed: list[str]) -> None:
    content = json.dumps({"messages": [{"role": "user", "content": "q"}, message]}).encode() + b"\n"
    report = checked(content, limits=Limits(min_examples=1), rules=Rules.of(allow=allowed))
    assert (report.errors.total, report.training.lines) == (0, 1)
