from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor, list_data_collate
from scipy.spatial.distance import cdist

from monai_instance_loss.metrics.challenge import WMHChallengeMetric, wmh_challenge_scores

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "wmh_challenge_cases.json").read_text())["cases"]
NAMES = ("dsc", "h95", "avd", "recall", "f1")
NAN = math.nan


def volume(*voxels: tuple[int, int, int], shape: tuple[int, int, int] = (7, 7, 3), value: int = 1) -> torch.Tensor:
    mask = torch.zeros(1, 1, *shape)
    for voxel in voxels:
        mask[(0, 0, *voxel)] = value
    return mask


def block(x: slice, y: slice, z: slice, shape: tuple[int, int, int] = (7, 7, 3)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *shape)
    mask[0, 0, x, y, z] = 1
    return mask


def scores(y_pred: torch.Tensor, y: torch.Tensor, spacing: tuple[float, ...] = (1, 1, 1)) -> tuple[float, ...]:
    values = wmh_challenge_scores(y_pred, y, spacing)
    assert tuple(values) == NAMES
    return tuple(values.values())


def approx(*values: float, abs_error: float = 1e-9) -> object:
    return pytest.approx(values, rel=0, abs=abs_error, nan_ok=True)


@pytest.fixture(scope="module")
def golden_masks() -> list[tuple[torch.Tensor, torch.Tensor]]:
    with np.load(DATA / "wmh_challenge_cases.npz") as arrays:
        masks = []
        for case in GOLDEN:
            bits = np.unpackbits(arrays[f"p{case['id']}"], count=math.prod(case["shape"])).reshape(case["shape"])
            masks.append((torch.from_numpy(bits)[None, None], torch.from_numpy(arrays[f"y{case['id']}"])[None, None]))
    return masks


@pytest.mark.parametrize("index", range(len(GOLDEN)))
def test_the_public_scorer_says_the_same(golden_masks, index):
    expected = GOLDEN[index]["expected"]
    numbers = (NAN if expected[name] is None else expected[name] for name in NAMES)
    assert scores(*golden_masks[index], GOLDEN[index]["spacing_mm"]) == approx(*numbers, abs_error=1e-5)


def test_golden_cases_are_all_there():
    assert len(GOLDEN) == 24


def with_spacing(mask: torch.Tensor, spacing: tuple[float, ...]) -> MetaTensor:
    return MetaTensor(mask, affine=torch.diag(torch.tensor([*spacing, 1.0])))


def test_metric_averages_the_golden_cases(golden_masks):
    metric = WMHChallengeMetric()
    for case, (y_pred, y) in zip(GOLDEN, golden_masks, strict=True):
        metric(y_pred, with_spacing(y, case["spacing_mm"]))
    columns = [[case["expected"][name] for case in GOLDEN] for name in NAMES]
    # two cases without a prediction have no distance
    assert columns[1].count(None) == 2
    for column, value in zip(columns, metric.aggregate(), strict=True):
        known = [number for number in column if number is not None]
        assert value.item() == pytest.approx(sum(known) / len(known), rel=1e-6)


def test_hand_derived_values():
    # lesions of 2 and 1 voxels, one prediction of 2 that touches the first, the second voxel 3 mm above it:
    # Dice 2 * 1 / (3 + 2); volumes 3 and 2; recall 1/2 and precision 1
    # distances 0, 1, 6 to the prediction, at 1.9, and 0, 3 to the lesions, at 0.95
    y = volume((0, 0, 0), (1, 0, 0), (6, 0, 0), shape=(7, 7, 2))
    y_pred = volume((0, 0, 0), (0, 0, 1), shape=(7, 7, 2))
    assert scores(y_pred, y, (1, 1, 3)) == approx(0.4, 1 + 0.9 * 5, 100 / 3, 0.5, 2 / 3)


def test_borders_are_found_slice_by_slice():
    # in its slice only the middle of a 3 x 3 block has no background beside it; slices above and below do not count
    full = block(slice(2, 5), slice(2, 5), slice(1, 2))
    ring = full.clone()
    ring[0, 0, 3, 3, 1] = 0
    assert scores(full, ring)[1] == 0
    # across slices the same block has inner voxels in every slice: y-z is not x-y
    upright, hollow = (block(slice(3, 4), slice(2, 5), slice(0, 3)) for _ in range(2))
    hollow[0, 0, 3, 3, 1] = 0
    # borders of 9 and 8 voxels: distances 0 (8 times) and 1, the 95th percentile is at 7.6
    assert scores(upright, hollow)[1] == pytest.approx(0.6)


