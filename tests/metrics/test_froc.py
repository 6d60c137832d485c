from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from monai.metrics import compute_froc_curve_data, compute_froc_score
from scipy import ndimage

from monai_instance_loss.metrics.froc import InstanceFROC, froc_curve

NAN = math.nan
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)


def row(*voxels: float) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def froc(y_pred: torch.Tensor, y: torch.Tensor, **options) -> InstanceFROC:
    metric = InstanceFROC(**options)
    metric(y_pred, y)
    return metric


def points(metric: InstanceFROC, **which: int) -> list[tuple[float, float]]:
    return list(zip(*(axis.tolist() for axis in metric.curve(**which)), strict=True))


def approx(*values: float) -> object:
    return pytest.approx(list(values), rel=1e-6, nan_ok=True)


# lesions at 0 (found at 0.9), 4 (found at 0.5) and 8 (missed); false positives of 0.7 and 0.3
Y = row(1, 0, 0, 0, 1, 0, 0, 0, 1)
P = row(0.9, 0, 0.7, 0, 0.5, 0, 0.3, 0, 0)


def test_hand_derived_curve_and_score():
    metric = froc(P, Y)
    # cuts at 0.3, 0.5, 0.7, 0.9
    assert points(metric) == [(2, 2 / 3), (1, 2 / 3), (1, 1 / 3), (0, 1 / 3), (0, 0)]
    # flat at 1/3 up to 1 false positive, there 2/3, and level from then on
    assert metric.sensitivities().tolist() == [approx(1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3)]
    assert metric.aggregate().tolist() == approx((3 * 1 / 3 + 4 * 2 / 3) / 7)


def test_the_curve_is_linear_between_its_points():
    # a false positive before the lesion: from (0, 0) over (1, 0) to (1, 1); of 2 cases (0.5, 0) and (0.5, 1)
    y, p = row(1, 0, 0), row(0.4, 0, 0.8)
    assert froc(p, y, fp_per_case=(0.5, 0.99, 1)).sensitivities().tolist() == [approx(0, 0, 1)]
    # equal scores cut together: from (0, 0) straight to (1, 1)
    assert froc(row(0.8, 0, 0.8), y, fp_per_case=(0.25, 1)).sensitivities().tolist() == [approx(0.25, 1)]


def test_false_positives_are_counted_per_case():
    y, p = torch.cat([row(1, 0, 0)] * 4), torch.cat([row(0.5, 0, 0.9), *[row(0.5, 0, 0)] * 3])
    metric = froc(p, y)
    assert points(metric) == [(0.25, 1), (0.25, 0), (0, 0)]
    assert metric.aggregate().tolist() == approx(6 / 7)


def test_a_candidate_is_scored_by_its_largest_probability():
    # one candidate of 0.2, 0.6 and 0.4 finds both lesions, though it is small in either
    metric = froc(row(0.2, 0.6, 0.4), row(1, 0, 1), fp_per_case=(1,))
    assert points(metric) == [(0, 1), (0, 0)]
    assert metric.get_buffer()[:, 3].tolist() == approx(0, 0.6, 0.6)


def test_a_lesion_is_found_once_by_its_best_candidate():
    metric = froc(row(0.3, 0, 0.8, 0, 0.9), row(1, 1, 1, 0, 0))
    # the candidate of 0.3 is no false positive either
    assert points(metric) == [(1, 1), (1, 0), (0, 0)]
    assert froc(row(0.8, 0, 0.3), row(1, 1, 1)).aggregate().item() == 1


def test_a_neighbour_is_no_hit():
    assert points(froc(row(0.9, 0, 0), row(0, 1, 0))) == [(1, 0), (0, 0)]


def test_threshold_and_connectivity_make_the_candidates():
    y, p = row(1, 0, 0, 0, 0), row(0.9, 0.05, 0.6, 0, 0.1)
    assert points(froc(p, y)) == [(2, 1), (1, 1), (0, 1), (0, 0)]
    # one that is as large as the threshold is in
    assert points(froc(p, y, threshold=0.6)) == [(1, 1), (0, 1), (0, 0)]
    assert points(froc(p, y, threshold=0.01)) == [(1, 1), (0, 1), (0, 0)]
    diagonal = torch.eye(2)[None, None] * 0.8
    assert points(froc(diagonal, torch.zeros_like(diagonal)), channel=0)[0][0] == 1
    assert points(froc(diagonal, torch.zeros_like(diagonal), connectivity=1))[0][0] == 2


