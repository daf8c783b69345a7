"""The emulator's jobs learn from the data they are given."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from typing import Any

import pytest

from airflow_provider_finetune.datasets import check

ANIMALS = {"cat": "meow", "dog": "woof", "cow": "moo", "sheep": "baa"}


def supervised(**hyperparameters: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def metrics(client, job_id) -> list[dict[str, Any]]:
    events = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.data for event in events if event.type == "metrics"][::-1]


def test_the_loss_falls_and_the_model_answers_what_it_was_taught(client, create, until, ask, animals):
    job = until(create(animals, method=supervised(n_epochs=10, batch_size=2), seed=1).id, "succeeded")
    steps = metrics(client, job.id)
    assert [step["step"] for step in steps] == list(range(1, 81))
    assert steps[0]["train_loss"] == pytest.approx(1.386, abs=0.01)  # ln 4: it knows nothing yet
    assert sum(step["train_loss"] for step in steps[-8:]) / 8 < 0.25
    assert steps[-1]["train_mean_token_accuracy"] == 1
    assert {animal: ask(job.fine_tuned_model, f"The sound of a {animal}, please") for animal in ANIMALS} == ANIMALS


def test_the_base_model_has_learned_nothing(create, until, ask, animals):
    job = until(create(animals).id, "succeeded")
    question = "What does a cat say?"
    assert ask(job.model, question) != "meow"
    assert ask(job.model, question) == ask(job.model, question)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(client, create, until, animals):
    jobs = [
        until(create(animals, animals[:4], seed=seed, method=supervised(n_epochs=2)).id, "succeeded")
        for seed in (5, 5, 6)
    ]
    first, second, other = (metrics(client, job.id) for job in jobs)
    assert first == second
    assert first != other


def test_answers_that_do_not_fit_the_questions_give_a_bad_model(client, create, until, animals):
    answers = [row["messages"][1] for row in animals * 4]
    random.Random(3).shuffle(answers)
    shuffled = [{"messages": [row["messages"][0], answer]} for row, answer in zip(animals * 4, answers, strict=True)]
    held_out = [
        {
            "messages": [
                {"role": "user", "content": f"Say it like the {animal}"},
                {"role": "assistant", "content": sound},
            ]
        }
        for animal, sound in ANIMALS.items()
    ]
    good, bad = (
        until(create(rows, held_out, seed=1, method=supervised(n_epochs=5, batch_size=4)).id, "succeeded")
        for rows in (animals * 4, shuffled)
    )
    good, bad = (metrics(client, job.id)[-1] for job in (good, bad))
    assert good["full_valid_loss"] < 0.3
    assert good["full_valid_mean_token_accuracy"] == 1
    assert bad["full_valid_loss"] > 1
    assert bad["train_loss"] > 4 * good["train_loss"]


def test_a_larger_learning_rate_learns_faster(client, create, until, animals):
    slow, fast = (
        until(
            create(animals, seed=1, method=supervised(n_epochs=2, batch_size=4, learning_rate_multiplier=rate)).id,
            "succeeded",
        )
        for rate in (0.05, 2)
    )
    assert metrics(client, fast.id)[-1]["train_loss"] < metrics(client, slow.id)[-1]["train_loss"]


def test_the_last_three_epochs_stay_as_checkpoints_and_the_last_is_the_model(client, create, until, animals):
    job = create(animals, animals, suffix="farm", method=supervised(n_epochs=5, batch_size=16))
    job = until(job.id, "succeeded")
    newest_first = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert [c.step_number for c in newest_first] == [5, 4, 3]
    final, *earlier = (c.fine_tuned_model_checkpoint for c in newest_first)
    assert final == job.fine_tuned_model
    assert final.startswith("ft:gpt-4.1-mini-2025-04-14:emulator:farm:")
    assert [name.split(":", 5)[5] for name in earlier] == ["ckpt-step-4", "ckpt-step-3"]
    assert len({name.split(":")[4] for name in (final, *earlier)}) == 3
    losses = [c.metrics.full_valid_loss for c in newest_first]
    assert losses == sorted(losses)
    known = {model.id for model in client.models.list()}
    assert known >= {final, *earlier}
    assert not any("ckpt-step-2" in name for name in known)


def test_each_checkpoint_answers_as_well_as_its_metrics_say(client, create, until, ask):
    # Hard enough to need more than one epoch.
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"item {i} of shelf {i % 7}"},
                {"role": "assistant", "content": f"box {i % 12}"},
            ]
        }
        for i in range(40)
    ]
    job = until(create(rows, rows, seed=1, method=supervised(n_epochs=3, batch_size=4)).id, "succeeded")
    asked = {}
    for checkpoint in client.fine_tuning.jobs.checkpoints.list(job.id):
        model, said = checkpoint.fine_tuned_model_checkpoint, checkpoint.metrics.full_valid_mean_token_accuracy
        right = [ask(model, row["messages"][0]["content"]) == row["messages"][1]["content"] for row in rows]
        asked[checkpoint.step_number] = sum(right) / len(right)
        assert asked[checkpoint.step_number] == pytest.approx(said)
    assert asked[10] < asked[20] < asked[30]


def test_the_result_file_holds_every_step_and_arrives_base64_encoded(client, create, until, animals):
    job = until(create(animals, animals[:3], method=supervised(n_epochs=2, batch_size=4)).id, "succeeded")
    (file_id,) = job.result_files
    assert client.files.retrieve(file_id).purpose == "fine-tune-results"
    text = base64.b64decode(client.files.content(file_id).read(), validate=True).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert [float(row["train_loss"]) for row in rows] == [step["train_loss"] for step in metrics(client, job.id)]


def test_dpo_learns_to_prefer(client, create, until, ask):
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"Greet customer {i}"}]},
            "preferred_output": [{"role": "assistant", "content": "Good morning, how can I help?"}],
            "non_preferred_output": [{"role": "assistant", "content": "What do you want?"}],
        }
        for i in range(12)
    ]
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.5, "n_epochs": 3, "batch_size": 2}}}
    job = until(create(rows, rows[:2], method=method, seed=1).id, "succeeded")
    steps = metrics(client, job.id)
    assert steps[0]["train_loss"] == pytest.approx(0.6931, abs=0.001)  # ln 2: no preference yet
    assert steps[-1]["train_loss"] < 0.5
    assert steps[-1]["full_valid_mean_token_accuracy"] == 1
    assert ask(job.fine_tuned_model, "Greet customer 99") == "Good morning, how can I help?"
    assert job.method.dpo.hyperparameters.beta == 0.5


@pytest.mark.parametrize(
    "grader",
    [
        {
            "type": "string_check",
            "name": "exact",
            "input": "{{sample.output_text}}",
            "reference": "{{item.sound}}",
            "operation": "eq",
        },
        {
            "type": "text_similarity",
            "name": "near",
            "input": "{{sample.output_text}}",
            "reference": "{{item.sound}}",
            "evaluation_metric": "rouge_1",
        },
    ],
    ids=lambda grader: grader["type"],
)
def test_reinforcement_learns_what_the_grader_rewards(client, create, until, ask, animals, grader):
    rows = [{"messages": row["messages"][:1], "sound": row["messages"][1]["content"]} for row in animals]
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": {"n_epochs": 20, "batch_size": 4}},
    }
    job = until(create(rows, rows[:4], method=method, seed=1).id, "succeeded")
    steps = metrics(client, job.id)
    assert steps[0]["train_loss"] == pytest.approx(0.75, abs=0.01)  # one of four answers is rewarded
    assert steps[-1]["full_valid_loss"] < 0.2
    assert {animal: ask(job.fine_tuned_model, f"sound of a {animal}?") for animal in ANIMALS} == ANIMALS


def test_a_reward_the_grader_never_gives_is_not_learned(client, create, until, animals):
    rows = [{"messages": row["messages"][:1], "sound": row["messages"][1]["content"]} for row in animals]
    grader = {
        "type": "string_check",
        "name": "never",
        "input": "{{sample.output_text}}!",
        "reference": "{{item.sound}}",
        "operation": "eq",
    }
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    job = until(create(rows, rows[:4], method=method).id, "succeeded")
    assert metrics(client, job.id)[-1]["full_valid_loss"] == 1


def test_a_model_learns_to_call_a_tool(client, create, until, animals):
    call = {"id": "call_1", "type": "function", "function": {"name": "feed", "arguments": '{"animal": "cat"}'}}
    rows = [
        {"messages": [{"role": "user", "content": f"feed the cat {i}"}, {"role": "assistant", "tool_calls": [call]}]}
        for i in range(10)
    ]
    job = until(create(rows + animals).id, "succeeded")
    answer = client.chat.completions.create(
        model=job.fine_tuned_model, messages=[{"role": "user", "content": "please feed the cat 3"}]
    ).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.tool_calls[0].function.name == "feed"


def test_a_job_is_charged_the_tokens_that_the_check_of_its_dataset_foretells(client, create, until, animals, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in animals))
    foretold = check(path, n_epochs=3, tokens="estimate").cost.trained_tokens
    job = until(create(animals, animals[:3], method=supervised(n_epochs=3)).id, "succeeded")
    assert job.trained_tokens == foretold > 0
