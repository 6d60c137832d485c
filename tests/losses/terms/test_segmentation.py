"""The instance terms by hand. Dice is 1 - (2 TP + e) / (sum p + sum y + e) with e = 1e-5."""

from __future__ import annotations

from math import log

import pytest
import torch

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.pixel import BinaryCELoss

E = 1e-5


def row(*values: float) -> torch.Tensor:
    """One sample (1, 1, 1, n)."""
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


# two true instances under one prediction (0.6, voxels 0-5), a third that is missed (0.2, voxels 8-9), a false one at 12
TARGET = row(1, 1, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0)
P = row(0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0, 0, 0.2, 0.2, 0, 0, 0.8, 0)


def dice(tp: float, sum_p: float, sum_y: float) -> float:
    return 1 - (2 * tp + E) / (sum_p + sum_y + E)


def test_reference_side_without_other_true_positives():
    terms = InstanceLoss(threshold=0.5).terms(P, TARGET)
    # the prediction has three voxels off the target: 1.8 of false positives to each of the two lesions
    first = dice(1.2, 1.2 + 1.8, 2)
    second = dice(0.6, 0.6 + 1.8, 1)
    # a missed lesion is its own region
    missed = dice(0.4, 0.4, 2)
    assert float(terms.instance) == pytest.approx((first + second + missed) / 3, abs=1e-12)


def test_reference_side_with_other_true_positives():
    terms = InstanceLoss(threshold=0.5, exclude_other_tp=False).terms(P, TARGET)
    # all of the prediction is in both regions: sum p = 3.6
    assert float(terms.instance) == pytest.approx(
        (dice(1.2, 3.6, 2) + dice(0.6, 3.6, 1) + dice(0.4, 0.4, 2)) / 3, abs=1e-12
    )


def test_prediction_side():
    terms = InstanceLoss(threshold=0.5).terms(P, TARGET)
    # against the union of the two lesions that it touches: TP = 3 * 0.6; the false one is as bad as it is present
    assert float(terms.instance_pred) == pytest.approx((dice(1.8, 3.6, 3) + 0.8) / 2, abs=1e-12)


def test_a_prediction_of_several_voxels_that_is_false_scores_its_presence():
    p = row(0, 0.9, 0.6, 0, 0, 0)
    # (0.81 + 0.36) / 1.5 = 0.78
    terms = InstanceLoss(threshold=0.5).terms(p, row(0, 0, 0, 0, 0, 1))
    assert float(terms.instance_pred) == pytest.approx(0.78, abs=1e-12)


def test_one_lesion_under_two_predictions():
    p, target = row(0.9, 0, 0.7, 0.7, 0), row(1, 1, 1, 0, 0)
    terms = InstanceLoss(threshold=0.5).terms(p, target)
    # both predictions are in its region; the voxel between them counts as missing
    assert float(terms.instance) == pytest.approx(dice(1.6, 2.3, 3), abs=1e-12)
    assert float(terms.instance_pred) == pytest.approx((dice(0.9, 0.9, 3) + dice(0.7, 1.4, 3)) / 2, abs=1e-12)


def test_a_sample_without_lesions_or_predictions_counts_as_one_instance():
    p = torch.cat([P, row(*[0.3] * 14), P])
    target = torch.cat([TARGET, TARGET, 0 * TARGET])
    loss = InstanceLoss(threshold=0.5)
    first = loss.terms(P, TARGET)
    # sample 2: lesions of 2, 1 and 2 voxels at 0.3; nothing above 0.5, so dice(1.5, 4.2, 5) over the whole sample
    faint = [dice(0.6, 0.6, 2), dice(0.3, 0.3, 1), dice(0.6, 0.6, 2)]
    # sample 3: no lesion, so Dice of all of p, 3.6 + 0.4 + 0.8, against nothing; both predictions are false
    empty = dice(0, 4.8, 0)
    terms = loss.terms(p, target)
    assert float(terms.instance) == pytest.approx((3 * float(first.instance) + sum(faint) + empty) / 7, abs=1e-12)
    assert float(terms.instance_pred) == pytest.approx(
        (2 * float(first.instance_pred) + dice(1.5, 4.2, 5) + 0.6 + 0.8) / 5, abs=1e-12
    )
    # by samples
    terms = InstanceLoss(threshold=0.5, average_over="sample").terms(p, target)
    assert float(terms.instance) == pytest.approx((float(first.instance) + sum(faint) / 3 + empty) / 3, abs=1e-12)
    assert float(terms.instance_pred) == pytest.approx(
        (float(first.instance_pred) + dice(1.5, 4.2, 5) + 0.7) / 3, abs=1e-12
    )
    terms = InstanceLoss(threshold=0.5, average_over="sample", instance_reduction="sum").terms(p, target)
    assert float(terms.instance) == pytest.approx((3 * float(first.instance) + sum(faint) + empty) / 3, abs=1e-12)


def test_the_threshold_itself_is_predicted():
    # 0.5 is a binary fraction: a prediction at exactly 0.5 exists, the next number below does not
    target = row(0, 0, 1)
    loss = InstanceLoss(threshold=0.5, count_as_rate=False)
    assert float(loss.terms(row(0.5, 0, 0), target).false) == 0.5
    assert float(loss.terms(row(0.5 - 1e-12, 0, 0), target).false) == 0
    assert float(InstanceLoss(threshold=0.5, sigmoid=True).terms(row(0, -9, -9), target).false) == 0.5


def test_connectivity_splits_a_diagonal():
    target = torch.eye(4)[None, None]
    p = 0.5 * target
    assert float(InstanceLoss(count_as_rate=False).terms(p, target).missed) == 0.5
    assert float(InstanceLoss(count_as_rate=False, connectivity=1).terms(p, target).missed) == 2


def test_a_mean_over_a_region_is_over_its_sample_without_what_is_ignored():
    p = torch.cat([row(0.5, 0, 0.6, 0), row(0.5, 0, 0.6, 0)])
    target = torch.cat([row(1, 0, 0, 0), row(1, 0, 0, 7)])
    terms = InstanceLoss(threshold=0.5, instance_loss=BinaryCELoss(), ignore_index=7).terms(p, target)
    # -log 0.5 of the lesion, over 4 voxels and over 3
    assert float(terms.instance) == pytest.approx((log(2) / 4 + log(2) / 3) / 2)
    # a false component has its own cross-entropy, -log 0.4, and not its presence
    assert float(terms.instance_pred) == pytest.approx((log(2) - log(0.4)) * (1 / 4 + 1 / 3) / 4)


def test_a_callable_scores_samples_without_instances_with_their_own_target():
    p, target = torch.cat([row(0.8, 0, 0), row(0.1, 0, 0)]), torch.cat([row(1, 0, 0), row(0, 0, 1)])
    terms = InstanceLoss(threshold=0.5, instance_loss=lambda p, y: p.sum() + y[0, 0, 0, 2]).terms(p, target)
    # nothing is predicted in the second sample, which is scored as a whole: 0.1 + 1
    assert float(terms.instance_pred) == pytest.approx((0.8 + 1.1) / 2)