# probabilities, ground truth -> score, points of the curve
EMPTY_CASES = {
    "neither": ((0, 0), (0, 0), NAN, [(0, NAN)]),
    "no lesion": ((0.5, 0), (0, 0), NAN, [(1, NAN), (0, NAN)]),
    "no candidate": ((0, 0.05), (1, 0), 0, [(0, 0)]),
    "nothing matches": ((0, 0, 0.5), (1, 0, 0), 0, [(1, 0), (0, 0)]),
    "perfect": ((1, 0, 1), (1, 0, 1), 1, [(0, 1), (0, 0)]),
    "all foreground": ((1, 1), (1, 1), 1, [(0, 1), (0, 0)]),
    "one voxel": ((0.2,), (1,), 1, [(0, 1), (0, 0)]),
    "fully ignored": ((1, 1), (2, 2), NAN, [(0, NAN)]),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_empty_cases(case):
    p, y, expected, curve = EMPTY_CASES[case]
    metric = froc(row(*p), row(*y), ignore_index=2)
    assert metric.aggregate().flatten().tolist() == approx(expected)
    np.testing.assert_equal(np.array(points(metric)), np.array(curve, dtype=float))


def test_no_lesion_in_one_case_still_counts_its_false_positives():
    metric = froc(torch.cat([row(0.5, 0), row(0.9, 0)]), torch.cat([row(1, 0), row(0, 0)]))
    assert points(metric) == [(0.5, 1), (0.5, 0), (0, 0)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    dims = draw(st.integers(2, 3))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 2), *[st.integers(1, 5 if dims == 2 else 3)] * dims))
    voxels = hnp.arrays(np.uint8, shape, elements=st.integers(0, 7), fill=st.nothing())
    p, y = draw(voxels), draw(voxels)
    # few levels, so that scores are often equal
    return np.where(p > 3, p / 8, 0).astype(np.float32), (y == 7).astype(np.uint8)


def naive_scores(p: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """Of the true instances and of the false positives of one channel of one case."""
    full = np.ones((3,) * y.ndim)
    (candidates, n_candidates), (lesions, n_lesions) = ndimage.label(p >= 0.1, full), ndimage.label(y, full)
    scores = {j: p[candidates == j].max() for j in range(1, n_candidates + 1)}
    hits = [set(candidates[lesions == i]) - {0} for i in range(1, n_lesions + 1)]
    false = set(scores).difference(*hits)
    return [max((scores[j] for j in own), default=0.0) for own in hits], [scores[j] for j in false]


def naive_froc(true: list[float], false: list[float], n_cases: int) -> float:
    """Sensitivity where the polygon through the points of all cuts crosses each rate, at its highest there."""
    if not true:
        return NAN
    found = [(0.0, 0.0)]
    for cut in sorted({score for score in true + false if score > 0}, reverse=True):
        found.append((sum(s >= cut for s in false) / n_cases, sum(s >= cut for s in true) / len(true)))
    values = []
    for rate in RATES:
        left = [point for point in found if point[0] <= rate][-1]
        right = next((point for point in found if point[0] > rate), left)
        slope = (right[1] - left[1]) / (right[0] - left[0]) if right[0] > left[0] else 0
        values.append(left[1] + slope * (rate - left[0]))
    return sum(values) / len(values)


@settings(max_examples=80)
@given(cases())
def test_agrees_with_a_naive_loop(case):
    p, y = case
    metric = froc(torch.from_numpy(p), torch.from_numpy(y))
    expected = []
    for channel in range(y.shape[1]):
        parts = [naive_scores(p[b, channel], y[b, channel]) for b in range(y.shape[0])]
        true, false = ([score for part in parts for score in part[side]] for side in (0, 1))
        expected.append(naive_froc(true, false, y.shape[0]))
    assert metric.aggregate("none").tolist() == [approx(*expected)]


scores = hnp.arrays(np.float64, st.integers(0, 8), elements=st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))


@settings(max_examples=60)
@given(scores, scores, st.integers(0, 2), st.integers(1, 4))
def test_curve_is_that_of_monai(found, false, missed, n_cases):
    true = np.concatenate([found, np.zeros(missed + 1)])
    curve, theirs = froc_curve(true, false, n_cases), compute_froc_curve_data(false, true, len(true), n_cases)
    np.testing.assert_allclose(curve, theirs)
    assert compute_froc_score(*curve) == pytest.approx(compute_froc_score(*theirs))