def test_a_corner_of_background_makes_a_border():
    # the middle of a plus has background at its corners only: borders of 5 and 4 voxels, percentile at 3.8 of 0,0,0,0,1
    plus = volume((3, 3, 1), (2, 3, 1), (4, 3, 1), (3, 2, 1), (3, 4, 1))
    hole = plus.clone()
    hole[0, 0, 3, 3, 1] = 0
    assert scores(plus, hole)[1] == pytest.approx(0.8)


def test_the_rim_of_the_image_is_no_background():
    # three columns from the rim on have their border in the third
    columns = block(slice(0, 3), slice(0, 7), slice(0, 3))
    third = block(slice(2, 3), slice(0, 7), slice(0, 3))
    assert scores(columns, third)[1] == 0


def test_other_pathology_counts_nowhere():
    y = volume((0, 0, 0), (5, 5, 1))
    y_pred = volume((0, 0, 0), (5, 5, 1), (3, 3, 1), (3, 4, 1))
    assert scores(y_pred, y) != approx(1, 0, 0, 1, 1)
    # it hides two false voxels, splits nothing and is no lesion
    other = y + volume((3, 3, 1), (3, 4, 1), (6, 6, 0), value=2)
    assert scores(y_pred, other) == approx(1, 0, 0, 1, 1)


EMPTY_CASES = {
    "no prediction": ((), ((3, 3, 1),), (0, NAN, 100, 0, 0)),
    "no lesion": (((3, 3, 1),), (), (0, NAN, NAN, 1, 0)),
    "neither": ((), (), (NAN, NAN, NAN, 1, 1)),
    "nothing matches": (((0, 0, 0),), ((3, 0, 0),), (0, 3, 0, 0, 0)),
    "one voxel": (((3, 3, 1),), ((3, 3, 1),), (1, 0, 0, 1, 1)),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_empty_cases(case):
    y_pred, y, expected = EMPTY_CASES[case]
    assert scores(volume(*y_pred), volume(*y)) == approx(*expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 2)])
def test_a_mask_that_fills_the_image_has_no_border(shape):
    full = torch.ones(1, 1, *shape)
    assert scores(full, full) == approx(1, NAN, 0, 1, 1)


def test_a_fully_masked_out_case_is_as_an_empty_one():
    assert scores(torch.ones(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 2)) == approx(NAN, NAN, NAN, 1, 1)


def _naive_border(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    border = []
    for x, y, z in np.argwhere(mask):
        around = [(x + dx, y + dy) for dx, dy in product((-1, 0, 1), repeat=2)]
        inside = [(a, b) for a, b in around if 0 <= a < mask.shape[0] and 0 <= b < mask.shape[1]]
        if not all(mask[a, b, z] for a, b in inside):
            border.append((x * spacing[0], y * spacing[1], z * spacing[2]))
    return np.array(border)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)))
    y = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 2), fill=st.nothing()))
    y_pred = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1), fill=st.nothing()))
    return y_pred, y, draw(st.tuples(*[st.sampled_from([0.5, 1.0, 1.7, 3.0])] * 3))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_agrees_with_a_naive_scorer(naive_counts, case):
    y_pred, y, spacing = case
    pred, true = (y_pred == 1) & (y != 2), y == 1
    borders = [_naive_border(mask, spacing) for mask in (pred, true)]
    h95 = NAN
    if all(map(len, borders)):
        distances = cdist(*borders)
        h95 = max(np.percentile(distances.min(axis), 95) for axis in (0, 1))
    detected, missed, matched, false = naive_counts(pred, true, None)
    recall = detected / (detected + missed) if detected + missed else 1.0
    precision = matched / (matched + false) if matched + false else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        dsc = 2 * (pred & true).sum() / np.float64(pred.sum() + true.sum())
        avd = abs(int(true.sum()) - int(pred.sum())) / np.float64(true.sum()) * 100
    expected = (
        dsc,
        h95,
        avd if true.any() else NAN,
        recall,
        2 / (1 / recall + 1 / precision) if recall and precision else 0,
    )
    assert scores(*(torch.from_numpy(mask)[None, None] for mask in (y_pred, y)), spacing) == approx(*expected)


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(2, 4))
def test_flips_and_swapping_x_with_y_change_nothing(case, axis):
    y_pred, y, spacing = torch.from_numpy(case[0])[None, None], torch.from_numpy(case[1])[None, None], case[2]
    expected = approx(*scores(y_pred, y, spacing))
    assert scores(y_pred.flip(axis), y.flip(axis), spacing) == expected
    swapped = (spacing[1], spacing[0], spacing[2])
    assert scores(y_pred.transpose(2, 3), y.transpose(2, 3), swapped) == expected


