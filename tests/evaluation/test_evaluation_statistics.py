"""Tests and intervals against what can be counted by hand, for few examples."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from airflow_provider_finetune.evaluation import statistics
from airflow_provider_finetune.evaluation.statistics import (
    compare,
    newcombe,
    permutation_test,
    score,
    sign_test,
)

RIGHT = st.sampled_from([0.0, 1.0])
GRADES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@given(st.integers(0, 12), st.integers(0, 12))
def test_the_sign_test_counts_every_outcome_that_is_no_likelier(wins: int, losses: int) -> None:
    n = wins + losses
    likely = [binom.pmf(k, n, 0.5) for k in range(n + 1)]
    expected = sum(p for p in likely if p <= likely[wins] * (1 + 1e-7))
    assert sign_test(wins, losses) == pytest.approx(expected)
    assert sign_test(wins, losses) == pytest.approx(sign_test(losses, wins))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([-1, -0.75, -0.5, 0, 0.25, 0.5, 1]), max_size=8))
def test_the_permutation_test_is_exact_for_few_examples(differences: list[float]) -> None:
    observed = abs(sum(differences))
    signs = list(product((1, -1), repeat=len(differences)))
    sums = [abs(sum(sign * d for sign, d in zip(each, differences, strict=True))) for each in signs]
    exact = sum(total >= observed - 1e-9 for total in sums) / len(sums)
    assert permutation_test(differences) == pytest.approx(exact)


@settings(deadline=None)
@given(st.lists(st.tuples(RIGHT, RIGHT), min_size=1, max_size=30))
def test_right_and_wrong_are_counted_and_compared_exactly(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = compare(ours, theirs)
    assert found is not None
    assert (found.wins, found.losses) == (pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0)))
    assert found.wins + found.losses + found.ties == found.examples == len(pairs)
    assert found.difference == pytest.approx((found.wins - found.losses) / len(pairs))
    assert found.test == "binomial"
    assert -1 <= found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high <= 1
    back = compare(theirs, ours)
    assert back is not None
    assert (back.low, back.high, back.p_value) == pytest.approx((-found.high, -found.low, found.p_value))


def test_the_interval_is_newcombes_own_example() -> None:
    # Statistics in Medicine 17 (1998), 2635, table III, method 10: 36, 12, 2, 0 of 50.
    assert newcombe(36, 12, 2, 0, 0.95) == pytest.approx((0.0569, 0.3404), abs=5e-4)
    assert newcombe(53, 1, 0, 0, 0.95) == pytest.approx((-0.0500, 0.0977), abs=5e-2)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(GRADES, GRADES), min_size=2, max_size=12).filter(lambda p: any(0 < a < 1 for a, _ in p)))
def test_grades_are_compared_by_permutation_and_give_the_same_numbers_again(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = compare(ours, theirs)
    assert found is not None
    assert found == compare(ours, theirs)
    assert found.test == "permutation"
    assert 0 < found.p_value <= 1
    assert found.low - 1e-9 <= found.difference <= found.high + 1e-9


def test_an_example_without_a_grade_is_left_out_of_its_pair_only() -> None:
    found = compare([1, math.nan, 0, 1], [0, 1, 0, math.nan])
    assert found is not None
    assert (found.examples, found.wins, found.ties) == (2, 1, 1)
    assert compare([math.nan], [1]) is None
    assert score([math.nan]) is None


def test_the_interval_of_a_score_is_wilsons_for_right_and_wrong() -> None:
    found = score([1.0] * 8 + [0.0] * 2)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    same = score([0.3] * 5)
    assert same is not None
    assert same.low == same.high == pytest.approx(0.3)


def test_many_grades_give_what_resampling_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(1)
    theirs = [draw.random() for _ in range(2500)]
    ours = [grade + draw.gauss(0.01, 0.2) for grade in theirs]
    normal = compare(ours, theirs)
    monkeypatch.setattr(statistics, "MANY", math.inf)
    resampled = compare(ours, theirs)
    assert normal is not None
    assert resampled is not None
    assert (normal.low, normal.high) == pytest.approx((resampled.low, resampled.high), abs=5e-4)
    assert normal.p_value == pytest.approx(resampled.p_value, abs=0.01)
