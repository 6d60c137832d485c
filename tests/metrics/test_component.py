from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor, list_data_collate
from monai.metrics import (
    ConfusionMatrixMetric,
    CumulativeIterationMetric,
    DiceMetric,
    HausdorffDistanceMetric,
    MeanIoU,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)
from scipy import ndimage

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics.component import ComponentMetric, score_components

NAN, INF = math.nan, math.inf
# MONAI says at every call that a mask is empty or that Voronoi cells are computed on the CPU
pytestmark = pytest.mark.filterwarnings("ignore")
WRAPPED = {
    "dice": DiceMetric,
    "iou": MeanIoU,
    "hausdorff": HausdorffDistanceMetric,
    "hausdorff 95": lambda: HausdorffDistanceMetric(percentile=95),
    "hausdorff taxicab": lambda: HausdorffDistanceMetric(distance_metric="taxicab", directed=True),
    "surface distance": lambda: SurfaceDistanceMetric(symmetric=True),
    "surface dice": lambda: SurfaceDiceMetric([1.5]),
    "surface dice, subvoxels": lambda: SurfaceDiceMetric([1.5], use_subvoxels=True),
}


def row(*voxels: int) -> torch.Tensor:
    return torch.tensor([[[voxels]]])


def score(y_pred: torch.Tensor, y: torch.Tensor, metric: CumulativeIterationMetric | None = None, **options) -> list:
    component = ComponentMetric(DiceMetric() if metric is None else metric, **options)
    component(y_pred, y)
    return component.aggregate().flatten().tolist()


def approx(*values: float) -> object:
    return pytest.approx(list(values), rel=1e-6, nan_ok=True)


def onehot(mask: np.ndarray) -> torch.Tensor:
    mask = torch.from_numpy(mask)
    return torch.stack([~mask, mask], 1).float()


def test_hand_derived_dice():
    # cells 0-3 and 4-6; in the first 2 * 2 / (2 + 2), in the second 2 * 1 / (1 + 3)
    assert score(row(1, 1, 0, 0, 1, 1, 1), row(1, 1, 0, 0, 0, 0, 1)) == approx(0.75)
    # cells 0-1 and 2-3: the prediction of the first is in no other cell; nothing in the second: 2/3 and 0
    assert score(row(1, 1, 0, 0), row(1, 0, 0, 1)) == approx(1 / 3)


def test_hand_derived_distances():
    # lesions at 0 and 6: cells 0-3 and 4-6; predictions at 2 and 5
    y, y_pred = row(1, 0, 0, 0, 0, 0, 1), row(0, 0, 1, 0, 0, 1, 0)
    assert score(y_pred, y, HausdorffDistanceMetric()) == approx(1.5)
    # in mm: 2 * 3 and 1 * 3
    assert score(y_pred, y, HausdorffDistanceMetric(), spacing_mm=(1, 3)) == approx(4.5)


def test_cells_are_measured_in_mm():
    # a voxel two rows below one lesion and three columns beside the other
    y, y_pred = torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4)
    y[0, 0, 0, 0] = y[0, 0, 2, 3] = y_pred[0, 0, 2, 0] = 1
    # in voxels it is the first one's, 2 away; with rows of 5 mm the second one's, 3 mm away
    for metric, voxels, mm in ((SurfaceDistanceMetric, 2, 3), (HausdorffDistanceMetric, 2, 3)):
        assert score(y_pred, y, metric(), missed_score=100) == approx((voxels + 100) / 2)
        assert score(y_pred, y, metric(), missed_score=100, spacing_mm=(5, 1)) == approx((mm + 100) / 2)


