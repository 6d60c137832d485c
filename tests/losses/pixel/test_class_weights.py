"""Class weights and asymmetry belong to the foreground, whatever channel it is seen in."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.losses import FocalLoss
from torch.nn import CrossEntropyLoss
from torch.nn.functional import one_hot

from monai_instance_loss.losses import InstanceLoss
from monai_instance_loss.losses.pixel import (
    BalancedCELoss,
    ComboLoss,
    CompoundRegionLoss,
    DiceRegionLoss,
    ExponentialLogarithmicLoss,
    FocalRegionLoss,
    ModifiedFocalTverskyLoss,
    SensitivitySpecificityLoss,
    UnifiedFocalLoss,
    WeightedCELoss,
)

Tensor = torch.Tensor


def nested(**kwargs):
    inner = CompoundRegionLoss([WeightedCELoss(pos_weight=4, neg_weight=0.5)], weights=[0.7])
    return CompoundRegionLoss([FocalRegionLoss(alpha=0.9, asymmetric=True), inner], weights=[2, 3], **kwargs)


WEIGHTED = {
    "weighted CE": partial(WeightedCELoss, pos_weight=5, neg_weight=0.5),
    "weighted CE, foreground only": partial(WeightedCELoss, pos_weight=5, neg_weight=0),
    "balanced CE": BalancedCELoss,
    "focal, alpha": partial(FocalRegionLoss, gamma=1.5, alpha=0.8),
    "focal, asymmetric": partial(FocalRegionLoss, gamma=1.5, asymmetric=True),
    "focal, alpha, asymmetric": partial(FocalRegionLoss, gamma=0.5, alpha=0.8, asymmetric=True),
    # its Dice part is MONAI's, a mean over channels
    "combo": partial(ComboLoss, alpha=1, beta=0.8),
    "exponential logarithmic": partial(ExponentialLogarithmicLoss, weight_dice=0, pos_weight=5, neg_weight=0.5),
    "sensitivity-specificity": partial(SensitivitySpecificityLoss, sensitivity_ratio=0.2),
    "modified focal Tversky": partial(ModifiedFocalTverskyLoss, delta=0.7, asymmetric=True),
    "unified focal": partial(UnifiedFocalLoss, delta=0.7),
    "unified focal, symmetric": partial(UnifiedFocalLoss, delta=0.7, asymmetric=False),
    "compounds": nested,
}


def two_classes(spatial: tuple[int, ...] = (6, 5)) -> tuple[Tensor, Tensor]:
    """Logits z of the foreground (B, 1, *spatial) and a binary target with few foreground voxels."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, *spatial, generator=generator, dtype=torch.float64)
    return z, (torch.rand(z.shape, generator=generator) < 0.2).double()


