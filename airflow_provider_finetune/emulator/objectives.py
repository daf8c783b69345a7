"""What each method of training wants: loss, accuracy and the direction to move, from the scores of a batch."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import numpy as np

from airflow_provider_finetune.emulator.examples import reply_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from airflow_provider_finetune.emulator.examples import Example
    from airflow_provider_finetune.emulator.graders import Grader

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Measured = tuple[float, float, Floats]

MOST_REPLIES = 256
NEVER_SEEN = 1e-4  # the probability of a reply that the training file does not contain


class Objective(Protocol):
    """The aim of a method: knows which replies there are and what is wanted for each row."""

    replies: list[str]

    def measure(self, scores: Floats, numbers: Ints, *, validation: bool = False) -> Measured:
        """Return mean loss, mean accuracy and the gradient by `scores`, for the rows `numbers`."""


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def _most_frequent(replies: list[str]) -> list[str]:
    return [reply for reply, _ in Counter(replies).most_common(MOST_REPLIES)]


def _targets(replies: list[str], known: list[str]) -> Ints:
    place = {reply: i for i, reply in enumerate(known)}
    return np.array([place.get(reply, -1) for reply in replies], np.int64)


class Supervised:
    """Cross entropy of the reply; accuracy is the part of the rows whose likeliest reply is right."""

    def __init__(self, training: list[Example], validation: list[Example]) -> None:
        replies = [example.reply for example in training]
        self.replies = _most_frequent(replies)
        self._training = _targets(replies, self.replies)
        self._validation = _targets([example.reply for example in validation], self.replies)

    def measure(self, scores: Floats, numbers: Ints, *, validation: bool = False) -> Measured:
        targets = (self._validation if validation else self._training)[numbers]
        rows, known = np.arange(len(targets)), targets >= 0
        gradient = _softmax(scores)
        likely = np.where(known, gradient[rows, targets], NEVER_SEEN)
        accuracy = float((scores.argmax(axis=1) == targets).sum()) / len(targets)
        loss = float(-np.log(np.maximum(likely, 1e-12)).sum()) / len(targets)
        gradient[rows[known], targets[known]] -= 1
        gradient[~known] = 0
        gradient /= len(targets)
        return loss, accuracy, gradient


class Preference:
    """The DPO loss against an untrained reference; accuracy is the part of the pairs in the wanted order."""

    def __init__(self, training: list[Example], validation: list[Example], beta: float) -> None:
        self.replies = _most_frequent([reply for e in training for reply in (e.reply, e.rejected)])
        self._beta = beta
        self._pairs = {
            valid: tuple(
                _targets([getattr(example, which) for example in part], self.replies) for which in ("reply", "rejected")
            )
            for valid, part in ((False, training), (True, validation))
        }

    def measure(self, scores: Floats, numbers: Ints, *, validation: bool = False) -> Measured:
        better, worse = (targets[numbers] for targets in self._pairs[validation])
        rows, known = np.arange(len(better)), (better >= 0) & (worse >= 0)
        # The reference model scores everything alike, so the margin of the policy is the whole margin.
        margin = np.where(known, scores[rows, better] - scores[rows, worse], 0)
        gradient = np.zeros_like(scores)
        push = self._beta / (1 + np.exp(self._beta * margin)) / len(better)
        gradient[rows[known], better[known]] -= push[known]
        gradient[rows[known], worse[known]] += push[known]
        return float(np.logaddexp(0, -self._beta * margin).mean()), float(np.mean(margin > 0)), gradient


class Reward:
    """One minus the expected reward of the grader; accuracy is the mean reward of the likeliest answers."""

    def __init__(self, training: list[Example], validation: list[Example], grader: Grader) -> None:
        self.references = _most_frequent([grader.reference_of(example.item) for example in training])
        self.replies = [reply_of({"content": reference}) for reference in self.references]
        self._grader = grader
        self._items = {False: [example.item for example in training], True: [example.item for example in validation]}
        self._rewards: dict[tuple[bool, int], Floats] = {}

    def measure(self, scores: Floats, numbers: Ints, *, validation: bool = False) -> Measured:
        chances = _softmax(scores)
        rewards = np.stack([self._reward(validation, int(number)) for number in numbers])
        expected = (chances * rewards).sum(axis=1, keepdims=True)
        likeliest = rewards[np.arange(len(numbers)), scores.argmax(axis=1)]
        gradient = -chances * (rewards - expected) / len(numbers)
        return float(1 - expected.mean()), float(likeliest.mean()), gradient

    def _reward(self, validation: bool, number: int) -> Floats:
        key = (validation, number)
        if key not in self._rewards:
            item = self._items[validation][number]
            found = [self._grader.reward(item, answer) for answer in self.references]
            self._rewards[key] = np.array(found, np.float32)
        return self._rewards[key]
