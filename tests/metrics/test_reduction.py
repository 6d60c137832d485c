from __future__ import annotations

import pytest
import torch
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

from monai_instance_loss.metrics.reduction import check_reduction, reduce_scores

ALL = [member.value for member in MetricReduction]
NAN = torch.nan
# (N=3, C=2, 4), found and missed first; missed rates: 1/4 nan | 1 1/2 | nan nan
COUNTS = torch.tensor([[[3, 1, 2, 2], [0, 0, 0, 1]], [[0, 2, 0, 0], [1, 1, 1, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
RATES = [[0.25, NAN], [1.0, 0.5], [NAN, NAN]]


def missed_rate(counts):
    return [counts[..., 1] / (counts[..., 0] + counts[..., 1])]


def same(actual: torch.Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), equal_nan=True, check_dtype=False, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("reduction", "expected", "not_nans"),
    [
        ("none", RATES, [[1, 0], [1, 1], [0, 0]]),
        # samples: 1/4, (1 + 1/2) / 2 = 3/4, nothing; their mean is 1/2
        ("mean", [0.5], 2),
        ("sum", 1.75, 3),
        # channels: (1/4 + 1) / 2, 1/2
        ("mean_batch", [0.625, 0.5], [2, 1]),
        ("sum_batch", [1.25, 0.5], [2, 1]),
        ("mean_channel", [0.25, 0.75, NAN], [1, 2, 0]),
        ("sum_channel", [0.25, 1.5, NAN], [1, 2, 0]),
        # channels: (1 + 2) of 6 missed, 1 of 2 missed
        ("pooled", [0.5], [2]),
    ],
)
def test_hand_derived_values(reduction, expected, not_nans):
    ((value, valid),) = reduce_scores(COUNTS, missed_rate, reduction)
    same(value, expected)
    same(valid, not_nans)


@pytest.mark.parametrize("reduction", ALL)
def test_agrees_with_monai_where_something_is_left(reduction):
    ((ours, valid),) = reduce_scores(COUNTS, missed_rate, reduction)
    theirs, their_valid = do_metric_reduction(torch.tensor(RATES), reduction)
    kept = valid > 0
    assert torch.equal(valid, their_valid)
    torch.testing.assert_close(ours[kept.expand_as(ours)], theirs[kept.expand_as(theirs)])
    assert ours[~kept.expand_as(ours)].isnan().all()


@pytest.mark.parametrize("reduction", [*ALL, "pooled"])
@pytest.mark.parametrize("samples", [0, 2])
def test_nothing_to_score_stays_nan(reduction, samples):
    ((value, valid),) = reduce_scores(torch.zeros(samples, 3, 4, dtype=torch.int64), missed_rate, reduction)
    assert value.isnan().all()
    assert not valid.any()


def test_pooled_weighs_instances_and_mean_weighs_samples():
    # 9 of 10 detected in one sample, 0 of 1 in the other
    counts = torch.tensor([[[9, 1, 9, 0]], [[0, 1, 0, 0]]])
    same(reduce_scores(counts, missed_rate, "mean")[0][0], [(0.1 + 1) / 2])
    same(reduce_scores(counts, missed_rate, "pooled")[0][0], [2 / 11])


def test_pooled_leaves_out_channels_with_nothing_to_score():
    counts = torch.tensor([[[1, 1, 1, 0], [0, 0, 0, 5]]])
    ((value, valid),) = reduce_scores(counts, missed_rate, "pooled")
    same(value, [0.5])
    same(valid, [1])


def test_counts_are_left_as_they_are():
    counts = COUNTS.clone()
    for reduction in [*ALL, "pooled"]:
        reduce_scores(counts, missed_rate, reduction)
    assert torch.equal(counts, COUNTS)


@pytest.mark.parametrize("reduction", list(MetricReduction))
def test_enum_members_are_accepted(reduction):
    assert check_reduction(reduction) == reduction.value


@pytest.mark.parametrize("reduction", ["average", "Pooled", None, 3])
def test_unknown_reductions_are_refused(reduction):
    with pytest.raises(ValueError, match=rf"Expected `reduction` .*'pooled'\], but got {reduction!r}"):
        reduce_scores(COUNTS, missed_rate, reduction)
