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


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "invalid training_file: file-1"),
        (400, "invalid validation_file: file-1"),
        (404, "No such File object: file-1"),
        (404, "File file-1 not found"),
        (422, "The file 'file-1' does not exist."),
    ],
)
def test_a_file_that_the_endpoint_has_lost_is_uploaded_again_by_clearing(status: int, message: str) -> None:
    said = read_fault(status, {"error": {"message": message, "param": "training_file"}}).explain("create the job")
    assert said.endswith(
        "\nThe endpoint does not have this file, or not any more. Clear the task that uploads it, and this one with "
        "it. If the id does not come from an upload task, check it."
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "training_file file-1 has purpose 'batch'"),
        (500, "invalid training_file: file-1"),
        (404, "No such File object: file-result"),
    ],
)
def test_another_trouble_with_a_file_has_nothing_to_do_with_the_upload(status: int, message: str) -> None:
    assert "uploads" not in read_fault(status, {"error": {"message": message}}).explain("create the job")


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
    ("answer", "said"),
    [
        ({"detail": "No such adapter."}, "No such adapter."),
        (
            {"detail": [{"loc": ["body", "n_epochs"], "msg": "too many"}, {"msg": "odd"}]},
            "body.n_epochs: too many; odd",
        ),
        ({"error": "It broke."}, "It broke."),
        ("It broke.", "It broke."),
        ({"errors": ["first", {"message": "second"}]}, "first; second"),
        ({"errors": {"base": ["x"]}, "message": "best"}, "best"),
        ({"error": {"message": None, "detail": "inner"}}, "inner"),
        ({"title": "Bad Request", "status": 400, "detail": "precise"}, "precise"),
        ({"title": "Bad Request"}, "Bad Request"),
        ("  two\n lines  ", "two lines"),
        ("<html><head><title>502 Bad &amp; Gateway</title></head><body>nginx</body></html>", "502 Bad & Gateway"),
        ("<!DOCTYPE html>\n<html><body><h1>Oops</h1></body></html>", "Oops"),
        ("<html><body>Just <b>words</b></body></html>", "Just words"),
        (["a", "b"], "a; b"),
    ],
)
def test_the_servers_own_words_are_heard_whatever_their_shape(answer: object, said: str) -> None:
    assert read_fault(422, answer).message == said
    assert said in read_fault(500, answer).explain("do it")


@pytest.mark.parametrize("answer", [{"detail": {}}, {"error": []}, {"errors": None}, "", [], {"error": {"detail": ""}}])
def test_an_answer_without_words_has_none(answer: object) -> None:
    assert "the server gave no message" in read_fault(422, answer).explain("do it")


@pytest.mark.parametrize(
    "message",
    [
        "File file-abc is still being processed and is not ready to be used.",
        "The file file-abc has not been fully processed yet.",
        "The specified file is not ready. Wait until its status is processed.",
        "training_file: file is currently being processed",
    ],
)
@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_file_that_is_still_being_processed_comes_too_early_and_may_be_asked_for_later(
    status: int, message: str
) -> None:
    fault = read_fault(status, {"error": {"message": message, "param": "training_file"}})
    assert fault.kind is BUSY
    assert "a retry, after a while" in fault.explain("create the fine-tuning job")


@pytest.mark.parametrize("message", ["Could not process file file-abc.", "The file has 9 examples.", "Not ready."])
def test_a_file_that_is_bad_is_no_file_that_comes_too_early(message: str) -> None:
    assert read_fault(400, {"error": {"message": message}}).kind is REFUSED


def test_a_limit_of_the_day_is_not_tried_again_in_seconds_and_says_how_to_come_back_tomorrow() -> None:
    fault = read_fault(429, body("daily_rate_limit_exceeded"))
    assert fault.kind is BUSY
    assert fault.retry_after is not None
    assert fault.retry_after >= 3600
    said = fault.explain("create the fine-tuning job")
    assert "retry_delay" in said
    assert "pool" in said
    assert fault.when_reading().retry_after is None, "jobs are looked at all the same"


def test_advice_for_an_endpoint_goes_before_the_general_one() -> None:
    fault = read_fault(400, {"error": {"message": "The base model does not support fine-tuning.", "code": "x"}})
    advice = {"does not support fine-tuning": "Say trainingType."}
    assert fault.explain("create it", advice).endswith("Say trainingType.")
    assert read_fault(400, body("x")).explain("create it", {"x": "By code."}).endswith("By code.")


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


HEX = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    "prefix", ["ftjob-", "file-", "gpt-4.1-mini-2025-04-14.ft-", "ftevent-", "ftchkpt-", "upload-"]
)
def test_azures_ids_stay_readable(prefix: str) -> None:
    said = f"Created fine-tuning job: {prefix}{HEX}, and more"
    assert without_keys(said) == said
    assert read_fault(404, {"error": {"message": said}}).message == said


def test_the_id_that_a_request_is_about_stays_readable_and_a_key_beside_it_does_not() -> None:
    said = read_fault(404, {"detail": f"job {HEX} is not {HEX[::-1]}'s"}, about=[HEX]).message
    assert said == f"job {HEX} is not ***'s"


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


@pytest.mark.parametrize(
    ("header", "seconds"), [("999999999", 3600.0), ("1e300", 3600.0), ("3600", 3600.0), ("7", 7.0)]
)
def test_an_endpoint_can_ask_for_an_hour_at_most(header: str, seconds: float) -> None:
    assert read_fault(429, None, header).retry_after == seconds


@pytest.mark.parametrize("text", ["<html>" + "<" * 50_000, "<html>" + "<title" * 9000, "<html>" + "<a " * 20_000])
def test_a_page_that_is_meant_to_be_slow_is_read_as_any_other(text: str) -> None:
    assert len(read_fault(500, text).message) <= 400


def test_an_error_is_short_however_long_its_parts_are() -> None:
    error = {"error": {"code": "c" * 6_000_000, "param": "p" * 6_000_000, "message": "m" * 6_000_000, "type": "t"}}
    assert len(read_fault(500, error).explain("ask")) < 1500
