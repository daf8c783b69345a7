"""The training of one job, step by step: the same data, seed and hyperparameters give the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from airflow_provider_finetune.emulator.learner import Learner, features
from airflow_provider_finetune.emulator.objectives import Preference, Reward, Supervised

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from airflow_provider_finetune.emulator.examples import Example
    from airflow_provider_finetune.emulator.graders import Grader
    from airflow_provider_finetune.emulator.learner import Model
    from airflow_provider_finetune.emulator.objectives import Objective

MOST_METRICS_EVENTS = 500


@dataclass(frozen=True)
class Step:
    """One step that was done: its number, what was measured there, and whether it ended an epoch."""

    number: int
    train_loss: float
    train_accuracy: float
    valid: tuple[float, float] | None = None
    full_valid: tuple[float, float] | None = None
    is_reported: bool = False
    ends_epoch: bool = False

    def metrics(self) -> dict[str, float]:
        """Return the names of the API for what was measured."""
        found: dict[str, float] = {
            "step": self.number,
            "train_loss": self.train_loss,
            "train_mean_token_accuracy": self.train_accuracy,
        }
        for prefix, pair in (("valid", self.valid), ("full_valid", self.full_valid)):
            if pair:
                found[f"{prefix}_loss"], found[f"{prefix}_mean_token_accuracy"] = pair
        return found


class Training:
    """A learner, its data and how far it is.

    :param hyperparameters: all resolved, no "auto".
    :param grader: for the reinforcement method, which wants no particular reply but a high reward.
    """

    def __init__(
        self,
        training: list[Example],
        validation: list[Example],
        *,
        method: str,
        hyperparameters: dict[str, Any],
        seed: int,
        grader: Grader | None = None,
    ) -> None:
        self._objective: Objective
        if grader:
            self._objective = Reward(training, validation, grader)
        elif method == "dpo":
            self._objective = Preference(training, validation, hyperparameters["beta"])
        else:
            self._objective = Supervised(training, validation)
        self._learner = Learner(
            features(example.prompt for example in training),
            self._objective.replies,
            hyperparameters["learning_rate_multiplier"],
        )
        prompts = [example.prompt for example in validation]
        self._validation = self._learner.fit_columns(features(prompts)) if prompts else None
        self._examples, self._seed = len(training), seed
        self._batch_size = min(hyperparameters["batch_size"], self._examples)
        self._steps_per_epoch = -(-self._examples // self._batch_size)
        self.total_steps: int = self._steps_per_epoch * hyperparameters["n_epochs"]
        self._report_every = -(-self.total_steps // MOST_METRICS_EVENTS)
        self.done: list[Step] = []

    @property
    def is_finished(self) -> bool:
        return len(self.done) == self.total_steps

    def snapshot(self) -> Model:
        """Return the model after the last step that was done."""
        return self._learner.snapshot()

    def run(self, until: int, *, seconds: float, stopped: Callable[[], bool]) -> list[Step]:
        """Do the steps up to number `until`; fewer at the end of an epoch, or when `seconds` are over. Return them.

        :param stopped: asked between two steps; once it is true no further step is done.
        """
        end, first = monotonic() + seconds, len(self.done)
        while len(self.done) < min(until, self.total_steps) and not stopped():
            self.done.append(self._step(len(self.done) + 1))
            if self.done[-1].ends_epoch or monotonic() > end:
                break
        return self.done[first:]

    def _step(self, number: int) -> Step:
        epoch, place = divmod(number - 1, self._steps_per_epoch)
        if place == 0:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(self._examples)
            self._learner.shuffle(self._order)
        start = place * self._batch_size
        end = min(start + self._batch_size, self._examples)
        batch = self._learner.batch(start, end)
        loss, accuracy, gradient = self._objective.measure(batch.scores, self._order[start:end])
        self._learner.move(batch, gradient)
        ends_epoch = place == self._steps_per_epoch - 1
        is_reported = ends_epoch or (number - 1) % self._report_every == 0
        return Step(
            number,
            round(max(loss, 0.0), 5),
            round(accuracy, 5),
            self._validate_batch(number) if is_reported else None,
            self._validate(None) if ends_epoch else None,
            is_reported,
            ends_epoch,
        )

    def _validate_batch(self, number: int) -> tuple[float, float] | None:
        if self._validation is None:
            return None
        start = (number - 1) * self._batch_size
        return self._validate(np.arange(start, start + self._batch_size) % self._validation.shape[0])

    def _validate(self, numbers: NDArray[np.int64] | None) -> tuple[float, float] | None:
        if self._validation is None:
            return None
        if numbers is None:
            numbers = np.arange(self._validation.shape[0])
        scores = self._learner.scores(self._validation[numbers])
        loss, accuracy, _ = self._objective.measure(scores, numbers, validation=True)
        return round(loss, 5), round(accuracy, 5)


def result_csv(steps: list[Step]) -> str:
    """Return the result file of a job: one line a step."""
    lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    for step in steps:
        valid_loss, valid_accuracy = step.valid or ("", "")
        lines.append(f"{step.number},{step.train_loss},{step.train_accuracy},{valid_loss},{valid_accuracy}")
    return "\n".join(lines) + "\n"