def test_the_lowest_cut_is_there_when_everything_is_found():
    # MONAI drops it: it counts on a score of 0 of something missed
    assert [axis.tolist() for axis in froc_curve(np.array([0.9, 0.2]), np.array([0.5]), 1)] == [
        [1, 1, 0, 0],
        [1, 0.5, 0.5, 0],
    ]


@settings(max_examples=25)
@given(cases(), st.permutations(range(3)), st.integers(0, 3))
def test_order_split_flips_and_channels_change_nothing(case, order, cut):
    p, y = map(torch.from_numpy, case)
    order = [b for b in order if b < len(y)]
    expected = froc(p, y).sensitivities()
    same = {"equal_nan": True, "rtol": 0, "atol": 0}
    torch.testing.assert_close(froc(p[order], y[order]).sensitivities(), expected, **same)
    torch.testing.assert_close(froc(p.flip(2, 3), y.flip(2, 3)).sensitivities(), expected, **same)
    torch.testing.assert_close(froc(p.flip(1), y.flip(1)).sensitivities(), expected.flip(0), **same)
    split = froc(p[:cut], y[:cut])
    split(list(p[cut:]), list(y[cut:]))
    torch.testing.assert_close(split.sensitivities(), expected, **same)


def test_scores_that_keep_their_order_keep_the_score():
    raised = torch.where(P > 0, P.sqrt(), 0)
    assert froc(raised, Y).aggregate().item() == froc(P, Y).aggregate().item()


def test_channels_are_apart():
    p, y = torch.cat([P, 1 - torch.ones_like(P), Y.float()], 1), torch.cat([Y, torch.zeros_like(Y), Y], 1)
    first = froc(P, Y).aggregate().item()
    metric = froc(p, y, get_not_nans=True)
    value, not_nans = metric.aggregate()
    assert (value.item(), not_nans.item()) == (pytest.approx((first + 1) / 2), 1)
    assert metric.aggregate("none")[0].tolist() == [approx(first, NAN, 1)]
    assert metric.aggregate("mean_batch")[1].tolist() == [1, 0, 1]
    assert points(metric, channel=2) == [(0, 1), (0, 0)]
    # without the background the first that is left is channel 0
    foreground = froc(p, y, include_background=False)
    assert foreground.aggregate("mean_batch").tolist() == approx(NAN, 1)
    assert points(foreground, channel=1) == [(0, 1), (0, 0)]
    assert froc(P, Y, include_background=False).aggregate().item() == first


def test_lesions_are_binned_by_volume_and_false_positives_count_in_each():
    # lesions of 1, 2 and 3 voxels of 6 mm2, found at 0.9, missed, found at 0.4; a false positive of 0.6
    y = row(1, 0, 1, 1, 0, 1, 1, 1, 0, 0)
    p = row(0.9, 0, 0, 0, 0, 0, 0.4, 0, 0, 0.6)
    metric = froc(p, y, volume_edges_mm3=(12, 18, 50), spacing_mm=(2, 3), fp_per_case=(0.5, 1))
    assert points(metric, volume_bin=0) == [(1, 1), (0, 1), (0, 0)]
    assert points(metric, volume_bin=1) == [(1, 0), (0, 0)]
    assert points(metric, volume_bin=2) == [(1, 1), (1, 0), (0, 0)]
    assert metric.sensitivities()[0, :3].tolist() == [[1, 1], [0, 0], [0, 1]]
    assert metric.aggregate().tolist() == approx(1, 0, 0.5, NAN)
    assert tuple(metric.aggregate("none").shape) == (1, 1, 4)
    assert tuple(metric.sensitivities().shape) == (1, 4, 2)
    # a bin of everything is as no bins at all, but for its dimension
    one = froc(p, y, volume_edges_mm3=(100,), spacing_mm=(2, 3))
    assert one.aggregate().tolist() == approx(froc(p, y).aggregate().item(), NAN)


def test_voxel_size_comes_from_the_affine():
    y = MetaTensor(row(1, 0, 1, 1), affine=torch.diag(torch.tensor([2.0, 3.0, 1.0, 1.0])))
    metric = froc(row(0.9, 0, 0, 0), y, volume_edges_mm3=(12,))
    metric([row(0.9, 0, 0, 0)[0]], [y[0]])
    assert metric.aggregate().tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"Expected `spacing_mm` .*`volume_edges_mm3`.* but got neither"):
        froc(P, Y, volume_edges_mm3=(12,))


