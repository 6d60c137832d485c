from __future__ import annotations

import pytest
import torch
from monai.utils import LossReduction

from monai_instance_loss.losses.engine.reduction import Averaging, reduce_blocks

# two samples, two classes; instances of class 0: 1 and 2 in sample 0, 6 in sample 1; of class 1: 4 in 0, 8 in 1
TOTAL = torch.tensor([3.0, 4.0, 6.0, 8.0])
COUNT = torch.tensor([2, 1, 1, 1])
BOTH = torch.tensor([True, True])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # class 0: (1 + 2 + 6) / 3 = 3; class 1: (4 + 8) / 2 = 6; their mean
        (("mean", "instance", "mean"), 4.5),
        # 9 and 12
        (("mean", "instance", "sum"), 10.5),
        # class 0: (1.5 + 6) / 2 = 3.75; class 1: 6
        (("mean", "sample", "mean"), 4.875),
        # class 0: (3 + 6) / 2 = 4.5; class 1: 6
        (("sum", "sample", "mean"), 5.25),
        # class 0: 1.5 + 6; class 1: 12
        (("mean", "sample", "sum"), 9.75),
        # class 0: 3 + 6; class 1: 12
        (("sum", "sample", "sum"), 10.5),
    ],
)
def test_instances_by_hand(options, expected):
    assert float(Averaging(*options).instances(TOTAL, COUNT, (2, 2), BOTH)) == expected


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 2.5), ("sum", 5.0), (LossReduction.MEAN, 2.5)])
def test_samples_by_hand(reduction, expected):
    # (B, C) = [[1, 2], [3, 4]]; classes: 4 / 2 and 6 / 2, or 4 and 6
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert float(Averaging(reduction=reduction).samples(values, (2, 2), BOTH)) == expected


def test_absent_classes_are_left_out():
    only_second = torch.tensor([False, True])
    assert float(Averaging().instances(TOTAL, COUNT, (2, 2), only_second)) == 6
    assert float(Averaging().samples(torch.tensor([1.0, 2.0, 3.0, 4.0]), (2, 2), only_second)) == 3


@pytest.mark.parametrize(("reduction", "expected"), [("mean", 2.0), ("sum", 4.0)])
def test_only_what_is_scored_counts(reduction, expected):
    averaging = Averaging(reduction=reduction)
    scored = torch.tensor([True, False, True])
    assert float(averaging.scored(torch.tensor([1.0, 7.0, 3.0]), scored)) == expected
    assert float(averaging.scored(torch.tensor([1.0, 7.0, 3.0]), scored & False)) == 0


def test_no_value_is_reduced_to_a_zero_with_graph():
    nothing = torch.zeros(0, 2, requires_grad=True)
    for reduction in ("mean", "sum"):
        value = reduce_blocks(nothing, reduction, 4)
        assert value.tolist() == 0
        assert value.requires_grad


def test_instances_carry_the_gradient():
    total = TOTAL.double().requires_grad_()
    for average_over in ("instance", "sample"):
        averaging = Averaging(average_over=average_over)
        assert torch.autograd.gradcheck(lambda v, a=averaging: a.instances(v, COUNT, (2, 2), BOTH), total)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"instance_reduction": "max"}, "instance_reduction"),
        ({"average_over": "batch"}, "average_over"),
        ({"reduction": "none"}, "reduction"),
    ],
)
def test_unknown_options_are_refused(options, name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .* or .*, but got '{options[name]}'"):
        Averaging(**options)
