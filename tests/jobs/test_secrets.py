"""A connection's own secrets are gone from what its endpoint says; other people's keys look like keys; ids stay."""

from __future__ import annotations

import base64
import html
import json
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.job import Job
from airflow_provider_finetune.jobs.keys import without_keys
from airflow_provider_finetune.jobs.secrets import Secrets, secrets_in, secrets_of_url

UUID = "3f0c7c1e-1b7a-4f0e-9a55-0d0a3e3a9a11"
FORMS = {
    "plain": str,
    "percent": lambda key: quote(key, safe=""),
    "small percent": lambda key: quote(key, safe="").lower(),
    "all percent": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "query": quote_plus,
    "html": html.escape,
    "html numbers": lambda key: "".join(f"&#{ord(letter)};" for letter in key),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON escapes": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key if ord(letter) < 0x10000),
    "JSON slashes": lambda key: key.replace("/", "\\/"),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "hex": lambda key: key.encode().hex(),
    "one letter escaped": lambda key: f"%{ord(key[0]):02x}{key[1:]}",
    "capitals": str.upper,
}
secrets = st.text(string.ascii_letters + string.digits + "+/=-_.~&%\"' ", min_size=8, max_size=60).filter(
    lambda key: key == key.strip() and len(set(key)) > 3
)


@given(secrets, st.sampled_from(sorted(FORMS)), st.text("ab ,:", max_size=5), st.text("ab ,:", max_size=5))
def test_a_secret_is_gone_in_whatever_form_it_comes_back(key: str, form: str, before: str, after: str) -> None:
    said = FORMS[form](key)
    assert said not in Secrets([key]).hidden_in(f"{before}<{said}>{after}")


@given(st.text(string.ascii_letters + string.digits, min_size=20, max_size=60), st.text("xyz:", max_size=7))
def test_a_secret_inside_of_something_longer_in_base64_cannot_be_read_from_what_is_left(key: str, user: str) -> None:
    said = base64.b64encode(f"{user}{key}:tail".encode()).decode()
    left = Secrets([key]).hidden_in(said)
    assert "***" in left
    for part in left.split("***"):
        for start in range(4):
            whole = part[start : start + (len(part) - start) // 4 * 4]
            assert key[3:-3] not in base64.b64decode(whole + "===", validate=False).decode(errors="replace")


@given(secrets, st.sampled_from(sorted(FORMS)))
def test_a_long_text_is_never_passed_over_wrongly(key: str, form: str) -> None:
    said = FORMS[form](key)
    hidden = Secrets([key])
    for text in (said, json.dumps(said), json.dumps({"a": [said]}), json.dumps(said, ensure_ascii=False)):
        assert hidden.may_be_in(text)


def test_the_secrets_of_one_connection_are_not_those_of_another() -> None:
    ours, theirs = Secrets(["our-secret-key"]), Secrets(["their-secret-key"])
    assert ours.hidden_in("our-secret-key their-secret-key") == "*** their-secret-key"
    assert theirs.hidden_in("our-secret-key their-secret-key") == "our-secret-key ***"
    assert "our-secret-key" not in repr(ours)


def test_what_local_servers_take_for_a_key_is_no_secret() -> None:
    assert Secrets(["none", "EMPTY", "", "test"]).hidden_in("none is EMPTY, test") == "none is EMPTY, test"


def test_keys_of_objects_are_looked_at_too() -> None:
    assert Secrets(["a-secret-name"]).hidden_in_json({"a-secret-name": [{"x": "a-secret-name!"}]}) == {
        "***": [{"x": "***!"}]
    }


def test_values_of_headers_are_secrets_and_so_is_what_follows_bearer_and_what_basic_means() -> None:
    basic = base64.b64encode(b"user:pass-word-1").decode()
    found = secrets_in(
        {"X-Gateway": "Bearer gateway-token", "Authorization": f"Basic {basic}", "api-version": "2026-01"}
    )
    assert {"gateway-token", "Bearer gateway-token", "pass-word-1", basic} <= found
    assert "2026-01" not in found


def test_of_the_user_part_of_a_url_the_password_is_secret_or_else_the_user() -> None:
    assert secrets_of_url("user", "p%40ss") == {"p%40ss", "p@ss"}
    assert secrets_of_url("only-a-token", "") == {"only-a-token"}


OPAQUE = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6"


@pytest.mark.parametrize(
    "key",
    [
        f"hf_{OPAQUE}", f"xai-{OPAQUE}", f"AIzaSy{OPAQUE}", f"nvapi-{OPAQUE}", f"fw_{OPAQUE[:24]}", f"pplx-{OPAQUE}",
        f"r8_{OPAQUE}", f"tgp_v1_{OPAQUE}", f"ghp_{OPAQUE}", f"github_pat_{OPAQUE}", f"glpat-{OPAQUE}",
        "AKIAIOSFODNN7EXAMPLE", f"csk-{OPAQUE}", f"ya29.{OPAQUE}", f"xoxb-{OPAQUE}", f"sk-ant-api03-{OPAQUE}",
    ],
)  # fmt: skip
def test_a_key_by_its_vendors_prefix_is_masked_in_texts_and_in_names(key: str) -> None:
    assert key not in without_keys(f"not allowed with {key}.")
    job = Job.from_api({"id": "ftjob-1", "status": key, "fine_tuned_model": key, "error": {"code": key, "param": key}})
    assert key not in repr(job.error)
    assert key.lower() not in f"{job.status} {job.said} {job.fine_tuned_model}".lower()


@pytest.mark.parametrize(
    "said",
    [
        f"Incorrect API key '{UUID}'",
        f"the token you sent, {UUID}, is unknown",
        f"invalid credentials: {UUID}",
        f"API key provided {UUID}",
    ],
)
def test_a_uuid_that_is_called_a_key_is_masked(said: str) -> None:
    assert UUID not in without_keys(said)


@pytest.mark.parametrize(
    "said",
    [
        f"Fine-tuning job {UUID} is running",
        f"file {UUID} not found, request id {UUID}",
        f"ft:gpt-4.1-mini:org:key-words:{UUID[:8]} of ftjob-{OPAQUE[:24]}",
        "max tokens: 1200, token accuracy: 0.93, secret santa",
        "hf_transfer is on; fw_learning_rate is unknown",
        "s3://bucket/train.jsonl and https://host/v1/files",
    ],
)
def test_ids_and_ordinary_words_stay(said: str) -> None:
    assert without_keys(said) == said


@pytest.mark.parametrize(
    "model",
    [
        "ft:gpt-4.1-mini-2025-04-14:my-org:suffix:AbCd1234",
        f"gpt-4.1-mini-2025-04-14.ft-{UUID.replace('-', '')}",
        f"models/my-key-classifier/{'0a' * 20}",
        UUID,
        "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova/abcdef123456",
    ],
)
def test_a_model_keeps_its_name_however_long_and_random_it_is(model: str) -> None:
    assert Job.from_api({"fine_tuned_model": model, "status": "succeeded"}).fine_tuned_model == model


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot reach http://user:pass@host:80/v1", "cannot reach http://***@host:80/v1"),
        ("s3://AKID:secret@bucket/key", "s3://***@bucket/key"),
        ("GET https://host/v1?sig=abcdef&x=1", "GET https://host/v1?***&x=1"),
        ("password=hunter2 failed", "*** failed"),
    ],
)
def test_what_a_url_hides_is_masked(said: str, shown: str) -> None:
    assert without_keys(said) == shown