def test_ignored_voxels_are_in_no_candidate_and_no_lesion():
    # the lesion and the candidate are both cut in two, and the largest probability is ignored
    y, p = row(1, 2, 1, 0, 0), row(0.5, 0.9, 0.3, 0, 0)
    metric = froc(p, y, ignore_index=2)
    assert points(metric) == [(0, 1), (0, 0.5), (0, 0)]
    assert metric.get_buffer()[1:, 3].tolist() == approx(0.5, 0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_threshold_is_not_rounded_to_half_precision(dtype):
    # the nearest half-precision number below the threshold, which it would be rounded to
    below = torch.tensor(0.7, dtype=dtype)
    threshold = float(below) + 1e-6
    assert points(froc(below.view(1, 1, 1, 1), torch.ones(1, 1, 1, 1), threshold=threshold)) == [(0, 0)]
    assert points(froc(below.view(1, 1, 1, 1), torch.ones(1, 1, 1, 1), threshold=float(below)))[0] == (0, 1)


def test_call_returns_and_buffers_plain_rows():
    metric = InstanceFROC()
    rows = metric(MetaTensor(P), MetaTensor(Y))
    assert type(rows) is torch.Tensor
    # one case, three lesions, two false positives
    assert rows[:, 0].tolist() == [0, 1, 1, 1, 2, 2]
    assert rows[:, 3].tolist() == approx(0, 0.9, 0.5, 0, 0.7, 0.3)
    assert torch.equal(metric.get_buffer(), rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, r"Expected `threshold` to be in \(0, 1\], but got 0"),
        ({"threshold": 1.5}, r"Expected `threshold` to be in \(0, 1\], but got 1.5"),
        ({"threshold": NAN}, r"Expected `threshold` to be in \(0, 1\], but got nan"),
        ({"fp_per_case": ()}, r"Expected `fp_per_case` .* but got \(\)"),
        ({"fp_per_case": (1, 0)}, r"Expected `fp_per_case` .* but got \(1, 0\)"),
        ({"fp_per_case": (NAN,)}, r"Expected `fp_per_case` .* but got \(nan,\)"),
        ({"volume_edges_mm3": (2, 1)}, r"`volume_edges_mm3` .* but got \(2, 1\)"),
        ({"spacing_mm": (1, -1)}, r"`spacing_mm` .* but got \(1, -1\)"),
    ],
)
def test_bad_options_are_refused_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        InstanceFROC(**options)


@pytest.mark.parametrize(
    ("y_pred", "y", "error", "message"),
    [
        (P + 1, Y, ValueError, r"Expected `y_pred` to hold probabilities in \[0, 1\], but got 1\.89"),
        (P - 1, Y, ValueError, r"Expected `y_pred` to hold probabilities in \[0, 1\], but got -0\.1"),
        (P * NAN, Y, ValueError, r"Expected `y_pred` to hold probabilities in \[0, 1\], but got nan"),
        (P, Y * 2, ValueError, "Expected `y` to be binary.* but got 2"),
        (P, Y[..., 1:], ValueError, "Expected `y` to have the shape of `y_pred`"),
        (P[0], Y[0], ValueError, "Expected `y_pred` .* but got shape"),
        (P, None, TypeError, "Expected `y` to be a torch.Tensor, but got NoneType"),
    ],
)
def test_bad_input_is_named_and_buffers_nothing(y_pred, y, error, message):
    metric = InstanceFROC()
    with pytest.raises(error, match=message):
        metric(y_pred, y)
    assert metric.get_buffer() is None


def test_unknown_curves_are_refused():
    with pytest.raises(ValueError, match="Expected `channel` to be one of 1, from 0, but got 1"):
        froc(P, Y).curve(channel=1)
    with pytest.raises(ValueError, match="Expected `volume_bin` to be one of 1, from 0, but got -1"):
        froc(P, Y).curve(volume_bin=-1)


def test_without_a_channel_or_a_call_there_is_no_curve():
    metric = InstanceFROC()
    for result in (metric.sensitivities, metric.curve):
        with pytest.raises(ValueError, match="Expected InstanceFROC to be called before `aggregate`, but got no data"):
            result()
    metric([], [])
    assert tuple(metric.sensitivities().shape) == (0, 7)
    with pytest.raises(ValueError, match="Expected `channel` to be one of 0, from 0, but got 0"):
        metric.curve()