@st.composite
def mask_pairs(draw: st.DrawFn, channels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    dims = draw(st.integers(2, 3))
    shape = (draw(st.integers(1, 2)), channels, *draw(st.tuples(*[st.integers(1, 7 if dims == 2 else 4)] * dims)))
    # lesions are rare, or there would be one of them only
    voxels = hnp.arrays(np.uint8, shape, elements=st.integers(0, 4), fill=st.nothing())
    return draw(voxels) >= draw(st.integers(2, 4)), draw(voxels) == 4


def distances_of_components(labels: np.ndarray, count: int, spacing: tuple[float, ...] | None) -> list[np.ndarray]:
    """A map for each component in raster order; in tenths of a mm, roots of whole numbers, so that ties are ties."""
    sampling = None if spacing is None else tuple(round(10 * size) for size in spacing)
    order = sorted(range(1, count + 1), key=lambda k: np.flatnonzero(labels == k)[0])
    return [ndimage.distance_transform_edt(labels != k, sampling) for k in order]


def tied(y: np.ndarray) -> np.ndarray:
    """Voxels as near to one component as to another."""
    labels, count = ndimage.label(y, np.ones((3,) * y.ndim))
    if count < 2:
        return np.zeros(y.shape, bool)
    nearest, second = np.partition(distances_of_components(labels, count, None), 1, axis=0)[:2]
    return nearest == second


@settings(max_examples=60)
@given(mask_pairs())
def test_dice_equals_that_of_monai(pair):
    # but for ties, which MONAI leaves to scipy
    ties = np.stack([tied(y) for y in pair[1][:, 0]])
    y_pred, y = (onehot(mask) for mask in (pair[0][:, 0] & ~ties, pair[1][:, 0]))
    ours, theirs = ComponentMetric(DiceMetric()), DiceMetric(per_component=True)
    ours(y_pred, y)
    expected = theirs(y_pred, y)
    torch.testing.assert_close(ours.aggregate("none"), expected, equal_nan=True, rtol=1e-6, atol=1e-6)
    # the foreground alone is the same
    assert score(y_pred[:, 1:], y[:, 1:], reduction="none") == approx(*expected.flatten().tolist())
    for reduction in ("mean", "mean_batch", "sum", "sum_channel"):
        if not expected.isnan().any():
            torch.testing.assert_close(ours.aggregate(reduction), theirs.aggregate(reduction))


def naive_scores(
    metric: CumulativeIterationMetric, y_pred: np.ndarray, y: np.ndarray, spacing: tuple[float, ...] | None
) -> list[float]:
    """Of each component of one channel, on whole masks in which all other cells are blank."""
    labels, count = ndimage.label(y, np.ones((3,) * y.ndim))
    distances = distances_of_components(labels, count, spacing)
    scores = []
    for index in range(count):
        # a tie is the first one's
        cell = np.argmin(distances, 0) == index
        masks = (torch.from_numpy(mask & cell)[None, None].float() for mask in (y_pred, y))
        options = {} if spacing is None or isinstance(metric, (DiceMetric, MeanIoU)) else {"spacing": list(spacing)}
        scores.append(metric(*masks, **options).item())
    return scores


@settings(max_examples=25)
@given(mask_pairs(), st.sampled_from([None, (1.0, 1.0, 1.0), (0.7, 1.9, 3.1)]))
@pytest.mark.parametrize("kind", WRAPPED)
def test_agrees_with_a_naive_loop_on_whole_masks(kind, pair, spacing):
    spacing = spacing and spacing[: pair[0].ndim - 2]
    metric = ComponentMetric(WRAPPED[kind](), spacing_mm=spacing)
    metric(*map(torch.from_numpy, pair))
    expected = []
    for y_pred, y in zip(*(mask[:, 0] for mask in pair), strict=True):
        values = [value for value in naive_scores(WRAPPED[kind](), y_pred, y, spacing) if not math.isnan(value)]
        expected.append(sum(values) / len(values) if values else NAN)
    assert metric.aggregate("none").flatten().tolist() == pytest.approx(expected, rel=1e-5, nan_ok=True)


# prediction, ground truth -> Dice, Hausdorff distance
EMPTY_CASES = {
    "neither": ((0, 0, 0), (0, 0, 0), NAN, NAN),
    "no lesion": ((1, 0, 1), (0, 0, 0), NAN, NAN),
    "no prediction": ((0, 0, 0), (1, 0, 1), 0, INF),
    "one missed": ((1, 0, 0, 0), (1, 0, 0, 1), 0.5, INF),
    "all foreground": ((1, 1, 1), (1, 1, 1), 1, 0),
    "one voxel": ((1,), (1,), 1, 0),
    "one empty voxel": ((0,), (0,), NAN, NAN),
    "fully ignored": ((1, 1), (2, 2), NAN, NAN),
}


@pytest.mark.parametrize("case", EMPTY_CASES)
def test_empty_cases(case):
    y_pred, y, dice, hausdorff = EMPTY_CASES[case]
    assert score(row(*y_pred), row(*y), ignore_index=2) == approx(dice)
    assert score(row(*y_pred), row(*y), HausdorffDistanceMetric(), ignore_index=2) == approx(hausdorff)


def test_a_missed_component_gets_its_score():
    # distances 0 and, in the cell without a prediction, 30
    y_pred, y = row(1, 0, 0, 0), row(1, 0, 0, 1)
    assert score(y_pred, y, HausdorffDistanceMetric(), missed_score=30) == approx(15)
    assert score(y_pred, y, missed_score=0) == score(y_pred, y)


def test_missed_score_needs_no_overlap_to_be_left_out():
    # a prediction in the cell is enough, here two voxels beside the lesion
    assert score(row(0, 0, 1), row(1, 0, 0), HausdorffDistanceMetric(), missed_score=30) == approx(2)


class FirstOnly(DiceMetric):
    """Dice, but nothing to say about a component of one voxel."""

    def _compute_tensor(self, y_pred, y):
        return torch.where(y.sum() == 1, torch.nan, super()._compute_tensor(y_pred, y))


def test_a_component_that_is_nan_is_left_out():
    y_pred, y = row(1, 0, 0, 0, 1), row(1, 1, 0, 0, 1)
    assert score(y_pred, y, FirstOnly()) == approx(2 / 3)
    metric = ComponentMetric(FirstOnly(), get_not_nans=True)
    metric(y[..., 1:], y[..., 1:])
    value, not_nans = metric.aggregate()
    assert (value.tolist(), not_nans.item()) == (approx(NAN), 0)


def test_mean_weighs_samples_and_pooled_components():
    # first sample: 1 and 0, second: 1
    y_pred, y = torch.cat([row(1, 0, 0, 0), row(1, 0, 0, 0)]), torch.cat([row(1, 0, 0, 1), row(1, 0, 0, 0)])
    assert score(y_pred, y) == approx(0.75)
    assert score(y_pred, y, reduction="pooled") == approx(2 / 3)


def test_channels_are_apart_and_the_first_is_background():
    y_pred, y = torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)
    y[0, 0, 0, 0] = y[0, 1, 0, 0] = y[0, 1, 0, 3] = y_pred[0, 1, 0, 0] = 1
    # channel 0 missed, 1 half found, 2 empty
    assert score(y_pred, y, reduction="none") == approx(0.5, NAN)
    assert score(y_pred, y, reduction="none", include_background=True) == approx(0, 0.5, NAN)
    assert score(y_pred, y, include_background=True) == approx(0.25)


