"""Missed and false instances by hand: presence is sum p^2 / sum p over an instance."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import InstanceLoss


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


# two true instances: found (0.8, 0.4) and missed (0.3, 0.1); predicted: the found one, and false ones at 7-8 and 10
TARGET = row(1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0)
P = row(0.8, 0.6, 0, 0.3, 0.1, 0, 0, 0.5, 0.9, 0, 0.6)
FOUND = (0.64 + 0.36) / 1.4
MISSED = (0.09 + 0.01) / 0.4
FALSE = (0.25 + 0.81) / 1.4, 0.6


def test_numbers_of_instances():
    terms = InstanceLoss(threshold=0.5, count_as_rate=False).terms(P, TARGET)
    # a lesion that is found counts for as much as its presence falls short of 1
    assert float(terms.missed) == pytest.approx((1 - FOUND) + (1 - MISSED))
    # a prediction that touches a lesion is not false, whatever its presence
    assert float(terms.false) == pytest.approx(sum(FALSE))


def test_rates():
    terms = InstanceLoss(threshold=0.5).terms(P, TARGET)
    assert float(terms.missed) == pytest.approx(((1 - FOUND) + (1 - MISSED)) / 2)
    # of three predictions
    assert float(terms.false) == pytest.approx(sum(FALSE) / 3)


def test_samples_are_averaged_and_empty_ones_are_zero():
    p, target = torch.cat([P, 0 * P]), torch.cat([TARGET, 0 * TARGET])
    for options in ({}, {"average_over": "sample"}, {"instance_reduction": "sum"}):
        terms = InstanceLoss(threshold=0.5, **options).terms(p, target)
        assert float(terms.missed) == pytest.approx(((1 - FOUND) + (1 - MISSED)) / 2 / 2)
        assert float(terms.false) == pytest.approx(sum(FALSE) / 3 / 2)
    total = InstanceLoss(threshold=0.5, reduction="sum").terms(p, target)
    assert float(total.missed) == pytest.approx(((1 - FOUND) + (1 - MISSED)) / 2)


def test_binary_predictions_count():
    # of three lesions one is missed; of three predictions two are false
    target = row(1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0)
    p = row(1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 1)
    p[..., 3] = 0
    counts = InstanceLoss(count_as_rate=False).terms(p, target)
    assert (float(counts.missed), float(counts.false)) == (1, 2)
    rates = InstanceLoss().terms(p, target)
    assert float(rates.missed) == pytest.approx(1 / 3)
    assert float(rates.false) == pytest.approx(1 / 2)


def test_touching_needs_a_common_voxel():
    # side by side is not touching
    terms = InstanceLoss(count_as_rate=False).terms(row(0, 1, 1, 0), row(1, 0, 0, 0))
    assert (float(terms.missed), float(terms.false)) == (1, 1)
