"""The identity by which a lost job is found again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_finetune.jobs.identity import OWN_KEYS, Marks, Match, Submission, check_user_metadata, recognise
from airflow_provider_finetune.jobs.job import Job

NIGHTLY = Submission("retrain", "scheduled__2026-11-01T00:00:00+00:00", "create")


def test_user_metadata_beyond_the_room_is_counted() -> None:
    pairs = {f"key{n}": "value" for n in range(13)}
    with pytest.raises(ValueError, match=r"13 pairs, but a job holds 16 and the provider needs 5 .* leave out 2"):
        NIGHTLY.metadata("f" * 16, pairs)


@pytest.mark.parametrize(
    "key", ["airflow_submission", "airflow_fingerprint", "airflow_dag_id", "airflow_run_id", "airflow_task_id"]
)
def test_a_user_cannot_take_a_key_of_ours(key: str) -> None:
    with pytest.raises(ValueError, match=f"'{key}' is used by the provider.*name yours otherwise"):
        check_user_metadata({key: "mine"})


def test_the_key_of_a_submission_never_changes_between_releases() -> None:
    """Jobs outlive releases: a retry after an upgrade has to find its job."""
    assert NIGHTLY.key == "4839edb7a6448abf"
    assert Submission("retrain", "manual__1", "group.create", map_index=3).key == "edd133ec8826474d"
    assert Submission("retrain", "manual__1", "create", generation=2).key == "0adfc7f634119774"


@pytest.mark.parametrize(
    "other",
    [
        Submission("retrain2", NIGHTLY.run_id, "create"),
        Submission("retrain", "manual__1", "create"),
        Submission("retrain", NIGHTLY.run_id, "create2"),
        Submission("retrain", NIGHTLY.run_id, "create", map_index=0),
        Submission("retrain", NIGHTLY.run_id, "create", generation=0),
    ],
)
def test_another_task_instance_or_generation_is_another_submission(other: Submission) -> None:
    assert other.key != NIGHTLY.key


@given(st.lists(st.text(max_size=4), min_size=3, max_size=3), st.lists(st.text(max_size=4), min_size=3, max_size=3))
def test_ids_that_only_look_alike_when_joined_are_told_apart(one: list[str], other: list[str]) -> None:
    assert (Submission(*one).key == Submission(*other).key) is (one == other)


def test_the_metadata_holds_our_five_keys_beside_the_users() -> None:
    metadata = NIGHTLY.metadata("0123456789abcdef", {"team": "ml"})
    assert metadata == {
        "team": "ml",
        "airflow_submission": NIGHTLY.key,
        "airflow_fingerprint": "0123456789abcdef",
        "airflow_dag_id": "retrain",
        "airflow_run_id": "scheduled__2026-11-01T00:00:00+00:00",
        "airflow_task_id": "create",
    }


keys = st.text(max_size=64).filter(lambda key: key not in OWN_KEYS)


@given(st.text(), st.text(), st.text(), st.dictionaries(keys, st.text(max_size=512), max_size=11))
def test_the_metadata_always_fits_into_a_job(dag_id: str, run_id: str, task_id: str, pairs: dict[str, str]) -> None:
    metadata = Submission(dag_id, run_id, task_id).metadata("f" * 16, pairs)
    assert len(metadata) <= 16
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in metadata.items())


def test_ids_longer_than_a_value_may_be_are_cut_and_still_told_apart() -> None:
    one, other = (Submission("d" * 600 + end, "r", "t") for end in "ab")
    assert one.metadata("f")["airflow_dag_id"] == "d" * 512
    assert one.key != other.key


MARKS = Marks(NIGHTLY.key, "f" * 16, model="gpt-4.1-mini", training_file="file-1")


def shown(**fields: Any) -> Job:
    """A job with the metadata of the submission, as the endpoint shows it."""
    return Job.from_api({"id": "ftjob-1", "status": "running", "metadata": NIGHTLY.metadata("f" * 16), **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "other-model", "training_file": "file-2"},
        {"model": "gpt-4.1-mini", "training_file": "file-2"},
        {"model": "other-model", "training_file": "file-1"},
        {"training_file": "file-2"},
        {"model": "other-model"},
    ],
)
def test_metadata_that_a_stranger_could_guess_do_not_make_a_job_ours(fields: dict[str, Any]) -> None:
    assert recognise(shown(**fields), MARKS) is Match.STRANGE


@pytest.mark.parametrize(
    "fields", [{}, {"model": "openai/gpt-4.1-mini-2025-04-14"}, {"model": "GPT-4.1-mini", "training_file": "file-1"}]
)
def test_what_an_endpoint_leaves_out_or_says_in_other_words_contradicts_nothing(fields: dict[str, Any]) -> None:
    assert recognise(shown(**fields), MARKS) is Match.OURS