def test_connectivity_is_passed_on():
    y = torch.eye(2)[None, None]
    y_pred = torch.tensor([[[[1, 0], [0, 0]]]])
    # one component: 2/3; two: 1 and 0
    assert score(y_pred, y) == approx(2 / 3)
    assert score(y_pred, y, connectivity=1) == approx(0.5)


def test_ignored_voxels_split_lesions_and_hide_predictions():
    y, y_pred = row(1, 2, 1, 0, 0), row(1, 1, 0, 0, 0)
    assert score(y_pred, y, ignore_index=2) == approx(0.5)


# volumes of 1, 2 and 3 voxels, of which the second is missed
Y, Y_PRED = row(1, 0, 0, 1, 1, 0, 0, 1, 1, 1), row(1, 0, 0, 0, 0, 0, 0, 1, 1, 1)


@pytest.mark.parametrize(
    ("edges", "expected"),
    # a voxel has 6 mm2, so that the scores are 1 at 6, 0 at 12 and 1 at 18 mm2; an edge belongs to the bin above it
    [((12,), (1, 0.5)), ((6, 18), (NAN, 0.5, 1)), ((100,), (2 / 3, NAN)), ((7, 8, 13), (1, NAN, 0, 1))],
)
def test_components_are_binned_by_volume(edges, expected):
    metric = ComponentMetric(DiceMetric(), volume_edges_mm3=edges, spacing_mm=(2, 3))
    rows = metric(Y_PRED, Y)
    assert tuple(rows.shape) == (1, 1, len(expected), 2)
    assert metric.aggregate().tolist() == approx(*expected)
    assert metric.aggregate("pooled").tolist() == approx(*expected)
    assert tuple(metric.aggregate("none").shape) == (1, 1, len(expected))
    assert tuple(metric.aggregate("mean_batch").shape) == (1, len(expected))


def test_voxel_size_of_each_sample_comes_from_its_affine():
    y, y_pred = row(1, 0, 0, 0, 0, 0, 1)[0], row(0, 0, 1, 0, 0, 1, 0)[0]
    metas = [MetaTensor(y, affine=torch.diag(torch.tensor([1.0, size, 1, 1]))) for size in (3, 1)]
    metric = ComponentMetric(HausdorffDistanceMetric(), reduction="none")
    rows = metric(torch.stack([y_pred, y_pred]), list_data_collate(metas))
    metric([y_pred, y_pred], metas)
    metric([MetaTensor(y_pred, affine=metas[0].affine)], [y])
    assert type(rows) is torch.Tensor
    # (2 + 1) / 2 voxels of 3 mm, then of 1 mm
    assert metric.aggregate().flatten().tolist() == approx(4.5, 1.5, 4.5, 1.5, 4.5)
    # what is given goes before the affine
    assert score(y_pred[None], metas[0][None], HausdorffDistanceMetric(), spacing_mm=(1, 2)) == approx(3)


