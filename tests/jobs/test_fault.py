"""What an error answer, or no answer at all, means for the request behind it."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.fault import Fault, FaultKind, read_fault
from airflow_provider_finetune.jobs.keys import without_keys

REFUSED, BUSY, LOST = FaultKind.REFUSED, FaultKind.BUSY, FaultKind.LOST


def body(
    code: str | None, *, type: str | None = "invalid_request_error", param: str | None = None
) -> dict[str, object]:
    return {"error": {"message": "It said no.", "type": type, "param": param, "code": code}}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "remedy"),
    [
        (404, body("fine_tune_not_found", param="fine_tune_id"), REFUSED, "Check the job id"),
        (400, body("model_not_available"), REFUSED, "the endpoint can fine-tune it"),
        (400, body(None), REFUSED, "It said no."),
        (403, body("training_not_available"), REFUSED, "2027-01-06"),
        (403, body(None), REFUSED, "permissions"),
        (429, body("insufficient_quota", type="insufficient_quota"), REFUSED, "Add credit"),
        (429, body(None, type="insufficient_quota"), REFUSED, "It said no."),
        (429, body("billing_hard_limit_reached"), REFUSED, "It said no."),
        (429, body("rate_limit_exceeded"), BUSY, "It said no."),
        (429, body("daily_rate_limit_exceeded"), BUSY, "It said no."),
        (429, None, BUSY, "no message"),
        (401, body("invalid_api_key"), REFUSED, "API key"),
        (401, None, REFUSED, "API key"),
        (404, None, REFUSED, "base URL"),
        (405, None, REFUSED, "HTTP 405"),
        (408, None, LOST, "HTTP 408"),
        (409, body("conflict"), LOST, "HTTP 409"),
        (500, body("server_error", type="server_error"), LOST, "HTTP 500"),
        (502, "<html>Bad gateway</html>", LOST, "HTTP 502"),
        (503, None, LOST, "HTTP 503"),
        (None, None, LOST, "Check that the endpoint is up"),
    ],
)
def test_each_answer_means_what_the_api_means_by_it(
    status: int | None, answer: object, kind: FaultKind, remedy: str
) -> None:
    fault = read_fault(status, answer)
    assert fault.kind is kind
    assert remedy in fault.explain("create the fine-tuning job")


def test_a_refused_organisation_gets_the_dates_and_the_way_to_another_endpoint() -> None:
    said = read_fault(403, body("training_not_available")).explain("create the fine-tuning job")
    for part in ("2026-05-07", "2026-07-02", "2027-01-06", "https://<resource>.openai.azure.com/openai/v1"):
        assert part in said


def test_an_explanation_names_what_was_tried_the_status_code_param_and_message() -> None:
    said = read_fault(404, body("fine_tune_not_found", param="fine_tune_id")).explain("retrieve job ftjob-1")
    assert said.startswith(
        "Could not retrieve job ftjob-1: HTTP 404 (code fine_tune_not_found, param fine_tune_id): It said no."
    )


def test_no_answer_says_what_broke() -> None:
    assert "APITimeoutError" in read_fault(None, cause="APITimeoutError").explain("list jobs")


def test_the_body_may_come_with_or_without_its_outer_object() -> None:
    outer = body("invalid_api_key")
    assert read_fault(401, outer) == read_fault(401, outer["error"])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("0.5", 0.5),
        (None, None),
        ("", None),
        ("-3", None),
        ("Wed, 21 Oct 2026 07:28 GMT", None),
    ],
)
def test_retry_after_is_read_in_seconds_where_the_server_gives_them(header: str | None, seconds: float | None) -> None:
    assert read_fault(429, body("rate_limit_exceeded"), header).retry_after == seconds


@pytest.mark.parametrize("header", ["nan", "inf", "-inf"])
def test_retry_after_that_is_no_time_is_none(header: str) -> None:
    assert read_fault(429, None, header).retry_after is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
answers = anything | st.fixed_dictionaries(
    {"error": st.dictionaries(st.sampled_from(["message", "type", "param", "code"]), anything)}
)


@given(st.none() | st.integers(400, 599), answers, st.none() | st.text())
def test_any_answer_is_a_fault_with_an_explanation_of_readable_length(
    status: int | None, answer: object, retry_after: str | None
) -> None:
    fault = read_fault(status, answer, retry_after)
    assert isinstance(fault, Fault)
    said = fault.explain("do it")
    assert said.startswith("Could not do it: ")
    assert len(fault.message) <= 400


# -- keys

ALPHANUMERIC = string.ascii_letters + string.digits
opaque = st.text(ALPHANUMERIC, min_size=24, max_size=80)
keys = st.one_of(
    st.builds("{}-{}".format, st.sampled_from(["sk", "sk-proj", "sk-svcacct", "sess", "pk"]), opaque),
    st.builds("gsk_{}".format, opaque),
    st.text("0123456789abcdef", min_size=32, max_size=32),  # Azure, the older kind
    st.builds("{}9{}".format, st.text(ALPHANUMERIC, min_size=40, max_size=40), st.text(ALPHANUMERIC, min_size=43)),
    st.builds("eyJ{}.eyJ{}.{}".format, opaque, opaque, opaque),
)


@given(
    key=keys,
    before=st.sampled_from(["Incorrect API key provided: ", "key=", "", "'", '"', "Authorization: Bearer ", "token "]),
    after=st.sampled_from(["", ".", ". You can find yours at https://host", "'", '"}', ", and more", "\n"]),
)
def test_a_key_never_survives_in_a_message(key: str, before: str, after: str) -> None:
    assert key not in without_keys(f"{before}{key}{after}")
    assert key not in read_fault(401, {"error": {"message": f"{before}{key}{after}"}}).explain("do it")


@given(st.text(ALPHANUMERIC + "-_.~+/=", min_size=1))
def test_whatever_follows_bearer_or_key_colon_is_masked(secret: str) -> None:
    assert without_keys(f"Bearer {secret}") == "***"
    assert without_keys(f"Incorrect API key provided: {secret}") == "Incorrect API ***"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided.",
        "ft:gpt-4.1-mini-2025-04-14:my-org:suffix:AbCd1234 of ftjob-abcdefghijklmnopqrstuvwx, file-1234567890abcdefghi",
        "the metadata key airflow_submission is not allowed; task-1234567890",
        "3f0c7c1e-1b7a-4f0e-9a55-0d0a3e3a9a11",
    ],
)
def test_what_is_no_key_stays_readable(text: str) -> None:
    assert without_keys(text) == text
