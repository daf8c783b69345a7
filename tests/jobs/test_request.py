"""The request for a job: what is refused before money is spent, what passes, and what is sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import fine_tuning as sdk
from openai.types.graders import StringCheckGrader

from airflow_provider_finetune.jobs import request as ours
from airflow_provider_finetune.jobs.request import check_literals, check_request, doubtful_names, method_body

FIELDS = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1"}
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "operation": "eq",
}
TOO_MANY = {f"key{n}": "value" for n in range(12)}


def supervised(**hyperparameters: object) -> dict[str, object]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def dpo(**hyperparameters: object) -> dict[str, object]:
    return {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}


def reinforcement(**hyperparameters: object) -> dict[str, object]:
    return {"type": "reinforcement", "reinforcement": {"grader": GRADER, "hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    ("fields", "place", "found", "expected"),
    [
        ({"method": supervised(n_epochs=0)}, "method.supervised.hyperparameters.n_epochs", "0", "greater than or"),
        ({"method": supervised(n_epochs=51)}, "method.supervised.hyperparameters.n_epochs", "51", "equal to 50"),
        ({"method": supervised(n_epochs="many")}, "method.supervised.hyperparameters.n_epochs", "'many'", "'auto'"),
        ({"method": supervised(batch_size=257)}, "method.supervised.hyperparameters.batch_size", "257", "256"),
        (
            {"method": supervised(learning_rate_multiplier=0)},
            "method.supervised.hyperparameters.learning_rate_multiplier",
            "0",
            "greater than 0",
        ),
        ({"method": dpo(beta=2.5)}, "method.dpo.hyperparameters.beta", "2.5", "less than or equal to 2"),
        ({"method": dpo(beta=0)}, "method.dpo.hyperparameters.beta", "0", "greater than 0"),
        (
            {"method": reinforcement(reasoning_effort="huge"), "validation_file": "file-2"},
            "method.reinforcement.hyperparameters.reasoning_effort",
            "'huge'",
            "'default', 'low', 'medium' or 'high'",
        ),
        (
            {"method": reinforcement(compute_multiplier=11), "validation_file": "file-2"},
            "method.reinforcement.hyperparameters.compute_multiplier",
            "11",
            "less than or equal to 10",
        ),
        (
            {"method": reinforcement(compute_multiplier=1e-5), "validation_file": "file-2"},
            "method.reinforcement.hyperparameters.compute_multiplier",
            "1e-05",
            "greater than 0.00001",
        ),
        (
            {"method": reinforcement(eval_samples=0), "validation_file": "file-2"},
            "method.reinforcement.hyperparameters.eval_samples",
            "0",
            "equal to 1",
        ),
        ({"suffix": ""}, "suffix", "''", "at least 1 character"),
        ({"suffix": "x" * 65}, "suffix", "'xxx", "at most 64 characters"),
        ({"seed": -1}, "seed", "-1", "greater than or equal to 0"),
        ({"seed": 2**31}, "seed", "2147483648", "less than or equal to 2147483647"),
        ({"seed": "lucky"}, "seed", "'lucky'", "valid integer"),
        ({"metadata": {"k" * 65: "v"}}, "metadata.k", "'kkk", "at most 64 characters"),
        ({"metadata": {"key": "v" * 513}}, "metadata.key", "'vvv", "at most 512 characters"),
        ({"metadata": {"key": True}}, "metadata.key", "True", "valid string"),
        ({"method": supervised(n_epochs=True)}, "method.supervised.hyperparameters.n_epochs", "True", "a number"),
        (
            {"method": supervised(learning_rate_multiplier=True)},
            "method.supervised.hyperparameters.learning_rate_multiplier",
            "True",
            "a number",
        ),
        ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs", "True", "a number"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "51", "equal to 50"),
        ({"hyperparameters": "fast"}, "hyperparameters", "'fast'", "valid dictionary"),
        ({"seed": True}, "seed", "True", "a number"),
        ({"model": " "}, "model", "' '", "at least 1 character"),
        ({"training_file": 5}, "training_file", "5", "valid string"),
        ({"integrations": [3]}, "integrations.0", "3", "valid dictionary"),
    ],
)
def test_a_bad_literal_is_refused_with_its_place_what_was_found_and_what_is_expected(
    fields: dict[str, object], place: str, found: str, expected: str
) -> None:
    with pytest.raises(ValueError) as error:
        check_literals(FIELDS | fields)
    (line,) = str(error.value).splitlines()
    assert line.startswith(place)
    assert found in line
    assert expected in line


def test_every_bad_hyperparameter_has_a_line_of_its_own() -> None:
    with pytest.raises(ValueError) as error:
        check_request(FIELDS | {"method": supervised(n_epochs=0, batch_size=0)})
    assert [line.split(": ")[0].rsplit(".", 1)[1] for line in str(error.value).splitlines()] == [
        "n_epochs",
        "batch_size",
    ]


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ({"type": "supervised", "hyperparameters": {"n_epochs": 3}}, "method.hyperparameters"),
        ({"type": "supervised", "n_epochs": 3}, "method.n_epochs"),
        ({"type": "supervised", "supervised": {"n_epochs": 3}}, "method.supervised.n_epochs"),
        ({"type": "supervised", "supervised": {"seed": 3}}, "method.supervised.seed"),
        ({"type": "supervised", "dpo": {"hyperparameters": {"beta": 1}}}, "method.dpo"),
        (ours.SupervisedMethod(n_epochs=3), "method.supervised.n_epochs"),
        (sdk.SupervisedMethod(n_epochs=3), "method.supervised.n_epochs"),
    ],
)
def test_what_the_api_would_silently_ignore_is_refused_with_where_it_belongs(method: object, named: str) -> None:
    with pytest.raises(ValueError, match=f"{named} would be ignored.*belong into method.supervised.hyperparameters"):
        method_body(method)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"supervised": {}}, 'method.type is missing; expected "supervised", "dpo" or "reinforcement"'),
        ({"type": 3}, "method.type is missing"),
        ("supervised", "method is a str"),
        ({"type": "reinforcement", "reinforcement": {}}, "method.reinforcement.grader: Field required"),
        ({"type": "supervised", "supervised": "fast"}, "method.supervised"),
    ],
)
def test_a_method_that_cannot_be_one_is_refused(method: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_literals(FIELDS | {"method": method})


def test_reinforcement_without_a_validation_file_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a validation_file"):
        check_literals(FIELDS | {"method": reinforcement()})
    check_literals(FIELDS | {"method": reinforcement(), "validation_file": "{{ upload }}"})


def test_metadata_that_no_longer_fits_beside_ours_is_counted() -> None:
    with pytest.raises(ValueError, match=r"12 pairs, but a job holds 16 .* needs 5 .* leave out 1"):
        check_literals(FIELDS | {"metadata": TOO_MANY})


def test_a_missing_model_is_named_but_a_templated_one_is_not_missing() -> None:
    with pytest.raises(ValueError, match="model: Field required"):
        check_request({"training_file": "file-1", "model": None})
    check_literals({"training_file": "{{ ti.xcom_pull('upload') }}", "model": "{% if x %}a{% endif %}"})


class Reference:
    """Stands for an XCom reference, of which nothing is known while the DAG is parsed."""


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": "{{ params.seed }}"},
        {"suffix": "{{ '' }}" + "x" * 80},
        {"metadata": {"a": "{{ x }}", "b": 5}},
        {"method": supervised(n_epochs="{{ params.epochs }}")},
        {"method": "{{ params.method }}"},
        {"method": Reference()},
        {"metadata": Reference(), "integrations": [Reference()], "extra_body": {"a": [{"b": "{{ x }}"}]}},
        {"training_file": Reference(), "validation_file": Reference(), "model": Reference()},
    ],
)
def test_what_a_template_or_a_reference_gives_is_not_judged_while_the_dag_is_parsed(fields: dict[str, object]) -> None:
    check_literals(FIELDS | fields)


def test_numbers_that_a_template_rendered_to_text_are_numbers_in_the_body() -> None:
    request = check_request(FIELDS | {"seed": "7", "method": supervised(n_epochs="3", learning_rate_multiplier="0.5")})
    assert request.body()["seed"] == 7
    assert request.body()["method"] == supervised(n_epochs=3, learning_rate_multiplier=0.5)


@pytest.mark.parametrize(
    ("typed", "of_sdk", "plain"),
    [
        (
            ours.SupervisedMethod(hyperparameters=ours.SupervisedHyperparameters(n_epochs=3, batch_size="auto")),
            sdk.SupervisedMethod(hyperparameters=sdk.SupervisedHyperparameters(n_epochs=3, batch_size="auto")),
            supervised(n_epochs=3, batch_size="auto"),
        ),
        (
            ours.DpoMethod(hyperparameters=ours.DpoHyperparameters(beta=0.1, learning_rate_multiplier=2.0)),
            sdk.DpoMethod(hyperparameters=sdk.DpoHyperparameters(beta=0.1, learning_rate_multiplier=2.0)),
            dpo(beta=0.1, learning_rate_multiplier=2.0),
        ),
        (
            ours.ReinforcementMethod(
                grader=GRADER,
                hyperparameters=ours.ReinforcementHyperparameters(reasoning_effort="low", eval_interval=2),
            ),
            sdk.ReinforcementMethod(
                grader=GRADER,
                hyperparameters=sdk.ReinforcementHyperparameters(reasoning_effort="low", eval_interval=2),
            ),
            reinforcement(reasoning_effort="low", eval_interval=2),
        ),
        (ours.SupervisedMethod(), sdk.SupervisedMethod(), {"type": "supervised"}),
    ],
    ids=["supervised", "dpo", "reinforcement", "defaults"],
)
def test_three_ways_to_write_a_method_give_the_same_body_and_fingerprint(
    typed: object, of_sdk: object, plain: dict[str, object]
) -> None:
    requests = [
        check_request(FIELDS | {"validation_file": "file-2", "method": method}) for method in (typed, of_sdk, plain)
    ]
    assert [request.body()["method"] for request in requests] == [plain, plain, plain]
    assert len({request.fingerprint() for request in requests}) == 1


GIVEN: list[tuple[Any, Any, Any, dict[str, Any]]] = [
    (sdk.SupervisedMethod, sdk.SupervisedHyperparameters, supervised, {"n_epochs": 2, "batch_size": 16}),
    (sdk.SupervisedMethod, sdk.SupervisedHyperparameters, supervised, {"learning_rate_multiplier": 1e-5}),
    (sdk.DpoMethod, sdk.DpoHyperparameters, dpo, {"beta": 0.1, "n_epochs": "auto"}),
    (sdk.ReinforcementMethod, sdk.ReinforcementHyperparameters, reinforcement, {"eval_interval": 2}),
    (ours.SupervisedMethod, ours.SupervisedHyperparameters, supervised, {"n_epochs": 2, "lora_rank": 8}),
    (ours.DpoMethod, ours.DpoHyperparameters, dpo, {"beta": 0.1}),
    (ours.ReinforcementMethod, ours.ReinforcementHyperparameters, reinforcement, {"eval_samples": 1}),
]


@pytest.mark.parametrize(("method", "hyperparameters", "mapping", "values"), GIVEN)
def test_models_inside_a_mapping_are_the_same_as_the_mapping(
    method: Any, hyperparameters: Any, mapping: Any, values: dict[str, Any]
) -> None:
    plain = mapping(**values)
    kind = plain["type"]
    grader = {"grader": GRADER} if kind == "reinforcement" else {}
    settings = hyperparameters(**values)
    for written in (
        {"type": kind, kind: method(hyperparameters=settings, **grader)},
        {"type": kind, kind: method(hyperparameters=values, **grader)},
        {"type": kind, kind: {"hyperparameters": settings, **grader}},
        method(hyperparameters=settings, **grader),
    ):
        assert method_body(written) == plain
        check_literals(FIELDS | {"validation_file": "file-2", "method": written})


def test_a_grader_of_any_type_is_sent_as_it_is() -> None:
    lambda_grader = {"type": "lambda", "lambda": {"function": "arn:aws:lambda:us-west-2:123456789012:function:grade"}}
    method = {"type": "reinforcement", "reinforcement": {"grader": lambda_grader}}
    assert method_body(method) == method
    grader = StringCheckGrader(
        type="string_check", name="same", input="{{sample.output_text}}", reference="{{item.a}}", operation="eq"
    )
    assert method_body(sdk.ReinforcementMethod(grader=grader)) == {
        "type": "reinforcement",
        "reinforcement": {"grader": GRADER},
    }


@pytest.mark.parametrize(
    "given", [{"n_epochs": 3}, {"n_epochs": "3"}, sdk.SupervisedHyperparameters(n_epochs=3)], ids=["3", "'3'", "model"]
)
def test_the_older_hyperparameters_argument_is_sent_at_its_place(given: Any) -> None:
    request = check_request(FIELDS | {"hyperparameters": given})
    assert request.body() == FIELDS | {"hyperparameters": {"n_epochs": 3}}
    assert request.asked_hyperparameters() == {"n_epochs": 3}


def test_method_and_hyperparameters_together_are_an_error() -> None:
    with pytest.raises(ValueError, match="method and hyperparameters are both given"):
        check_literals(FIELDS | {"hyperparameters": {"n_epochs": 3}, "method": supervised(n_epochs=3)})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"method": supervised(n_epoch=3)}, "method.supervised.hyperparameters.n_epoch .* 'n_epochs'"),
        ({"method": dpo(batchsize=3)}, "method.dpo.hyperparameters.batchsize .* 'batch_size'"),
        ({"hyperparameters": {"epochs": "{{ params.n }}"}}, "hyperparameters.epochs .* 'n_epochs'"),
        ({"method": {"type": "Supervised", "Supervised": {}}}, "method.type 'Supervised' .* 'supervised'"),
        ({"method": {"type": "x", "x": {"hyperparameters": {"epochs": 1}}}}, "method.x.hyperparameters.epochs"),
    ],
)
def test_a_name_that_is_probably_a_slip_is_named_with_what_was_meant(fields: dict[str, Any], said: str) -> None:
    (warning,) = doubtful_names(fields)
    assert re.search(said, warning)


@pytest.mark.parametrize("templated", [{}, {"hyperparameters": {"n_epochs": "{{ params.n }}"}}])
@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        ("supervized", "supervised"),
        ("supervise", "supervised"),
        ("superviseds", "supervised"),
        ("SUPERVISDE", "supervised"),
        ("reinforcment", "reinforcement"),
        ("reinnforcement", "reinforcement"),
    ],
)
def test_a_misspelt_type_of_method_is_refused_when_the_dag_is_parsed(
    kind: str, meant: str, templated: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"method.type is '{kind}'; did you mean '{meant}'?"):
        check_literals(FIELDS | {"method": {"type": kind, kind: templated}})


@pytest.mark.parametrize("kind", ["unsupervised", "cdpo", "dpop", "DPO", "reinforce", "sft", "x" * 9, "{{ params.x }}"])
def test_a_type_of_method_that_another_endpoint_may_have_passes(kind: str) -> None:
    check_literals(FIELDS | {"method": {"type": kind}})


@given(
    st.dictionaries(
        st.sampled_from(["method", "hyperparameters"]),
        st.none() | st.text("ab{", max_size=3) | st.lists(st.integers(), max_size=2),
    )
)
def test_what_is_no_mapping_has_no_doubtful_names(fields: dict[str, Any]) -> None:
    assert doubtful_names(fields) == []


def test_names_of_compatible_servers_are_not_doubted() -> None:
    assert doubtful_names({"method": supervised(n_epochs=3, lora_rank=8, neftune_noise_alpha=5)}) == []


def test_a_method_given_to_the_sdks_own_method_type_is_the_same_too() -> None:
    method = sdk.FineTuningJob.model_fields["method"]
    assert method is not None
    from openai.types.fine_tuning.fine_tuning_job import Method

    whole = Method(
        type="supervised", supervised=sdk.SupervisedMethod(hyperparameters=sdk.SupervisedHyperparameters(n_epochs=2))
    )
    assert method_body(whole) == supervised(n_epochs=2)


@pytest.mark.parametrize(
    "method",
    [
        {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "lora_rank": 8}}},
        {"type": "supervised", "supervised": {"hyperparameters": {"lora": {"rank": 8, "targets": ["q", "v"]}}}},
        {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}, "reference_free": True}},
        {"type": "lora", "lora": {"rank": 8}},
        {"type": "kto", "anything": [1, 2]},
    ],
)
def test_what_only_a_compatible_server_knows_passes_unchanged(method: dict[str, object]) -> None:
    assert method_body(method) == method


def test_the_typed_models_take_the_hyperparameters_of_compatible_servers_too() -> None:
    method = ours.SupervisedMethod(hyperparameters=ours.SupervisedHyperparameters(n_epochs=3, lora_rank=8))
    assert method_body(method) == supervised(n_epochs=3, lora_rank=8)


def test_what_is_not_set_is_not_sent() -> None:
    assert check_request(FIELDS | {"suffix": None, "method": None}).body() == FIELDS


def test_everything_of_the_create_call_is_sent_at_its_place() -> None:
    fields = FIELDS | {
        "validation_file": "file-2",
        "method": supervised(n_epochs=1),
        "suffix": "bot",
        "seed": 0,
        "metadata": {"team": "ml"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p"}}],
        "extra_body": {"priority": "low"},
    }
    assert check_request(fields).body() == fields


# -- the fingerprint


FULL = FIELDS | {
    "validation_file": "file-2",
    "method": supervised(n_epochs=3, learning_rate_multiplier=0.5),
    "suffix": "bot",
    "seed": 7,
    "metadata": {"team": "ml", "purpose": "nightly"},
}


def test_the_fingerprint_of_a_request_never_changes_between_releases() -> None:
    """Jobs outlive releases: a retry after an upgrade has to know its job again."""
    assert check_request(FIELDS).fingerprint() == "02852b24c32b4632"
    assert check_request(FULL).fingerprint() == "2dece4edae9601a1"


def test_the_order_of_keys_does_not_matter_to_the_fingerprint() -> None:
    turned = {key: FULL[key] for key in reversed(FULL)} | {"metadata": {"purpose": "nightly", "team": "ml"}}
    assert check_request(turned).fingerprint() == check_request(FULL).fingerprint()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"training_file": "file-9"},
        {"validation_file": None},
        {"method": supervised(n_epochs=4, learning_rate_multiplier=0.5)},
        {"suffix": "bot2"},
        {"seed": 8},
        {"metadata": {"team": "ml"}},
        {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]},
        {"extra_body": {"x": 1}},
    ],
)
def test_whatever_shapes_the_job_changes_the_fingerprint(change: dict[str, object]) -> None:
    assert check_request(FULL | change).fingerprint() != check_request(FULL).fingerprint()


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(plain_json)
def test_whatever_stands_for_a_method_is_a_body_or_a_value_error(method: object) -> None:
    try:
        body = method_body(method)
    except ValueError:
        return
    assert body is None or isinstance(body["type"], str)


@given(st.dictionaries(st.sampled_from([*ours.JobRequest.model_fields, "misspelt"]), plain_json, max_size=5))
def test_whatever_stands_in_the_fields_is_a_request_or_a_value_error_and_a_request_keeps_its_fingerprint(
    fields: dict[str, object],
) -> None:
    try:
        request = check_request(FIELDS | fields)
    except ValueError:
        return
    assert check_request(request.body()).fingerprint() == request.fingerprint()
