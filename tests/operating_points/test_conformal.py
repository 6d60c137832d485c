from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_instance_loss.metrics import Matching
from monai_instance_loss.operating_points import (
    conformal_index,
    conformal_operating_point,
    point_grid,
    tally_points,
)


@pytest.mark.parametrize(
    ("alpha", "index"),
    [
        # sums 0, 0.3, 1.2 of three cases: bounds 1/4, 1.3/4 = 0.325, 2.2/4 = 0.55
        (0.25, 0),
        (0.324, 0),
        (0.325, 1),
        (0.5499, 1),
        (0.55, 2),
        (0.99, 2),
    ],
)
def test_by_hand(alpha, index):
    assert conformal_index([[0, 0.2, 0.6], [0, 0, 0.5], [0, 0.1, 0.1]], alpha) == index


def loss_curves(cases: int, seed: int) -> np.ndarray:
    """Missed part of the lesions of synthetic cases at 101 thresholds; some have none, and hard cases miss more."""
    rng = np.random.default_rng(seed)
    thresholds = np.linspace(0, 1, 101)
    curves = np.zeros((cases, 101))
    for curve in curves:
        peaks = rng.beta(rng.uniform(1, 6), 2, size=rng.poisson(4))
        if peaks.size:
            curve[:] = (peaks[:, None] < thresholds).mean(0)
    return curves


@pytest.mark.parametrize(("n", "alpha"), [(12, 0.2), (50, 0.1)])
def test_the_risk_is_kept_to_over_1000_random_splits_and_not_far_below(n, alpha):
    losses = loss_curves(300, seed=0)
    rng = np.random.default_rng(1)
    risks, naive = [], []
    for _ in range(1000):
        order = rng.permutation(len(losses))
        chosen, new = losses[order[:n]], losses[order[n:]]
        risks.append(new[:, conformal_index(chosen, alpha)].mean())
        naive.append(new[:, np.flatnonzero(chosen.mean(0) <= alpha)[-1]].mean())
    error = np.std(risks) / np.sqrt(1000)
    assert np.mean(risks) <= alpha + 3 * error
    # theorem 2 of the paper: no less than alpha - 2 / (n + 1) where losses do not jump much
    assert np.mean(risks) >= alpha - 2 / (n + 1) - 3 * error
    # without the correction the promise is broken, so that this test can fail
    assert np.mean(naive) > alpha + 3 * error


@pytest.mark.parametrize("matching", [Matching(), Matching("ior", 0.4)])
@pytest.mark.parametrize("volume", [0.0, 6.0])
def test_the_loss_rises_with_the_threshold(matching, volume, random_cases):
    thresholds = tuple(step / 40 for step in range(1, 40))
    points = point_grid(thresholds, (volume,))
    tally = tally_points(random_cases(6, seed=2, ignored=True), points, matching, (1, 1, 2), ignore_index=2)
    assert (np.diff(tally.score("missed_rate"), axis=1) >= 0).all()
    assert (np.diff(tally.score("missed_rate"), axis=1) > 0).any()


def test_by_iou_the_loss_may_fall_and_is_refused(random_cases):
    cases, matching = random_cases(6, seed=2), Matching("iou", 0.1, "max_cardinality")
    missed = tally_points(cases, point_grid((0.1, 0.2, 0.4, 0.8)), matching).score("missed_rate")
    assert (np.diff(missed, axis=1) < 0).any()
    for refused in (matching, Matching("iou", 0.1), Matching("touch", assignment="greedy"), Matching("true_center")):
        with pytest.raises(ValueError, match='Expected `matching` to be "touch" or "ior" with "many"'):
            conformal_operating_point(cases, 0.5, matching=refused)


def test_agrees_with_a_loop_over_lesions(random_cases):
    cases = [*random_cases(8, seed=4), (np.full((1, 14, 12, 10), 0.5), np.zeros((1, 14, 12, 10)))]
    thresholds = tuple(step / 20 for step in range(1, 20))
    for alpha in (0.2, 0.35, 0.5):
        expected = None
        for threshold in thresholds:
            losses = []
            for p, y in cases:
                labels, count = ndimage.label(y[0], np.ones((3, 3, 3)))
                peaks = [p[0][labels == one].max() for one in range(1, count + 1)]
                losses.append(np.mean([peak < np.float32(threshold) for peak in peaks]) if peaks else 0)
            if 9 / 10 * np.mean(losses) + 1 / 10 <= alpha:
                expected, bound, found = threshold, 9 / 10 * np.mean(losses) + 1 / 10, losses
        point = conformal_operating_point(cases, alpha, thresholds=thresholds)
        assert point.threshold == expected
        assert point.chosen["bound"] == pytest.approx(bound)
        # the mean of sensitivity leaves the case without lesions out
        assert point.chosen["in_sample"]["sensitivity"] == pytest.approx(1 - np.mean(found[:8]))
        assert (point.chosen["alpha"], point.chosen["cases"], point.chosen["cases_with_lesions"]) == (alpha, 9, 8)


def test_the_order_of_cases_does_not_matter(random_cases):
    cases = random_cases(6, seed=4)
    assert conformal_operating_point(cases, 0.3) == conformal_operating_point(cases[::-1], 0.3)


@pytest.mark.parametrize(
    ("losses", "alpha", "error", "message"),
    [
        (
            [[0.0, 0.5]] * 3,
            0.2499,
            ValueError,
            r"`alpha` to be 1 / \(cases \+ 1\) = 0.25 or more for 3 cases, but got 0.2",
        ),
        ([[0.0, 0.5]], 0.0, ValueError, r"`alpha` to be in \(0, 1\), but got 0.0"),
        ([[0.0, 0.5]], "0.1", TypeError, "`alpha` to be a number, but got '0.1'"),
        (
            [[0.5, 0.5]] * 9,
            0.5,
            ValueError,
            "`alpha` to be kept to at the first setting, but got 0.5, .* there is 0.55",
        ),
        ([[0.5, 0.4]], 0.5, ValueError, "`losses` to rise or stay level along each row, but got one that falls"),
        ([[0.5, 1.1]], 0.5, ValueError, r"`losses` to be in \[0, 1\], but got 1.1"),
        ([[0.5, np.nan]], 0.5, ValueError, r"`losses` to be in \[0, 1\], but got nan"),
        ([0.5, 0.6], 0.5, ValueError, r"`losses` to be \(n, T\), one of each or more, but got shape \(2,\)"),
        (np.zeros((0, 3)), 0.5, ValueError, r"`losses` to be \(n, T\), .* \(0, 3\)"),
    ],
)
def test_bad_losses(losses, alpha, error, message):
    with pytest.raises(error, match=message):
        conformal_index(losses, alpha)


def test_bad_cases(random_cases):
    cases = random_cases(3)
    empty = (cases[0][0], cases[0][1] * 0)
    for some, alpha, message in (
        (cases, 0.2, r"`alpha` to be 1 / \(cases \+ 1\) = 0.25 or more for 3 cases, but got 0.2"),
        (cases[:1], 0.9, "`cases` to be two or more, .* but got 1"),
        ([empty] * 3, 0.9, "two or more of 3 cases to have a lesion, but got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            conformal_operating_point(some, alpha, thresholds=(0.5,))
    with pytest.raises(ValueError, match=r"`thresholds` to rise, but got \(0.5, 0.4\)"):
        conformal_operating_point(cases, 0.5, thresholds=(0.5, 0.4))
