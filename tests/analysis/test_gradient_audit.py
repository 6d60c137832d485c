"""The audit's numbers by hand and by a naive loop, on losses of this package, of MONAI, of torch and functions."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss
from torch.nn import BCEWithLogitsLoss

from monai_instance_loss.analysis import GradientRow, gradient_audit
from monai_instance_loss.losses import BiCCLoss, InstanceLoss, InstanceLossTerms
from monai_instance_loss.metrics import FalseInstancesMetric, MissedInstancesMetric

SMALL = {"size_voxels": (1, 7, 40), "other_lesions": (0, 3), "spatial_size": (24, 24, 24), "other_size_voxels": 8}


def only(term: str) -> InstanceLoss:
    return InstanceLoss(sigmoid=True, weights={name: float(name == term) for name in InstanceLossTerms._fields})


def by_setting(rows: list[GradientRow]) -> dict[tuple, GradientRow]:
    return {row[:4]: row for row in rows}


def test_a_row_for_each_setting():
    rows = gradient_audit(BCEWithLogitsLoss(), background_probability=(0.01, 0.1), **SMALL)
    # 3 situations, 3 sizes, 2 numbers of others, 2 backgrounds; of 1 voxel no half is found
    assert len(by_setting(rows)) == len(rows) == 3 * 3 * 2 * 2 - 2 * 2
    assert {row[:2] for row in rows} == {
        *(("false", size) for size in (1, 7, 40)),
        *(("missed", size) for size in (1, 7, 40)),
        *(("half_found", size) for size in (7, 40)),
    }


def test_cross_entropy_by_hand():
    """d/dx of -log(sigmoid(x)) is -(1 - p), of -log(1 - sigmoid(x)) it is p; the mean is over N = 24^3 voxels."""
    rows = by_setting(gradient_audit(BCEWithLogitsLoss(), background_probability=(0.01, 0.2), **SMALL))
    voxels = 24**3
    for (situation, size, others, background), row in rows.items():
        inner = size // 2
        expected = {
            "false": size * 0.9 / voxels,
            "missed": size * (1 - background) / voxels,
            "half_found": (inner * (1 - 0.9) + (size - inner) * (1 - background)) / voxels,
        }[situation]
        assert row.gradient_l1 == pytest.approx(expected, rel=1e-6)
        assert row.direction == "helps"
        assert row.helping_share == 1
        # beside the component: other lesions of 8 voxels, found, and background
        rest = others * 8 * 0.1 + (voxels - size - others * 8) * background
        assert row.share_of_total == pytest.approx(expected / (expected + rest / voxels), rel=1e-6)


@pytest.mark.parametrize("others", [0, 3])
def test_terms_of_the_instance_loss_by_hand(others):
    """Every lesion counts alike: no size appears in any of these numbers.

    Presence is sum w p / sum w with w = p held fixed, and p is one number: on the logits its gradient is p (1 - p) in
    all. One of n = others + 1 instances, it is divided by n. Dice on a missed lesion of k voxels is 1 - 2 k p / (k p +
    k) but for smoothing, 1 - 2 p / (1 + p), and d/dp of that is -2 / (1 + p)^2.
    """
    # the smoothing of 1e-5 is a millionth of 40 voxels
    rows = {
        term: by_setting(
            gradient_audit(
                only(term), background_probability=0.02, **SMALL | {"size_voxels": (1, 40), "other_lesions": others}
            )
        )
        for term in ("false", "instance_pred", "missed", "instance")
    }
    count, found, unseen = others + 1, 0.9 * 0.1, 0.02 * 0.98
    for size in (1, 40):
        setting = (size, others, 0.02)
        assert rows["false"]["false", *setting].gradient_l1 == pytest.approx(found / count, rel=1e-6)
        assert rows["instance_pred"]["false", *setting].gradient_l1 == pytest.approx(found / count, rel=1e-6)
        assert rows["missed"]["missed", *setting].gradient_l1 == pytest.approx(unseen / count, rel=1e-6)
        dice = 2 / 1.02**2 * unseen / count
        assert rows["instance"]["missed", *setting].gradient_l1 == pytest.approx(dice, rel=1e-4)


def naive(loss, situation, size, others, background, shape, other_size, layout_of_others):
    """The same setting from nested lists: one leaf a voxel, its derivative one at a time."""
    middle = [n // 2 for n in shape]
    grid = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    nearest = sorted(grid, key=lambda v: (v[0] - middle[0]) ** 2 + (v[1] - middle[1]) ** 2)[:size]
    assert other_size == 1
    found = set(layout_of_others[:others])
    target = [[float((i, j) in found) for j in range(shape[1])] for i in range(shape[0])]
    predicted = set(found)
    if situation == "false":
        predicted |= set(nearest)
    else:
        predicted |= set(nearest[: size // 2]) if situation == "half_found" else set()
        for i, j in nearest:
            target[i][j] = 1.0
    logit = {True: math.log(0.9 / 0.1), False: math.log(background / (1 - background))}
    leaves = [
        [torch.tensor(logit[(i, j) in predicted], dtype=torch.float64, requires_grad=True) for j in range(shape[1])]
        for i in range(shape[0])
    ]
    value = loss(
        torch.stack([torch.stack(row) for row in leaves])[None, None],
        torch.tensor(target, dtype=torch.float64)[None, None],
    )
    value.backward()
    total = sum(abs(float(leaf.grad)) for row in leaves for leaf in row)
    on = [float(leaves[i][j].grad) for i, j in nearest]
    norm = sum(map(abs, on))
    helping = sum(abs(g) for g in on if (g > 0 if situation == "false" else g < 0))
    return norm, helping / norm if norm else math.nan, norm / total


@pytest.mark.parametrize(
    "loss",
    [
        DiceCELoss(sigmoid=True),
        FocalLoss(),
        InstanceLoss(sigmoid=True),
        BiCCLoss(sigmoid=True),
        lambda input, target: (input.sigmoid() - target).abs().square().mean(),
    ],
    ids=["DiceCE", "Focal", "InstanceLoss", "BiCC", "function"],
)
def test_rows_are_those_of_a_naive_loop(loss):
    shape, sizes = (15, 14), (1, 4, 13)
    # the corners of a lattice from 0 to 14 by 0 to 13, the farthest from the middle (7, 7) first
    corners = [(0, 0), (14, 0)]
    rows = gradient_audit(
        loss,
        size_voxels=sizes,
        other_lesions=(0, 1),
        background_probability=0.05,
        other_size_voxels=1,
        spatial_size=shape,
    )
    for row in rows:
        norm, helping, share = naive(loss, *row[:4], shape, 1, corners)
        assert row.gradient_l1 == pytest.approx(norm, rel=1e-9, abs=1e-15)
        assert row.share_of_total == pytest.approx(share, rel=1e-9, abs=1e-12)
        assert row.helping_share == pytest.approx(helping, rel=1e-9, nan_ok=True)


def test_harm_is_told_from_help():
    setting = {"size_voxels": 7, "other_lesions": 1, "background_probability": 0.1, "spatial_size": (24, 24)}
    bce = BCEWithLogitsLoss()
    assert {row.direction for row in gradient_audit(lambda x, y: -bce(x, y), **setting)} == {"against"}
    assert {row.helping_share for row in gradient_audit(lambda x, y: -bce(x, y), **setting)} == {0.0}
    # whatever the target, down: a lesion suffers
    rows = gradient_audit(lambda x, y: x.mean(), **setting)
    assert [row.direction for row in rows] == ["helps", "against", "against"]
    # up where predicted, down elsewhere: of 7 voxels the 3 inner ones are raised, and 4 lowered
    rows = gradient_audit(lambda x, y: -x.abs().mean(), **setting)
    assert [row.direction for row in rows] == ["against", "against", "mixed"]
    assert rows[2].helping_share == pytest.approx(3 / 7)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: MissedInstancesMetric()((x >= 0).double(), y).sum(),
        lambda x, y: FalseInstancesMetric()((x >= 0).double(), y).sum(),
        lambda x, y: 0 * x.sum(),
        lambda x, y: torch.zeros((), requires_grad=True),
    ],
    ids=["missed instances", "false instances", "flat", "of something else"],
)
def test_what_has_no_gradient_says_so(loss):
    """Instances counted on a thresholded prediction, which is what the published code trains on, have no graph."""
    rows = gradient_audit(loss, background_probability=0.01, **SMALL)
    assert {(row.gradient_l1, row.direction) for row in rows} == {(0.0, "none")}
    assert all(math.isnan(row.helping_share) and math.isnan(row.share_of_total) for row in rows)


def test_rounding_is_no_gradient():
    def almost(input, target):
        return (input * (1 + 1e20 * (1 - target) * (input < 0))).mean()

    row = gradient_audit(almost, size_voxels=1, other_lesions=1, background_probability=0.1, spatial_size=(24, 24))[0]
    # a false component beside background that outweighs it by 20 digits
    assert row.gradient_l1 > 0
    assert row.direction == "none"


def test_nan_in_the_gradient_is_seen():
    rows = gradient_audit(lambda x, y: (0 * x).sqrt().sum(), background_probability=0.01, **SMALL)
    assert {row.direction for row in rows} == {"undefined"}
    assert all(math.isnan(value) for row in rows for value in (row.gradient_l1, row.helping_share, row.share_of_total))


def test_dice_of_a_volume_without_lesions_is_an_ordinary_case():
    rows = gradient_audit(DiceLoss(sigmoid=True), other_lesions=0, size_voxels=1, spatial_size=(8, 8))
    assert all(row.direction == "helps" and math.isfinite(row.gradient_l1) for row in rows)


def test_the_same_call_has_the_same_rows_and_leaves_no_trace():
    loss, state = InstanceLoss(sigmoid=True), torch.random.get_rng_state()
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    first, second = (
        gradient_audit(lambda x, y: weight * loss(x, y), background_probability=0.01, **SMALL) for _ in range(2)
    )
    assert str(first) == str(second)
    assert weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradient_is_on_even_where_it_is_switched_off(off):
    with off():
        row = gradient_audit(
            BCEWithLogitsLoss(), size_voxels=1, other_lesions=0, background_probability=0.5, spatial_size=(4, 4)
        )[1]
    assert row.gradient_l1 == pytest.approx(0.5 / 16)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": 3}, TypeError, "`loss` to be callable, but got int"),
        (
            {"loss": lambda x, y: x},
            ValueError,
            r"`loss` to return a tensor of one number, but got shape \(1, 1, 9, 9\)",
        ),
        ({"loss": lambda x, y: 1.0}, ValueError, "`loss` to return a tensor of one number, but got float"),
        ({"size_voxels": ()}, ValueError, "`size_voxels` to have one value or more, but got none"),
        ({"size_voxels": (1, 0)}, ValueError, "`size_voxels` to be 1 or more, but got 0"),
        ({"size_voxels": 1.5}, TypeError, "`size_voxels` to be an integer, but got 1.5"),
        ({"size_voxels": 100}, ValueError, r"`spatial_size` to have room for .* 100 voxels .* got \(9, 9\)"),
        ({"other_lesions": -1}, ValueError, "`other_lesions` to be 0 or more, but got -1"),
        ({"other_lesions": ()}, ValueError, "`other_lesions` to have one value"),
        ({"background_probability": 0.0}, ValueError, r"`background_probability` to be in \(0, 1\), but got 0.0"),
        ({"background_probability": ()}, ValueError, "`background_probability` to have one value"),
        ({"background_probability": "a"}, TypeError, "`background_probability` to be a number, but got 'a'"),
        ({"found_probability": 1.0}, ValueError, r"`found_probability` to be in \(0, 1\), but got 1.0"),
        ({"found_probability": 0.1}, ValueError, "`found_probability` to be above the background's 0.1, but got 0.1"),
        ({"other_size_voxels": 0}, ValueError, "`other_size_voxels` to be 1 or more, but got 0"),
        ({"spatial_size": (9,)}, ValueError, r"`spatial_size` to have 2 or 3 numbers, but got \(9,\)"),
        ({"spatial_size": (9, 0)}, ValueError, "`spatial_size` to be 1 or more, but got 0"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    usual = {
        "loss": BCEWithLogitsLoss(),
        "size_voxels": 1,
        "other_lesions": 0,
        "background_probability": 0.1,
        "spatial_size": (9, 9),
    }
    with pytest.raises(error, match=message):
        gradient_audit(**usual | options)
