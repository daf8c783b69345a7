"""Slips of the pen in names of hyperparameters, which most endpoints ignore in silence."""

from __future__ import annotations

import pytest

from airflow_provider_finetune.jobs.hyperparameters import HYPERPARAMETERS, slip_of


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("n_epoch", "n_epochs"),
        ("epochs", "n_epochs"),
        ("epoch", "n_epochs"),
        ("num_epochs", "n_epochs"),
        ("numEpochs", "n_epochs"),
        ("nepochs", "n_epochs"),
        ("n-epochs", "n_epochs"),
        ("n_epohcs", "n_epochs"),
        ("N_EPOCHS", "n_epochs"),
        ("batchsize", "batch_size"),
        ("batch_sizes", "batch_size"),
        ("bacth_size", "batch_size"),
        ("batchSize", "batch_size"),
        ("learning_rate_multipler", "learning_rate_multiplier"),
        ("learningrate", "learning_rate"),
        ("lerning_rate", "learning_rate"),
        ("lora_alfa", "lora_alpha"),
        ("bta", "beta"),
        ("reasoning_efort", "reasoning_effort"),
        ("eval_sample", "eval_samples"),
    ],
)
def test_a_name_that_is_one_slip_away_from_a_known_one_is_told_by_it(name: str, meant: str) -> None:
    assert slip_of(name, HYPERPARAMETERS) == meant


@pytest.mark.parametrize("name", [*sorted(HYPERPARAMETERS), "lora_bias", "neftune_noise_alpha", "x", "", "dataset"])
def test_a_known_name_and_one_like_no_other_are_no_slips(name: str) -> None:
    assert slip_of(name, HYPERPARAMETERS) is None


@pytest.mark.parametrize(("kind", "meant"), [("supervized", "supervised"), ("DPO", "dpo"), ("kto", None), ("x", None)])
def test_a_method_type_may_be_a_slip_too(kind: str, meant: str | None) -> None:
    assert slip_of(kind, ("supervised", "dpo", "reinforcement")) == meant