SPACINGS = [(1.0, 1.0, 3.0), (2.0, 1.0, 1.0), (1.0, 1.0, 1.0)]


def sample_batch() -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.cat([volume((0, 0, 0)), volume((0, 0, 0), (6, 6, 0)), volume((2, 2, 1))])
    return torch.cat([volume((0, 0, 2)), volume((0, 0, 0)), volume()]), y


def sample_list() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    y_pred, y = sample_batch()
    return list(y_pred), [with_spacing(mask, spacing) for mask, spacing in zip(y, SPACINGS, strict=True)]


def test_call_returns_and_buffers_all_scores_of_each_case():
    y_pred, y = sample_batch()
    metric = WMHChallengeMetric("dsc")
    rows = metric(*sample_list())
    assert (tuple(rows.shape), rows.dtype) == ((3, 1, 5), torch.float32)
    for i in range(3):
        expected = scores(y_pred[i : i + 1], y[i : i + 1], SPACINGS[i])
        assert tuple(rows[i, 0].tolist()) == approx(*expected, abs_error=1e-5)
    torch.testing.assert_close(metric.get_buffer(), rows, equal_nan=True)


def test_aggregate_leaves_nan_out_and_counts_the_rest():
    metric = WMHChallengeMetric(("h95", "recall"), get_not_nans=True)
    metric(*sample_list())
    (h95, with_h95), (recall, with_recall) = metric.aggregate()
    # two slices of 3 mm; one of two lesions is sqrt(12^2 + 6^2) mm away, at 0.95; no prediction
    assert h95.tolist() == [pytest.approx((6 + 0.95 * math.sqrt(180)) / 2)]
    # 0 of 1, 1 of 2, 0 of 1
    assert recall.tolist() == [pytest.approx(0.5 / 3)]
    assert (with_h95.item(), with_recall.item()) == (2, 3)


@pytest.mark.parametrize(("reduction", "shape"), [("none", (3, 1)), ("mean", (1,)), ("mean_batch", (1,)), ("sum", ())])
def test_one_name_gives_one_tensor_in_the_shape_of_monai(reduction, shape):
    single, several = WMHChallengeMetric("f1", reduction), WMHChallengeMetric(["recall", "f1"])
    for metric in (single, several):
        metric(*sample_list())
    assert tuple(single.aggregate().shape) == shape
    assert torch.equal(single.aggregate(), several.aggregate(reduction)[1])
    assert several.reduction == "mean"


def test_aggregating_leaves_the_buffer_as_it_was():
    metric = WMHChallengeMetric(("h95", "h95"))
    metric(*sample_list())
    before = metric.get_buffer()
    # a name may be asked for twice
    assert torch.equal(*metric.aggregate())
    assert metric.aggregate("none")[1].isnan().sum() == 1
    torch.testing.assert_close(metric.get_buffer(), before, equal_nan=True, rtol=0, atol=0)


def test_nothing_to_score_stays_nan():
    metric = WMHChallengeMetric(spacing_mm=(1, 1, 1))
    metric(torch.zeros(2, 1, 3, 3, 3), torch.zeros(2, 1, 3, 3, 3))
    assert [value.item() for value in metric.aggregate()] == pytest.approx([NAN, NAN, NAN, 1, 1], nan_ok=True)


def test_batches_and_lists_are_as_one_case_after_the_other():
    y_pred, y = sample_list()
    expected = WMHChallengeMetric()(y_pred, y)
    metric = WMHChallengeMetric()
    for i in (0, 1, 2):
        metric(y_pred[i][None], y[i][None])
    collated = WMHChallengeMetric()(torch.stack(y_pred), list_data_collate(y))
    for rows in (metric.get_buffer(), collated):
        assert type(rows) is torch.Tensor
        torch.testing.assert_close(rows, expected, equal_nan=True)


