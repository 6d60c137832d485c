"""What a criterion is made of: sums by map, and a value from them."""

from __future__ import annotations

import pytest
import torch

from monai_instance_loss.losses import ImageLoss, InstanceLoss, RegionLoss, RegionSums
from monai_instance_loss.losses.engine.voxels import one, squared

P = torch.tensor([[[[0.8, 0.4, 0.1, 0.5]]]])
Y = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])


def cubes(voxels):
    return voxels.p**3


class Cubes(RegionLoss):
    """Sums of a map of the test's own on one side, and of another on the other."""

    on, off = (cubes, "p"), (squared,)

    def score(self, sums):
        return sums.on[cubes] + 10 * sums.on["p"] + 100 * sums.off[squared]


class WeightedMiss(RegionLoss):
    """The weight belongs to the foreground: what is on the target, and off it where the target is the background."""

    on, off = ("ce_on",), ("ce_off",)

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def score(self, sums):
        return (self.weight * sums.on["ce_on"] + sums.off["ce_off"]) / sums.voxels

    def score_background(self, sums):
        return (sums.on["ce_on"] + self.weight * sums.off["ce_off"]) / sums.voxels


class Voxels(RegionLoss):
    """How many voxels a region has."""

    on, off = (one,), ("p",)

    def score(self, sums):
        return sums.voxels + 100 * sums.on[one] + 10000 * sums.target_voxels


def test_maps_of_ones_own_are_found_by_the_function():
    # 0.8^3 + 0.4^3 = 0.576, 0.8 + 0.4 = 1.2, 0.1^2 + 0.5^2 = 0.26
    expected = 0.576 + 10 * 1.2 + 100 * 0.26
    assert float(Cubes()(P, Y)) == pytest.approx(expected, abs=1e-5)
    # one instance: its region is the two target voxels; the prediction of 0.5 at the end does not touch it
    weights = dict.fromkeys(InstanceLoss().weights, 0) | {"instance": 1}
    loss = InstanceLoss(instance_loss=Cubes(), threshold=0.3, weights=weights)
    assert float(loss(P, Y)) == pytest.approx(0.576 + 10 * 1.2, abs=1e-5)


def test_maps_may_be_attributes_or_depend_on_the_configuration():
    class Chosen(RegionLoss):
        def __init__(self, squares):
            super().__init__()
            self.squares = squares

        @property
        def on(self):
            return (squared,) if self.squares else ("p",)

        def score(self, sums):
            return next(iter(sums.on.values()))

    # 0.8^2 + 0.4^2 = 0.8
    assert float(Chosen(True)(P, Y)) == pytest.approx(0.8, abs=1e-6)
    assert float(Chosen(False)(P, Y)) == pytest.approx(1.2, abs=1e-6)


def test_a_map_that_is_not_there_is_named():
    class Unknown(RegionLoss):
        on = ("q",)

        def score(self, sums):
            return sums.on["q"]

    for loss in (Unknown(), InstanceLoss(instance_loss=Unknown())):
        with pytest.raises(ValueError, match=r"Expected a map to be a function or one of .*, but got 'q'"):
            loss(P, Y)


def test_ignored_voxels_are_in_no_sum():
    target = torch.tensor([[[[1, 7, 0, 7]]]])
    # 2 voxels are left, 1 of the target
    assert float(Voxels(ignore_index=7)(P, target)) == 2 + 100 * 1 + 10000 * 1


def test_balanced_sums_count_both_sides_alike():
    sums = RegionSums(
        {"ce_on": torch.tensor([6.0, 6.0, 0.0])},
        {"ce_off": torch.tensor([3.0, 0.0, 8.0])},
        torch.tensor([2, 10, 0]),
        torch.tensor([10, 10, 10]),
    ).balanced()
    # two voxels on: 10 / (2 * 2) = 2.5 each; eight off: 10 / (2 * 8) = 0.625. Regions of one side keep their sums
    torch.testing.assert_close(sums.on["ce_on"], torch.tensor([15.0, 6.0, 0.0]))
    torch.testing.assert_close(sums.off["ce_off"], torch.tensor([1.875, 0.0, 8.0]))
    # weights add up to the voxels: 2 * 2.5 + 8 * 0.625 = 10
    torch.testing.assert_close(sums.target_voxels, torch.tensor([5.0, 10.0, 0.0]))
    torch.testing.assert_close(sums.voxels, torch.tensor([10.0, 10.0, 10.0]))


@pytest.mark.parametrize("weight", [0.25, 1.0, 4.0])
def test_a_weight_belongs_to_the_foreground_whatever_channel_it_is(weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64)
    y = (torch.rand(2, 1, 5, 6, generator=generator) < 0.3).double()
    one_channel = WeightedMiss(weight, sigmoid=True, reduction="none")(logits, y)
    # two exclusive classes, of which the second is the foreground: the same loss on both
    exclusive = torch.cat([torch.zeros_like(logits), logits], 1)
    both = torch.cat([1 - y, y], 1)
    two = WeightedMiss(weight, softmax=True, reduction="none")
    torch.testing.assert_close(two(exclusive, both), one_channel.expand(-1, 2, -1, -1))
    # without the background there is the foreground's channel alone
    rest = WeightedMiss(weight, softmax=True, include_background=False, reduction="none")
    torch.testing.assert_close(rest(exclusive, both), one_channel)
    # independent channels have no background
    independent = WeightedMiss(weight, sigmoid=True, reduction="none")
    torch.testing.assert_close(independent(torch.cat([logits, logits], 1), torch.cat([y, y], 1))[:, :1], one_channel)


def test_without_a_score_of_its_own_the_background_is_a_class_like_others():
    y = torch.cat([Y, 1 - Y], 1)
    # sum of p (1.2 and 0.6 on and off) of both channels, p of the background first
    value = Cubes(reduction="none")(torch.cat([P, 1 - P], 1), y).flatten()
    first = Cubes(reduction="none")(P, Y).flatten()
    torch.testing.assert_close(value[:1], first)


def test_reductions():
    p, y = torch.cat([P, 1 - P]), torch.cat([Y, Y])
    values = [float(Cubes()(*pair)) for pair in ((P, Y), (1 - P, Y))]
    assert Cubes(reduction="none")(p, y).shape == (2, 1, 1, 1)
    assert float(Cubes(reduction="sum")(p, y)) == pytest.approx(sum(values), rel=1e-6)
    assert float(Cubes()(p, y)) == pytest.approx(sum(values) / 2, rel=1e-6)


def test_a_loss_without_a_value_is_no_loss():
    with pytest.raises(TypeError, match="score"):
        RegionLoss()
    with pytest.raises(TypeError, match="image_values"):
        ImageLoss()


def test_repr_has_the_options():
    assert "weight=2.0" in repr(WeightedMiss(2.0, sigmoid=True))
    assert "sigmoid=True" in repr(WeightedMiss(2.0, sigmoid=True))
