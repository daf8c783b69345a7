"""What was asked for against what the endpoint shows: a difference costs money, and a false alarm a night's sleep."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.comparison import changed_fields, differences
from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.request import check_request


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def dpo(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}


def compare(asked: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    request = check_request({"model": "m", "training_file": "file-1", **asked})
    return differences(request, Job.from_api({"id": "ftjob-1", "status": "queued", **answer}))


@pytest.mark.parametrize(
    ("asked", "answer", "said"),
    [
        ({"method": supervised(n_epochs=3)}, {"method": supervised(n_epochs=1)}, "n_epochs: asked for 3, .* shows 1"),
        ({"method": supervised(n_epochs=3)}, {"method": supervised(n_epochs="auto")}, "n_epochs: .* shows 'auto'"),
        ({"method": supervised(n_epochs=3)}, {"method": None, "hyperparameters": {"n_epochs": "auto"}}, "n_epochs"),
        ({"hyperparameters": {"n_epochs": 3}}, {"method": supervised(n_epochs=4)}, "n_epochs"),
        (
            {"method": supervised(learning_rate_multiplier=0.1)},
            {"method": supervised(learning_rate_multiplier=2)},
            "0.1",
        ),
        ({"method": supervised(lora=True)}, {"method": supervised(lora="no")}, "lora"),
        ({"method": dpo(beta=0.1)}, {"method": supervised()}, "method.type: asked for 'dpo', .* shows 'supervised'"),
        ({"method": dpo(beta=0.1)}, {"method": None}, "method.type: asked for 'dpo', .* shows None"),
        ({"method": dpo(beta=0.1)}, {}, "method.type"),
        ({"method": supervised()}, {"method": dpo()}, "method.type: asked for 'supervised', .* shows 'dpo'"),
        ({"suffix": "bot"}, {"user_provided_suffix": None}, "suffix: asked for 'bot', .* shows None"),
        ({"suffix": "bot"}, {"suffix": "tob"}, "suffix: asked for 'bot', .* shows 'tob'"),
    ],
)
def test_what_the_endpoint_shows_otherwise_than_asked_is_named(
    asked: dict[str, Any], answer: dict[str, Any], said: str
) -> None:
    import re

    (line,) = compare(asked, answer)
    assert re.search(said, line)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"method": supervised(n_epochs=3)}, {"method": supervised(n_epochs=3.0)}),
        ({"method": supervised(n_epochs=3)}, {"method": supervised(n_epochs="3")}),
        ({"method": supervised(n_epochs=3)}, {"method": None, "hyperparameters": {"n_epochs": 3}}),
        (
            {"method": supervised(n_epochs=3)},
            {"method": supervised(n_epochs="auto"), "hyperparameters": {"n_epochs": 3}},
        ),
        ({"method": supervised(n_epochs="auto")}, {"method": supervised(n_epochs=4)}),
        ({"method": supervised(n_epochs=3)}, {"method": supervised(batch_size=8)}),
        ({"method": supervised(n_epochs=3)}, {"method": supervised(n_epochs=-1)}),
        ({"method": supervised(n_epochs=3)}, {"hyperparameters": {"n_epochs": 0, "batch_size": ""}}),
        ({"method": supervised(n_epochs=3)}, {"method": {"type": "supervised"}, "hyperparameters": None}),
        ({"method": supervised(n_epochs=3)}, {}),
        (
            {"method": supervised(learning_rate_multiplier=1e-5)},
            {"method": supervised(learning_rate_multiplier=0.00001)},
        ),
        ({"method": {"type": "kto", "kto": {}}}, {"method": {"type": "kto"}}),
        ({}, {"method": supervised(n_epochs=3), "suffix": "x"}),
        ({"suffix": "bot"}, {"user_provided_suffix": "bot"}),
        ({"suffix": "bot"}, {"suffix": "bot"}),
        ({"suffix": "bot"}, {}),
    ],
)
def test_what_is_the_same_or_not_said_or_the_endpoints_choice_is_no_difference(
    asked: dict[str, Any], answer: dict[str, Any]
) -> None:
    assert compare(asked, answer) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "supervised", "hyperparameters", "n_epochs"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["method", "hyperparameters", "suffix", "user_provided_suffix"]), anything))
def test_whatever_an_endpoint_answers_can_be_compared(answer: dict[str, Any]) -> None:
    assert isinstance(compare({"method": supervised(n_epochs=3, lora={"r": 8}), "suffix": "bot"}, answer), list)


@pytest.mark.parametrize(
    ("earlier", "changed"),
    [
        ({"model": "another"}, ["model"]),
        ({"model": "m-2025-04-14"}, []),
        ({"training_file": "file-0"}, ["training_file"]),
        ({"validation_file": "file-0"}, ["validation_file"]),
        ({"validation_file": None}, []),
        ({"seed": 8}, ["seed"]),
        ({"seed": 7}, []),
        ({"user_provided_suffix": "bot"}, ["suffix"]),
        ({"metadata": {"airflow_fingerprint": "0", "team": "b"}}, ["metadata"]),
        ({"metadata": {"airflow_fingerprint": "0", "team": "a"}}, []),
        ({"metadata": None}, []),
        ({"method": supervised(n_epochs=2)}, ["n_epochs"]),
        ({"method": dpo(n_epochs=3)}, ["method.type"]),
        ({"model": "another", "training_file": "file-0", "method": dpo()}, ["model", "training_file", "method.type"]),
        ({}, []),
    ],
)
def test_what_differs_from_an_earlier_request_is_told_by_name(earlier: dict[str, Any], changed: list[str]) -> None:
    request = check_request(
        {"model": "m", "training_file": "file-1", "validation_file": "file-2", "seed": 7, "metadata": {"team": "a"}}
        | {"method": supervised(n_epochs=3)}
    )
    assert changed_fields(request, Job.from_api({"id": "ftjob-1", "status": "queued", **earlier})) == changed
