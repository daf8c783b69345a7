"""How sure a score, and a difference between two models over the same examples, is.

The exact tests and intervals come from scipy, which the extra ``evaluation`` brings along. What is resampled is seeded:
the same grades give the same numbers.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SEED = 20260000
RESAMPLES = 9999
_AT_ONCE = 1_000_000
#: From this many examples on, the sum of the grades is as good as normal, and resampling would only take minutes.
MANY = 2000


@dataclass(frozen=True)
class Score:
    """The mean grade and its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """A model against the baseline over the same examples.

    :ivar difference: of the mean grades; positive when the model is better.
    :ivar p_value: two-sided: how likely a difference of this size is when neither model is better.
    :ivar test: ``binomial`` (exact sign test) for right and wrong, else ``permutation``.
    """

    examples: int
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    p_value: float
    test: Literal["binomial", "permutation"]


def score(grades: Sequence[float], confidence: float = 0.95) -> Score | None:
    """Return the mean grade; None when there is none.

    Of grades that are all 0 or 1, the interval is Wilson's; else it is bootstrapped (BCa), or normal from 2,000 on.

    :param grades: NaN stands for an example without a grade, which is left out.
    """
    known = [grade for grade in grades if not math.isnan(grade)]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    if _are_right_or_wrong(known):
        return Score(mean, *_wilson(round(math.fsum(known)), len(known), confidence))
    return Score(mean, *_interval(known, mean, confidence))


def compare(model: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Paired | None:
    """Return how the model does against the baseline; None when no example has two grades.

    For right and wrong, the p-value is of the exact binomial test over the examples on which the two differ (McNemar's
    exact test), and the interval is Newcombe's for paired proportions (Statistics in Medicine 17, 1998, method 10). For
    other grades, the p-value is of the paired permutation test, which is exact up to 13 examples that differ,
    drawn above, and normal from 2,000 on; the interval is bootstrapped over the pairs (BCa), or normal from 2,000 on.

    :param model: a grade an example; NaN where there is none.
    :param baseline: the same examples in the same order.
    """
    pairs = [(ours, theirs) for ours, theirs in zip(model, baseline, strict=True) if not math.isnan(ours + theirs)]
    if not pairs:
        return None
    differences = [ours - theirs for ours, theirs in pairs]
    wins, losses = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    ties, mean = len(pairs) - wins - losses, math.fsum(differences) / len(pairs)
    if all(map(_are_right_or_wrong, pairs)):
        both = sum(ours == theirs == 1 for ours, theirs in pairs)
        low, high = newcombe(both, wins, losses, ties - both, confidence)
        return Paired(len(pairs), wins, losses, ties, mean, low, high, sign_test(wins, losses), "binomial")
    low, high = _interval(differences, mean, confidence)
    return Paired(len(pairs), wins, losses, ties, mean, low, high, permutation_test(differences), "permutation")


def most_different(ours: Sequence[float], theirs: Sequence[float], most: int) -> list[int]:
    """Return the places where two rows of grades differ most, the largest differences first."""
    apart = (
        (abs(left - right), -place)
        for place, (left, right) in enumerate(zip(ours, theirs, strict=True))
        if not math.isnan(left + right) and left != right
    )
    return [-place for _, place in heapq.nlargest(most, apart)]


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of so many wins and losses when both are equally likely."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def permutation_test(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the mean difference when the sign of each could as well be the other one."""
    import numpy as np
    from scipy import stats

    told = np.array([difference for difference in differences if difference != 0])  # others move no sum
    if len(told) < 2:
        return 1.0
    if len(told) >= MANY:
        return float(2 * stats.norm.sf(abs(told.sum()) / math.sqrt((told**2).sum())))
    # scipy tests every assignment when there are no more than n_resamples.
    tested = stats.permutation_test(
        (told,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(told)),
        rng=np.random.default_rng(SEED),
    )
    return min(1.0, float(tested.pvalue))


def newcombe(both: int, wins: int, losses: int, neither: int, confidence: float) -> tuple[float, float]:
    """Return the interval of the difference of two paired proportions.

    :param both: examples that both got right.
    :param wins: that only the model got right.
    :param losses: that only the baseline got right.
    :param neither: that both got wrong.
    """
    n = both + wins + losses + neither
    ours, theirs = (both + wins) / n, (both + losses) / n
    low1, high1 = _wilson(both + wins, n, confidence)
    low2, high2 = _wilson(both + losses, n, confidence)
    product: float = both * neither - wins * losses
    if product > 0:
        product = max(product - n / 2, 0)  # a correction for continuity
    scale = (both + wins) * (losses + neither) * (both + losses) * (wins + neither)
    phi = product / math.sqrt(scale) if scale else 0.0

    def away(left: float, right: float) -> float:
        return math.sqrt(max(0.0, left * left - 2 * phi * left * right + right * right))

    difference = ours - theirs
    low = difference - away(ours - low1, high2 - theirs)
    return max(-1.0, low), min(1.0, difference + away(high1 - ours, theirs - low2))


def _wilson(right: int, n: int, confidence: float) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def _interval(values: Sequence[float], mean: float, confidence: float) -> tuple[float, float]:
    import numpy as np
    from scipy import stats

    if min(values) == max(values):
        return mean, mean  # nothing to resample
    if len(values) >= MANY:
        half = float(stats.norm.isf((1 - confidence) / 2) * np.std(values, ddof=1) / math.sqrt(len(values)))
        return mean - half, mean + half
    interval: Any = stats.bootstrap(
        (np.array(values),),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=max(1, _AT_ONCE // len(values)),
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _are_right_or_wrong(grades: Sequence[float]) -> bool:
    return all(grade in (0.0, 1.0) for grade in grades)
