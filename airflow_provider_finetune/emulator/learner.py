"""A text classifier that learns replies: softmax regression over scikit-learn's hashed words and word pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

FEATURES = 2**14
BASE_LEARNING_RATE = 0.4
INITIAL_SQUARE = 0.003  # keeps the first steps of a large batch from overshooting


@cache
def _vectorizer() -> Any:
    # Single characters count: a question may differ from another in one digit.
    return HashingVectorizer(
        n_features=FEATURES,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\b\w+\b",  # noqa: S106
        alternate_sign=False,
        dtype=np.float32,
    )


def features(texts: Iterable[str]) -> Any:
    """Return one sparse row a text; the last column is always 1 and learns what is frequent."""
    hashed = _vectorizer().transform(texts)
    return sparse.hstack([hashed, np.ones((hashed.shape[0], 1), np.float32)], format="csr")


@dataclass(frozen=True)
class Model:
    """What was learned up to one step; answers a prompt with one of the replies it was shown."""

    replies: Sequence[str]
    columns: Ints
    weights: Floats

    def answer(self, prompt: str) -> str:
        """Return the likeliest reply."""
        scores = features([prompt])[:, self.columns] @ self.weights
        return self.replies[int(np.argmax(scores))]


@dataclass(frozen=True)
class Batch:
    """Some training rows: the columns that they touch, their values there, and the scores of the replies."""

    columns: Ints
    values: Floats
    scores: Floats


class Learner:
    """Weights from features to replies, moved one batch at a time (Adagrad).

    Only columns that occur in the training data have weights: what was never seen cannot be learned, and a small job
    stays small.
    """

    def __init__(self, rows: Any, replies: Sequence[str], learning_rate_multiplier: float) -> None:
        self.replies = replies
        self.columns: Ints = np.unique(rows.indices)
        self.rows = self.fit_columns(rows)
        self._rate = BASE_LEARNING_RATE * learning_rate_multiplier
        self._weights: Floats = np.zeros((len(self.columns), len(replies)), np.float32)
        self._squares: Floats = np.zeros_like(self._weights)

    def fit_columns(self, rows: Any) -> Any:
        """Return `features` reduced to the columns that have weights."""
        return rows[:, self.columns]

    def scores(self, rows: Any) -> Floats:
        """Return one score a row and reply; their softmax is the probability."""
        scores: Floats = rows @ self._weights
        return scores

    def shuffle(self, order: Ints) -> None:
        """Put the training rows of an epoch in order; batches are taken from them one after the other."""
        self._epoch = self.rows[order]

    def batch(self, start: int, end: int) -> Batch:
        """Return the rows `start` to `end` of the epoch."""
        # By hand and dense, because building a sparse matrix costs more than the whole step of a small job.
        bounds = self._epoch.indptr[start : end + 1]
        place = self._epoch.indices[bounds[0] : bounds[-1]]
        if end - start == 1:
            values = self._epoch.data[None, bounds[0] : bounds[1]]
            return Batch(place, values, values @ self._weights[place])
        touched, column = np.unique(place, return_inverse=True)
        values = np.zeros((len(bounds) - 1, len(touched)), np.float32)
        row = np.repeat(np.arange(len(values)), np.diff(bounds))
        values[row, column] = self._epoch.data[bounds[0] : bounds[-1]]
        return Batch(touched, values, values @ self._weights[touched])

    def move(self, batch: Batch, gradient: Floats) -> None:
        """Take one step down the gradient of the mean loss by the scores."""
        slope = batch.values.T @ gradient
        squares = self._squares[batch.columns] + slope * slope
        self._squares[batch.columns] = squares
        self._weights[batch.columns] -= self._rate * slope / np.sqrt(squares + INITIAL_SQUARE)

    def snapshot(self) -> Model:
        """Return the model as it is now; later steps do not change it."""
        return Model(self.replies, self.columns, self._weights.copy())