def test_voxel_size_comes_from_the_argument_then_from_the_affine():
    (y_pred, *_), (y, *_) = (masks.split(1) for masks in sample_batch())
    # columns of an affine are as long as voxels, whichever way they point
    turned = torch.tensor([[0.0, 1, 0, 5], [1, 0, 0, 0], [0, 0, -3, 0], [0, 0, 0, 1]])
    meta, wrong = MetaTensor(y, affine=turned), with_spacing(y, (7, 7, 7))
    assert wmh_challenge_scores(y_pred, meta)["h95"] == 6
    assert wmh_challenge_scores(MetaTensor(y_pred, affine=turned), y)["h95"] == 6
    assert wmh_challenge_scores(MetaTensor(y_pred, affine=turned), wrong)["h95"] == 14
    assert wmh_challenge_scores(y_pred, wrong, (1, 1, 3))["h95"] == 6
    metric = WMHChallengeMetric("h95", spacing_mm=(1, 1, 3))
    metric(y_pred, wrong)
    assert metric.aggregate().item() == 6


MASK = torch.zeros(1, 1, 2, 2, 2)


@pytest.mark.parametrize(
    ("y_pred", "y", "error", "message"),
    [
        (MASK, torch.full_like(MASK, 3), ValueError, "Expected `y` to be binary.* but got 3"),
        (MASK + 2, MASK, ValueError, "Expected `y_pred` to be binary.* but got 2"),
        (MASK * torch.nan, MASK, ValueError, "Expected `y_pred` to be binary.* but got nan"),
        (MASK, None, TypeError, "Expected `y` to be a torch.Tensor, but got NoneType"),
        (MASK, MASK[..., :1], ValueError, r"Expected `y` .* but got \(1, 1, 2, 2, 1\)"),
        (MASK[0], MASK[0], ValueError, r"Expected `y` to be \(.*1, X, Y, Z\), but got shape \(1, 2, 2, 2\)"),
        (MASK.repeat(1, 2, 1, 1, 1),) * 2 + (ValueError, r"`y` .*X, Y, Z\), but got shape \(1, 2, 2, 2, 2"),
    ],
)
def test_bad_masks_are_named_and_buffer_nothing(y_pred, y, error, message):
    with pytest.raises(error, match=message):
        wmh_challenge_scores(y_pred, y, (1, 1, 1))
    metric = WMHChallengeMetric(spacing_mm=(1, 1, 1))
    with pytest.raises(error, match=message):
        metric(y_pred, y)
    assert metric.get_buffer() is None


def test_an_unknown_voxel_size_is_refused():
    with pytest.raises(ValueError, match=r"Expected `spacing_mm` .*`h95`.*MetaTensor, but got neither"):
        wmh_challenge_scores(MASK, MASK)
    with pytest.raises(ValueError, match=r"Expected `spacing_mm` .*`h95`.*MetaTensor, but got neither"):
        WMHChallengeMetric()(MASK, MASK)


@pytest.mark.parametrize(
    ("spacing", "error", "message"),
    [
        ((1, 1), ValueError, r"Expected `spacing_mm` .* 3 spatial axes, but got \(1, 1\)"),
        ((1, 1, 0), ValueError, r"Expected `spacing_mm` .* positive .* got \(1, 1, 0\)"),
        (1.0, TypeError, "Expected `spacing_mm` .* sequence, but got float"),
    ],
)
def test_a_bad_voxel_size_is_refused(spacing, error, message):
    with pytest.raises(error, match=message):
        wmh_challenge_scores(MASK, MASK, spacing)
    with pytest.raises(error, match=message):
        WMHChallengeMetric(spacing_mm=spacing)


def test_one_case_is_one_case():
    with pytest.raises(ValueError, match=r"Expected `y` to be \(1, 1, X, Y, Z\), but got shape \(2, 1, 2, 2, 2\)"):
        wmh_challenge_scores(MASK.repeat(2, 1, 1, 1, 1), MASK.repeat(2, 1, 1, 1, 1), (1, 1, 1))


@pytest.mark.parametrize("name", ["dice", (), ("dsc", "hd")])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match=r"Expected `metric_name` .*'h95'.* but got"):
        WMHChallengeMetric(name)


def test_scores_of_whole_cases_are_not_pooled():
    with pytest.raises(ValueError, match=r"Expected `reduction` .*whole cases, but got 'pooled'"):
        WMHChallengeMetric(reduction="pooled")
    metric = WMHChallengeMetric()
    metric(*sample_list())
    with pytest.raises(ValueError, match=r"Expected `reduction` .*whole cases, but got 'pooled'"):
        metric.aggregate("pooled")
