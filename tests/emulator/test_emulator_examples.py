"""The emulator and the checker of datasets agree: what the checker passes, the emulator takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from airflow_provider_finetune.datasets import check
from airflow_provider_finetune.emulator.examples import BadFile, read_examples

TEXT = st.text(max_size=5) | st.sampled_from(["hello", "\ud800", ""])
JUNK = st.none() | st.booleans() | st.integers(-2, 2) | TEXT | st.just([]) | st.just({})
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
    | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": TEXT})
    | st.just({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}})
    | st.fixed_dictionaries({"type": TEXT}),
    max_size=12,
)
CONTENT = st.just("hello") | TEXT | PARTS | JUNK
CALL = {"id": "call_1", "type": "function", "function": {"name": "feed", "arguments": "{}"}}
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "critic"])},
    optional={
        "content": CONTENT,
        "weight": st.sampled_from([0, 1, 2, None, True, "1"]),
        "tool_calls": st.just([CALL]) | JUNK,
        "function_call": st.just(CALL["function"]) | JUNK,
        "refusal": JUNK,
        "name": st.just("feed") | JUNK,
        "tool_call_id": st.just("call_1") | JUNK,
    },
)
USER = st.just({"role": "user", "content": "hello"})
ASSISTANT = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.just("hi") | PARTS | st.none()},
    optional={"weight": st.sampled_from([0, 1, None]), "tool_calls": st.just([CALL]) | st.none()},
)
MESSAGES = st.lists(USER | ASSISTANT | MESSAGE, max_size=4) | st.tuples(USER, ASSISTANT).map(list) | JUNK
FIELDS = {
    "tools": st.just([{"type": "function", "function": {"name": "feed"}}]) | JUNK,
    "parallel_tool_calls": JUNK,
    "answer": JUNK,
}
CONVERSATION = st.fixed_dictionaries({"messages": MESSAGES}, optional=FIELDS)
PREFERENCE = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries({"messages": USER.map(lambda m: [m]) | MESSAGES}, optional=FIELDS) | JUNK,
        "preferred_output": ASSISTANT.map(lambda m: [m]) | MESSAGES,
        "non_preferred_output": ASSISTANT.map(lambda m: [m]) | MESSAGES,
    }
)


def emulator_takes(path, method) -> bool:
    try:
        read_examples(path, method, param="training_file", stopped=lambda: False)
    except BadFile:
        return False
    return True


@pytest.fixture(scope="module")
def seen():
    """What was generated: of both kinds, or the test proves nothing."""
    kinds = set()
    yield kinds
    assert kinds == {True, False}


@pytest.mark.parametrize("method", ["supervised", "dpo", "reinforcement"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=CONVERSATION | PREFERENCE | JUNK)
@example(
    row={"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi", "weight": None}]}
)
@example(row={"messages": [{"role": "user", "content": "hello"}], "answer": "yes"})
def test_what_the_checker_passes_the_emulator_takes(tmp_path, seen, method, row):
    path = tmp_path / "train.jsonl"
    path.write_text((json.dumps(row) + "\n") * 10)
    passes, takes = check(path, method=method, tokens="estimate").ok, emulator_takes(path, method)
    seen.add(passes)
    assert takes or not passes