def three_classes() -> tuple[Tensor, Tensor]:
    """Logits (2, 3, 5, 4) and labels (2, 1, 5, 4)."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 3, (2, 1, 5, 4), generator=generator)


def value_and_gradient(loss, forward, z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    z = z.clone().requires_grad_()
    value = loss(forward(z), target)
    return value, torch.autograd.grad(value, z)[0]


@pytest.mark.parametrize("form", ["softmax", "labels", "probabilities", "other_act"])
@pytest.mark.parametrize("spatial", [(6, 5), (4, 3, 3)], ids=str)
@pytest.mark.parametrize("name", WEIGHTED)
def test_two_exclusive_channels_are_one_sigmoid_channel(name, spatial, form):
    z, target = two_classes(spatial)
    make = WEIGHTED[name]
    options = {
        "softmax": {"softmax": True},
        "labels": {"softmax": True, "to_onehot_y": True},
        "probabilities": {},
        "other_act": {"other_act": lambda x: x.softmax(1)},
    }[form]

    def both(logit: Tensor) -> Tensor:
        channels = torch.cat([torch.zeros_like(logit), logit], 1)
        return channels.softmax(1) if form == "probabilities" else channels

    exclusive = target if form == "labels" else torch.cat([1 - target, target], 1)
    expected = value_and_gradient(make(sigmoid=True), lambda x: x, z, target)
    found = value_and_gradient(make(**options), both, z, exclusive)
    torch.testing.assert_close(found, expected)
    # the weight is not undone by the mirrored channel, and without that channel it is what it was
    alone = value_and_gradient(make(**options, include_background=False), both, z, exclusive)
    torch.testing.assert_close(alone, expected)


@pytest.mark.parametrize("name", ["combo", "exponential logarithmic"])
def test_the_dice_part_is_a_mean_over_both_channels(name):
    z, target = two_classes()
    both, exclusive = torch.cat([torch.zeros_like(z), z], 1), torch.cat([1 - target, target], 1)
    if name == "combo":
        make = partial(ComboLoss, alpha=0.4, beta=0.8)
        ce, dice = WeightedCELoss(pos_weight=0.8, neg_weight=0.2, sigmoid=True)(z, target), DiceRegionLoss(softmax=True)
        expected = 0.4 * ce + 0.6 * dice(both, exclusive)
    else:
        make = partial(ExponentialLogarithmicLoss, pos_weight=5)
        ce = ExponentialLogarithmicLoss(weight_dice=0, pos_weight=5, sigmoid=True)(z, target)
        expected = ce + ExponentialLogarithmicLoss(weight_ce=0, softmax=True)(both, exclusive)
    torch.testing.assert_close(make(softmax=True)(both, exclusive), expected)


# naive loops over channels and voxels: what a channel's voxel costs on and off its target, given p of the channel
# and whether the channel is the background


def ce_cost(pos, neg):
    def cost(p: float, on: bool, background: bool) -> float:
        weight = pos if on != background else neg
        return -weight * (p if on else 1 - p).log()

    return cost


def focal_cost(gamma, alpha, asymmetric):
    def cost(p, on, background):
        right = p if on else 1 - p
        foreground = on != background
        factor = 1 if asymmetric and foreground else (1 - right) ** gamma
        return -(alpha if foreground else 1 - alpha) * factor * right.log()

    return cost


def naive(cost, p: Tensor, labels: Tensor, has_background: bool = True) -> Tensor:
    values = []
    for probabilities, truth in zip(p, labels, strict=True):
        for channel in range(p.shape[1]):
            background = has_background and channel == 0
            voxels = zip(probabilities[channel].flatten(), (truth.flatten() == channel).tolist(), strict=True)
            values.append(torch.stack([cost(q, on, background) for q, on in voxels]).mean())
    return torch.stack(values).mean()


THREE = {
    "weighted CE": (WeightedCELoss(pos_weight=5, neg_weight=0.5, softmax=True, to_onehot_y=True), ce_cost(5, 0.5)),
    "combo": (ComboLoss(alpha=1, beta=0.8, softmax=True, to_onehot_y=True), ce_cost(0.8, 0.2)),
    "exponential logarithmic": (
        ExponentialLogarithmicLoss(weight_dice=0, weight_ce=1, gamma=1, pos_weight=5, softmax=True, to_onehot_y=True),
        ce_cost(5, 1),
    ),
    "focal": (FocalRegionLoss(gamma=2, alpha=0.8, softmax=True, to_onehot_y=True), focal_cost(2, 0.8, False)),
    "focal, asymmetric": (
        FocalRegionLoss(gamma=2, alpha=0.8, asymmetric=True, softmax=True, to_onehot_y=True),
        focal_cost(2, 0.8, True),
    ),
}


@pytest.mark.parametrize("name", THREE)
def test_three_classes_against_a_loop(name):
    logits, labels = three_classes()
    loss, cost = THREE[name]
    torch.testing.assert_close(loss(logits, labels), naive(cost, logits.softmax(1), labels))


def test_sensitivity_of_three_classes_against_a_loop():
    logits, labels = three_classes()
    p, values = logits.softmax(1), []
    for b in range(2):
        for c in range(3):
            on = labels[b, 0] == c
            missed, false = (1 - p[b, c][on]).square().mean(), p[b, c][~on].square().mean()
            # what the background misses is false foreground
            sensitivity, specificity = (false, missed) if c == 0 else (missed, false)
            values.append(0.2 * sensitivity + 0.8 * specificity)
    loss = SensitivitySpecificityLoss(sensitivity_ratio=0.2, softmax=True, to_onehot_y=True)
    torch.testing.assert_close(loss(logits, labels), torch.stack(values).mean())


def test_independent_channels_have_no_background():
    logits, labels = three_classes()
    target = one_hot(labels[:, 0], 3).movedim(-1, 1).double()
    loss = WeightedCELoss(pos_weight=5, neg_weight=0.5, sigmoid=True)
    torch.testing.assert_close(loss(logits, target), naive(ce_cost(5, 0.5), logits.sigmoid(), labels, False))


# one weight a channel

PER_CHANNEL = {
    "weighted CE": (partial(WeightedCELoss, pos_weight=[0.5, 2, 3]), WeightedCELoss, "pos_weight"),
    "combo": (partial(ComboLoss, alpha=0.4, beta=(0.1, 0.6, 0.9)), partial(ComboLoss, alpha=0.4), "beta"),
    "exponential logarithmic": (
        partial(ExponentialLogarithmicLoss, pos_weight=torch.tensor([0.5, 2.0, 3.0])),
        ExponentialLogarithmicLoss,
        "pos_weight",
    ),
}


@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
@pytest.mark.parametrize("name", PER_CHANNEL)
def test_a_weight_a_channel_is_that_channel_alone(name, form):
    several, single, argument = PER_CHANNEL[name]
    weights = [float(weight) for weight in several.keywords[argument]]
    logits, labels = three_classes()
    target = one_hot(labels[:, 0], 3).movedim(-1, 1).double()
    values = several(**{form: True}, reduction="none")(logits, target)
    p = logits.sigmoid() if form == "sigmoid" else logits.softmax(1)
    for channel, weight in enumerate(weights):
        alone = single(**{argument: weight}, reduction="none")(p[:, channel : channel + 1], target[:, channel, None])
        torch.testing.assert_close(values[:, channel : channel + 1], alone)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (partial(WeightedCELoss, pos_weight=[1, 2, 3]), "pos_weight"),
        (partial(WeightedCELoss, neg_weight=[1, 2, 3]), "neg_weight"),
        (partial(FocalRegionLoss, alpha=[0.1, 0.6, 0.9]), "alpha"),
        (partial(ComboLoss, beta=[0.1, 0.6, 0.9]), "beta"),
        (partial(ExponentialLogarithmicLoss, pos_weight=[1, 2, 3]), "pos_weight"),
    ],
)
def test_only_scored_channels_have_a_weight(make, argument):
    logits, labels = three_classes()
    loss = make(softmax=True, to_onehot_y=True, include_background=False)
    with pytest.raises(ValueError, match=rf"Expected `{argument}` .*2 scored channels, but got \(.*\)"):
        loss(logits, labels)


@pytest.mark.parametrize(("asymmetric", "factor"), [(True, 1), (False, 0.25)])
def test_one_alpha_a_channel_on_exclusive_classes(asymmetric, factor):
    # p = 1/2 everywhere, so that (1 - p)^gamma = 1/4: one voxel of four is foreground, which has no factor of its own
    # channel 0: 0.2 on 3 background voxels, 1 on the foreground; channel 1: 0.8 on the foreground, 1 on the others
    expected = ((3 * 0.2 * 0.25 + factor) / 4 + (0.8 * factor + 3 * 0.25) / 4) / 2
    loss = FocalRegionLoss(gamma=2, alpha=[0.2, 0.8], asymmetric=asymmetric, softmax=True)
    y = torch.tensor([[[[0.0, 1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0, 0.0]]]])
    value = loss(torch.zeros(1, 2, 1, 4), y)
    assert float(value / torch.tensor(2.0).log()) == pytest.approx(expected)


def test_both_weights_a_channel():
    z, target = two_classes()
    both, exclusive = torch.cat([torch.zeros_like(z), z], 1), torch.cat([1 - target, target], 1)
    expected = WeightedCELoss(pos_weight=5, neg_weight=0.5, sigmoid=True)(z, target)
    loss = WeightedCELoss(pos_weight=[0.5, 5], neg_weight=[5, 0.5], softmax=True)
    torch.testing.assert_close(loss(both, exclusive), expected)
    # channel 0: 1 on the background and 2 off it, channel 1: 3 on the foreground and 2 off it; p = 1/2 everywhere
    loss = WeightedCELoss(pos_weight=[1, 3], neg_weight=2, softmax=True)
    y = torch.tensor([[[[0.0, 1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0, 0.0]]]])
    value = loss(torch.zeros(1, 2, 1, 4), y)
    assert float(value / torch.tensor(2.0).log()) == pytest.approx(((3 * 1 + 2) / 4 + (3 + 3 * 2) / 4) / 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: WeightedCELoss(pos_weight=[]), ValueError, r"`pos_weight`.*\[\]"),
        (lambda: WeightedCELoss(pos_weight=[1, -2]), ValueError, "`pos_weight`.*-2"),
        (lambda: WeightedCELoss(neg_weight=[1, "a"]), TypeError, "`neg_weight`.*'a'"),
        (lambda: FocalRegionLoss(alpha=[0.5, 1.5]), ValueError, "`alpha`.*1.5"),
        (lambda: ComboLoss(beta=[0.5, 1.5]), ValueError, "`beta`.*1.5"),
        (lambda: WeightedCELoss(pos_weight={1: 2}), TypeError, "`pos_weight`.*{1: 2}"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=f"Expected {message}"):
        make()


@pytest.mark.parametrize(
    ("loss", "received"),
    [
        (WeightedCELoss(pos_weight=[1, 2]), "WeightedCELoss with one pos_weight a channel"),
        (FocalRegionLoss(alpha=[0.5, 0.5]), "FocalRegionLoss with one alpha a channel"),
        (ComboLoss(beta=[0.5, 0.5]), "ComboLoss with one beta a channel"),
        (CompoundRegionLoss([FocalRegionLoss(alpha=[0.5])]), "CompoundRegionLoss with one alpha a channel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_regions_of_one_class_take_one_weight(loss, received):
    with pytest.raises(ValueError, match=f"Expected `instance_loss` .*but got {received}"):
        InstanceLoss(sigmoid=True, instance_loss=loss)


# where MONAI and torch agree


def test_two_classes_are_torchs_cross_entropy_but_for_its_divisor():
    z, target = two_classes()
    both = torch.cat([torch.zeros_like(z), z], 1)
    value = WeightedCELoss(pos_weight=5, neg_weight=0.5, softmax=True, to_onehot_y=True)(both, target)
    weight = torch.tensor([0.5, 5.0], dtype=torch.float64)
    total = CrossEntropyLoss(weight=weight, reduction="sum")(both, target[:, 0].long())
    torch.testing.assert_close(value, total / target.numel())


def test_two_classes_are_twice_monais_focal_loss_with_softmax():
    z, target = (values.float() for values in two_classes())
    both = torch.cat([torch.zeros_like(z), z], 1)
    value = FocalRegionLoss(gamma=1.5, alpha=0.8, softmax=True, to_onehot_y=True)(both, target)
    monai = FocalLoss(gamma=1.5, alpha=0.8, use_softmax=True, to_onehot_y=True)(both, target)
    torch.testing.assert_close(value, 2 * monai)


def test_alpha_a_channel_is_monais():
    logits, labels = three_classes()
    target = one_hot(labels[:, 0], 3).movedim(-1, 1).float()
    value = FocalRegionLoss(gamma=1.5, alpha=[0.1, 0.6, 0.9], sigmoid=True)(logits.float(), target)
    monai = FocalLoss(gamma=1.5, alpha=[0.1, 0.6, 0.9])(logits.float(), target)
    torch.testing.assert_close(value, monai)
