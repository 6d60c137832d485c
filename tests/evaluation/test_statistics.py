from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from monai_instance_loss.evaluation.statistics import (
    agreement,
    mean_estimate,
    paired_test,
    ratio_estimate,
    wilson_interval,
)

NAN = math.nan


def test_mean_leaves_nan_out():
    estimate = mean_estimate([1.0, NAN, 3.0, 5.0])
    assert (estimate.value, estimate.n) == (3, 3)
    assert 1 <= estimate.low < 3 < estimate.high <= 5


def test_bootstrap_of_two_values_by_hand():
    # the mean of two draws from {0, 1} is 0, 1/2, 1 with 1/4, 1/2, 1/4, so that the tails of 2.5 % are at 0 and 1
    assert mean_estimate([0.0, 1.0])[:3] == (0.5, 0, 1)


def test_bootstrap_covers_as_the_normal_approximation():
    values = np.random.default_rng(0).normal(5, 2, 400)
    estimate = mean_estimate(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert estimate[:3] == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.02)


def test_the_seed_decides():
    values = np.random.default_rng(0).random(20)
    assert mean_estimate(values, seed=3) == mean_estimate(values, seed=3)
    assert mean_estimate(values, seed=3) != mean_estimate(values, seed=4)


@pytest.mark.parametrize(
    ("values", "expected"), [([], (NAN, NAN, NAN, 0)), ([NAN], (NAN, NAN, NAN, 0)), ([2.0], (2, NAN, NAN, 1))]
)
def test_too_few_for_a_mean(values, expected):
    assert tuple(mean_estimate(values)) == pytest.approx(expected, nan_ok=True)


def test_ratio_draws_cases():
    # 2 of 2 in one case and 0 of 8 in the other: together 2 of 10, and a draw of one case twice gives 0 or 1
    estimate = ratio_estimate([2, 0, 0], [2, 8, 0])
    assert tuple(estimate) == pytest.approx((0.2, 0, 1, 2))
    # whatever cases are drawn, half of their lesions are found
    assert ratio_estimate([1, 2, 5], [2, 4, 10])[:3] == (0.5, 0.5, 0.5)
    assert tuple(ratio_estimate([0], [0])) == pytest.approx((NAN, NAN, NAN, 0), nan_ok=True)


def test_wilson_by_its_formula():
    # 8 of 10: centre (p + z2 / 2n) / (1 + z2 / n), half width z sqrt(p q / n + z2 / 4n2) / (1 + z2 / n)
    z, p, n = stats.norm.ppf(0.975), 0.8, 10
    centre, scale = p + z**2 / (2 * n), 1 + z**2 / n
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(8, 10) == pytest.approx(((centre - half) / scale, (centre + half) / scale))
    assert wilson_interval(0, 5)[0] == 0
    assert wilson_interval(5, 5)[1] == pytest.approx(1)
    assert wilson_interval(0, 0) == pytest.approx((NAN, NAN), nan_ok=True)


def test_paired_test_by_hand():
    # differences 1, 2, 3, -4, and a pair that lacks a score: ranks 1 + 2 + 3 against 4; of 16 signs, those with a
    # smaller sum of 4 or less are {}, 1, 2, 3, 4, 1+2, 1+3 and their mirror images: 14 / 16
    test = paired_test([0, 0, 0, 4, NAN], [1, 2, 3, 0, 1])
    assert test.difference.value == pytest.approx(0.5)
    assert (test.difference.n, test.statistic, test.p_value) == (4, 4, pytest.approx(14 / 16))


def test_paired_test_without_differences():
    same = paired_test([1, 2, NAN], [1, 2, 3])
    assert (same.difference.value, same.difference.n, same.p_value) == (0, 2, 1)
    assert math.isnan(paired_test([], []).p_value)


def test_agreement():
    # differences 1, 2, 3: standard deviation 1
    assert tuple(agreement([1, 1, 1], [2, 3, 4])) == pytest.approx((2, 2 - 1.96, 2 + 1.96, 3))
    assert tuple(agreement([1], [3])) == pytest.approx((2, NAN, NAN, 1), nan_ok=True)
    assert tuple(agreement([], [])) == pytest.approx((NAN, NAN, NAN, 0), nan_ok=True)