class Recorder(DiceMetric):
    """Notes what it is given."""

    def _compute_tensor(self, y_pred, y, spacing=None):
        self.given = (tuple(y.shape), y_pred.dtype, y.dtype, type(y), spacing)
        return super()._compute_tensor(y_pred, y)


def test_wrapped_metric_gets_a_crop_and_the_voxel_size_and_keeps_its_buffer():
    y = torch.zeros(1, 1, 9, 9, 9)
    y[0, 0, 2:4, 5, 6:9] = 1
    metric = Recorder()
    component = ComponentMetric(metric, spacing_mm=(1, 1, 3))
    component(MetaTensor(y), y)
    assert metric.given == ((1, 1, 2, 1, 3), torch.float32, torch.float32, torch.Tensor, [1, 1, 3])
    assert metric.get_buffer() is None
    ComponentMetric(metric)(y, y)
    assert metric.given[-1] is None


@settings(max_examples=20)
@given(mask_pairs(channels=2), st.permutations(range(2)))
def test_order_channels_and_batch_split_change_nothing(pair, order):
    y_pred, y = map(torch.from_numpy, pair)
    options = {"include_background": True, "reduction": "none"}
    order = [i for i in order if i < y.shape[0]]
    expected = torch.tensor(score(y_pred, y, **options)).view(y.shape[:2])
    assert score(y_pred[order], y[order], **options) == approx(*expected[order].flatten().tolist())
    assert score(y_pred.flip(1), y.flip(1), **options) == approx(*expected.flip(1).flatten().tolist())
    metric = ComponentMetric(DiceMetric(), **options)
    for sample in range(y.shape[0]):
        metric(y_pred[sample : sample + 1], y[sample : sample + 1])
    assert metric.aggregate().flatten().tolist() == approx(*expected.flatten().tolist())


def test_class_buffers_sums_of_the_function():
    metric = ComponentMetric(DiceMetric())
    rows = metric(Y_PRED, Y)
    scores = score_components(DiceMetric(), Y_PRED > 0, label_instances(Y))
    assert scores.tolist() == [1, 0, 1]
    assert (rows.tolist(), rows.dtype) == ([[[2, 3]]], torch.float32)
    assert torch.equal(metric.get_buffer(), rows)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: ComponentMetric("dice"), TypeError, "Expected `metric` .*CumulativeIterationMetric, but got str"),
        (lambda: ComponentMetric(DiceMetric), TypeError, "Expected `metric` .*CumulativeIterationMetric, but got ABC"),
        (lambda: ComponentMetric(DiceMetric(), missed_score=NAN), ValueError, "Expected `missed_score` .* but got nan"),
        (lambda: ComponentMetric(DiceMetric(), reduction="max"), ValueError, "Expected `reduction` .* but got 'max'"),
        (lambda: ComponentMetric(DiceMetric(), volume_edges_mm3=(2, 1)), ValueError, "`volume_edges_mm3` .* got"),
        (lambda: ComponentMetric(DiceMetric(), spacing_mm=(0, 1)), ValueError, "`spacing_mm` .* got"),
    ],
)
def test_bad_options_are_refused_at_construction(build: Callable[[], object], error, message):
    with pytest.raises(error, match=message):
        build()


@pytest.mark.parametrize(
    ("metric", "y_pred", "y", "error", "message"),
    [
        (DiceMetric(), Y + 1, Y, ValueError, "Expected `y_pred` to be binary.* but got 2"),
        (DiceMetric(), Y, Y * NAN, ValueError, "Expected `y` to be binary.* but got nan"),
        (DiceMetric(), Y, Y[..., 1:], ValueError, "Expected `y` to have the shape of `y_pred`"),
        (DiceMetric(), Y[0], Y[0], ValueError, "Expected `y_pred` .* but got shape"),
        (DiceMetric(), Y, None, TypeError, "Expected `y` to be a torch.Tensor, but got NoneType"),
        (ConfusionMatrixMetric(), Y, Y, ValueError, r"Expected `metric` .* ConfusionMatrixMetric gave shape \(1, 1, 4"),
    ],
)
def test_bad_input_is_named_and_buffers_nothing(metric, y_pred, y, error, message):
    component = ComponentMetric(metric)
    with pytest.raises(error, match=message):
        component(y_pred, y)
    assert component.get_buffer() is None


def test_bins_need_a_voxel_size():
    with pytest.raises(ValueError, match=r"Expected `spacing_mm` .*`volume_edges_mm3`.* but got neither"):
        score(Y_PRED, Y, volume_edges_mm3=(1,))
    with pytest.raises(ValueError, match=r"Expected `spacing_mm` .* 2 spatial axes, but got \(1\.0, 1\.0, 1\.0\)"):
        score(Y_PRED, Y, spacing_mm=(1, 1, 1))
