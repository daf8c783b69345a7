"""The life of a job at the emulator, its events, pages and errors."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

BASE = "gpt-4.1-mini-2025-04-14"


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def events(client, job_id) -> list:
    """In the order they happened."""
    return list(client.fine_tuning.jobs.list_events(job_id))[::-1]


def test_a_job_goes_through_the_states_and_tells_about_it(emulator, client, create, until, animals):
    emulator.set(job_seconds=2)
    job = create(animals, animals, suffix="farm", seed=7, metadata={"purpose": "test"}, method=supervised(n_epochs=2))
    assert (job.status, job.fine_tuned_model, job.trained_tokens, job.result_files) == (
        "validating_files",
        None,
        None,
        [],
    )
    assert job.hyperparameters.batch_size == "auto"
    running = until(job.id, "running")
    assert running.hyperparameters.batch_size == 1
    assert running.estimated_finish >= running.created_at
    job = until(job.id, "succeeded")
    assert job.estimated_finish is None
    assert job.finished_at >= job.created_at
    assert job.trained_tokens > 100
    assert (job.seed, job.metadata, job.error) == (7, {"purpose": "test"}, None)
    assert job.method.supervised.hyperparameters.n_epochs == 2
    assert job.fine_tuned_model.startswith(f"ft:{BASE}:emulator:farm:")
    happened = events(client, job.id)
    messages = [event.message for event in happened if event.type == "message"]
    assert messages[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file} and validation file: {job.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    (checkpoint,) = client.fine_tuning.jobs.checkpoints.list(job.id).data[1:]
    assert messages[4:] == [
        f"Checkpoint created at step 16 with Snapshot ID: {checkpoint.fine_tuned_model_checkpoint}",
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]
    steps = [event for event in happened if event.type == "metrics"]
    assert [step.data["step"] for step in steps] == list(range(1, 33))
    assert steps[0].message == f"Step 1/32: training loss={steps[0].data['train_loss']:.2f}"
    assert {"total_steps", "train_mean_token_accuracy", "valid_loss"} <= steps[0].data.keys()
    assert [("full_valid_loss" in step.data) for step in steps].count(True) == 2
    assert "full_valid_mean_token_accuracy" in steps[15].data


def test_the_steps_are_spread_over_the_time_of_the_job(emulator, client, create, until, animals):
    emulator.set(job_seconds=2)
    started = time.monotonic()
    job = until(create(animals).id, "succeeded")
    assert time.monotonic() - started > 1.8
    created = [event.created_at for event in events(client, job.id) if event.type == "metrics"]
    assert created[-1] > created[0]


def test_a_paused_job_stops_between_two_steps_and_goes_on_from_there(emulator, client, create, until, animals):
    method = supervised(n_epochs=10)
    straight = until(create(animals, seed=3, method=method).id, "succeeded")
    emulator.set(job_seconds=3)
    job = create(animals, seed=3, method=method)
    until(job.id, "running")
    wait_for_steps(client, job.id, 3)
    assert client.fine_tuning.jobs.pause(job.id).status == "pausing"
    until(job.id, "paused")
    done = len([e for e in events(client, job.id) if e.type == "metrics"])
    (checkpoint, *_) = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoint.step_number == done < 160
    assert client.models.retrieve(checkpoint.fine_tuned_model_checkpoint)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:  # nothing moves
        assert len([e for e in events(client, job.id) if e.type == "metrics"]) == done
    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    job = until(job.id, "succeeded")
    # The same numbers as without a pause: it went on with what it knew.
    assert steps(client, job.id) == steps(client, straight.id)
    kept = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [c.step_number for c in kept] == [160, 144, 128]


def steps(client, job_id) -> list[dict[str, Any]]:
    return [event.data for event in events(client, job_id) if event.type == "metrics"]


def wait_for_steps(client, job_id, count) -> None:
    deadline = time.monotonic() + 20
    while len(steps(client, job_id)) < count:
        assert time.monotonic() < deadline


def test_a_cancelled_job_stays_cancelled(emulator, client, create, until, animals):
    emulator.set(job_seconds=8)
    job = create(animals)
    until(job.id, "running")
    job = client.fine_tuning.jobs.cancel(job.id)
    assert (job.status, job.estimated_finish) == ("cancelled", None)
    assert job.finished_at
    for act in (client.fine_tuning.jobs.cancel, client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.BadRequestError, match="its status is cancelled"):
            act(job.id)
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"


def test_a_paused_job_can_be_cancelled(emulator, client, create, until, animals):
    emulator.set(job_seconds=5)
    job = create(animals)
    until(job.id, "running")
    client.fine_tuning.jobs.pause(job.id)
    until(job.id, "paused")
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_a_job_that_does_not_run_cannot_be_paused_nor_resumed(emulator, client, create, animals):
    emulator.set(job_seconds=60)
    job = create(animals)
    with pytest.raises(openai.BadRequestError, match="validating_files"):
        client.fine_tuning.jobs.pause(job.id)
    with pytest.raises(openai.BadRequestError, match="validating_files"):
        client.fine_tuning.jobs.resume(job.id)


DPO_ROW = {
    "input": {"messages": [{"role": "user", "content": "hello"}]},
    "preferred_output": [{"role": "assistant", "content": "Hi"}],
    "non_preferred_output": [{"role": "assistant", "content": "What"}],
}
USER = {"role": "user", "content": "hello"}
ASSISTANT = {"role": "assistant", "content": "hi"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"text": "hello"}, "messages must be a non-empty list"),
        ({"messages": []}, "messages must be a non-empty list"),
        ({"messages": [USER]}, "at least one assistant message"),
        ({"messages": [USER, {"role": "asistant", "content": "hi"}]}, r"messages\[1\].role must be one of"),
        ({"messages": [USER, {"role": "assistant"}]}, "must have content or tool_calls"),
        ({"messages": [USER, {**ASSISTANT, "weight": 2}]}, "weight must be 0 or 1"),
        ({"messages": [USER, {"role": "assistant", "content": 7}]}, "must be a string or a list of parts"),
        (["hello"], "must be an object"),
        (DPO_ROW, "messages must be a non-empty list"),
    ],
)
def test_a_bad_row_fails_the_job_with_its_line(client, create, until, animals, bad, message):
    job = until(create([*animals, bad]).id, "failed")
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "hello" not in job.error.message
    assert "Line 17" in job.error.message
    assert re.search(message, job.error.message)
    assert events(client, job.id)[-1].level == "error"
    assert job.fine_tuned_model is None


def test_too_few_examples_fail_the_job(create, until, animals):
    job = until(create(animals[:9]).id, "failed")
    assert (job.error.code, job.error.param) == ("invalid_n_examples", "training_file")
    assert until(create(animals[:10]).id, "succeeded")


def test_bad_validation_data_fails_the_job(create, until, animals):
    job = until(create(animals, [{"messages": []}]).id, "failed")
    assert (job.error.code, job.error.param) == ("invalid_training_file", "validation_file")


def test_the_format_has_to_fit_the_method(create, until, animals):
    job = until(create(animals, method={"type": "dpo"}).id, "failed")
    assert job.error.code == "invalid_training_file"
    assert until(create([DPO_ROW] * 10, method={"type": "dpo"}).id, "succeeded")


def test_reinforcement_needs_a_validation_file_and_rows_that_end_with_the_user(create, until, animals):
    grader = {
        "type": "string_check",
        "name": "g",
        "input": "{{sample.output_text}}",
        "reference": "x",
        "operation": "eq",
    }
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    job = until(create(animals, method=method).id, "failed")
    assert job.error.code == "invalid_training_file"
    job = until(create([{"messages": [USER]}] * 10, method=method).id, "failed")
    assert (job.error.code, job.error.param) == ("missing_validation_file", "validation_file")


def test_a_grader_that_cannot_run_here_is_approximated_and_the_job_says_so(client, create, until, animals):
    rows = [{"messages": [USER], "answer": "yes"}] * 10
    grader = {"type": "python", "name": "g", "source": "def grade(sample, item): return 1"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    job = until(create(rows, rows[:1], method=method).id, "succeeded")
    assert [e.message for e in events(client, job.id) if e.level == "warn"] == [
        "Rewards of these graders are approximated here: python"
    ]


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        ({"suffix": ""}, "suffix"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"metadata": {"x" * 65: "x"}}, "metadata"),
        ({"metadata": {"x": "x" * 513}}, "metadata"),
        ({"method": {"type": "magic"}}, "method.type"),
        ({"method": supervised(n_epochs=0)}, "n_epochs"),
        ({"method": supervised(n_epochs=51)}, "n_epochs"),
        ({"method": supervised(n_epochs=True)}, "n_epochs"),
        ({"method": supervised(batch_size=257)}, "batch_size"),
        ({"method": supervised(learning_rate_multiplier=0)}, "learning_rate_multiplier"),
        ({"hyperparameters": {"n_epochs": "many"}}, "n_epochs"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.5}}}}, "beta"),
        ({"method": {"type": "reinforcement"}}, "method"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "magic"}}}}, "grader"),
        ({"integrations": [{"type": "wandb", "wandb": {}}]}, "project"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name_and_costs_nothing(emulator, create, animals, arguments, param):
    with pytest.raises(openai.BadRequestError) as refused:
        create(animals, **arguments)
    assert param in refused.value.param
    assert refused.value.type == "invalid_request_error"
    assert emulator.jobs() == []


def test_parameters_of_compatible_servers_pass_through(create, until, animals):
    job = create(animals, method=supervised(n_epochs=1, lora_rank=16), extra_body={"tenant": "a"})
    assert until(job.id, "succeeded").method.supervised.hyperparameters.lora_rank == 16


def test_the_deprecated_hyperparameters_still_count(create, until, animals):
    job = until(create(animals, hyperparameters={"n_epochs": 2, "batch_size": 8}).id, "succeeded")
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, 8)


def test_errors_have_the_words_of_the_api(emulator, client, create, upload, animals):
    with pytest.raises(openai.NotFoundError) as e:
        client.fine_tuning.jobs.retrieve("ftjob-unknown")
    assert (e.value.code, e.value.param) == ("fine_tune_not_found", "fine_tune_id")
    assert set(e.value.body) == {"message", "type", "param", "code"}
    with pytest.raises(openai.BadRequestError) as e:
        client.fine_tuning.jobs.create(model="no-such-model", training_file=upload(animals).id)
    assert e.value.code == "model_not_available"
    with pytest.raises(openai.BadRequestError) as e:
        client.fine_tuning.jobs.create(model=BASE, training_file="file-unknown")
    assert e.value.param == "training_file"
    with pytest.raises(openai.BadRequestError) as e:
        client.fine_tuning.jobs.create(model=BASE, training_file=upload(animals).id, validation_file="file-unknown")
    assert e.value.param == "validation_file"
    with pytest.raises(openai.AuthenticationError) as e:
        client.with_options(api_key="wrong").fine_tuning.jobs.list()
    assert e.value.code == "invalid_api_key"
    emulator.set(refuse_training=True)
    with pytest.raises(openai.PermissionDeniedError) as e:
        create(animals)
    assert (e.value.code, e.value.type, e.value.param) == ("training_not_available", "invalid_request_error", None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/fine_tuning/jobs", b"{", 400),
        ("POST", "/fine_tuning/jobs", b"[1]", 400),
        ("POST", "/fine_tuning/jobs", b"\xff\x00", 400),
        ("POST", "/fine_tuning/jobs", b"[" * 100_000, 400),
        (
            "POST",
            "/chat/completions",
            b'{"model": "gpt-4.1", "messages": [{"role": "user", "content": "\\ud800"}]}',
            400,
        ),
        ("POST", "/chat/completions", b'{"model": "gpt-4.1", "messages": ["hello"]}', 400),
        ("POST", "/chat/completions", b'{"model": "gpt-4.1", "messages": []}', 400),
        ("POST", "/chat/completions", b'{"model": "gpt-4.1", "messages": [{}], "stream": true}', 400),
        ("POST", "/files", b"not a form", 400),
        ("GET", "/nothing/here", None, 404),
        ("DELETE", "/fine_tuning/jobs", None, 405),
        ("GET", "/fine_tuning/jobs?limit=0", None, 400),
        ("GET", "/fine_tuning/jobs?limit=many", None, 400),
        ("GET", "/fine_tuning/jobs?after=ftjob-unknown", None, 400),
    ],
)
def test_whatever_arrives_is_answered_with_an_error_object(client, method, path, body, status):
    with pytest.raises(openai.APIStatusError) as e:
        client.request(
            object,
            openai._models.FinalRequestOptions.construct(
                method=method.lower(), url=path, content=body, headers={"content-type": "application/json"}
            ),
        )
    assert e.value.status_code == status
    assert set(e.value.body) == {"message", "type", "param", "code"}


def test_jobs_are_listed_newest_first_in_pages_also_within_one_second(client, create, upload, animals):
    file = upload(animals).id
    made = [client.fine_tuning.jobs.create(model=BASE, training_file=file).id for _ in range(7)]
    page = client.fine_tuning.jobs.list(limit=3)
    assert [job.id for job in page.data] == made[:3:-1]
    assert page.has_more
    assert [job.id for job in client.fine_tuning.jobs.list(limit=3)] == made[::-1]
    assert not client.fine_tuning.jobs.list(limit=3, after=made[3]).has_more


def test_jobs_are_found_by_metadata(client, upload, animals):
    file = upload(animals).id
    for run, part in (("1", "a"), ("1", "b"), ("2", "a")):
        client.fine_tuning.jobs.create(model=BASE, training_file=file, metadata={"run": run, "part": part})
    bare = client.fine_tuning.jobs.create(model=BASE, training_file=file)
    found = client.fine_tuning.jobs.list(metadata={"run": "1"})
    assert [job.metadata["part"] for job in found] == ["b", "a"]
    assert len(client.fine_tuning.jobs.list(metadata={"run": "1", "part": "a"}).data) == 1
    assert client.fine_tuning.jobs.list(metadata={"run": "3"}).data == []
    assert [job.id for job in client.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == [bare.id]


def test_events_are_paged_newest_first_and_each_comes_once(client, create, until, animals):
    job = until(create(animals, method=supervised(n_epochs=1, batch_size=4)).id, "succeeded")
    whole = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    paged = list(client.fine_tuning.jobs.list_events(job.id, limit=3))
    assert [e.id for e in paged] == [e.id for e in whole]
    assert len({e.id for e in paged}) == len(paged) == 10
    assert whole[0].message == "The job has successfully completed"


def test_a_fine_tuned_model_is_listed_and_can_be_deleted(client, create, until, ask, animals):
    name = until(create(animals).id, "succeeded").fine_tuned_model
    assert name in {model.id for model in client.models.list()}
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as e:
        client.models.retrieve(name)
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        ask(name, "hello")
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete(BASE)


def test_an_alias_stands_for_its_snapshot(client, upload, animals):
    job = client.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=upload(animals).id)
    assert job.model == BASE


def test_models_tell_when_they_shut_down_and_so_do_their_fine_tunes(emulator, client, upload, until, animals):
    emulator.add_model("old-model-1", "2030-01-31")
    assert client.models.retrieve("old-model-1").shutdown_date == "2030-01-31"
    assert client.models.retrieve(BASE).shutdown_date is None
    job = client.fine_tuning.jobs.create(model="old-model-1", training_file=upload(animals).id)
    tuned = until(job.id, "succeeded").fine_tuned_model
    assert client.models.retrieve(tuned).shutdown_date == "2030-01-31"


def test_many_jobs_run_side_by_side(emulator, client, upload, animals):
    emulator.set(job_seconds=2)
    file = upload(animals).id
    slowest = 0.0

    def create(number: int) -> None:
        nonlocal slowest
        started = time.monotonic()
        client.fine_tuning.jobs.create(model=BASE, training_file=file, seed=number, method=supervised(n_epochs=2))
        slowest = max(slowest, time.monotonic() - started)

    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(100)))
    while {job["status"] for job in emulator.jobs()} != {"succeeded"}:
        assert time.monotonic() - started < 30
        time.sleep(0.1)
    assert slowest < 5
