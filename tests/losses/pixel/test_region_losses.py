"""What holds for every RegionLoss as a pixel loss."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.nn.functional import one_hot

from monai_instance_loss.losses import RegionLoss
from monai_instance_loss.losses import pixel as ours

MAKE = {
    "Dice": ours.DiceRegionLoss,
    "Dice squared": lambda **kwargs: ours.DiceRegionLoss(squared_pred=True, **kwargs),
    "Jaccard": ours.JaccardLoss,
    "log-cosh Dice": ours.LogCoshDiceLoss,
    "generalised Dice": ours.GeneralizedDiceRegionLoss,
    "Tversky": lambda **kwargs: ours.TverskyRegionLoss(alpha=0.3, beta=0.7, **kwargs),
    "focal Tversky": ours.FocalTverskyLoss,
    "modified focal Tversky": ours.ModifiedFocalTverskyLoss,
    "modified focal Tversky, asymmetric": lambda **kwargs: ours.ModifiedFocalTverskyLoss(asymmetric=True, **kwargs),
    "sensitivity-specificity": ours.SensitivitySpecificityLoss,
    "CE": ours.BinaryCELoss,
    "weighted CE": lambda **kwargs: ours.WeightedCELoss(pos_weight=3, neg_weight=0.5, **kwargs),
    "balanced CE": ours.BalancedCELoss,
    "focal": lambda **kwargs: ours.FocalRegionLoss(gamma=0.5, alpha=0.25, **kwargs),
    "focal, asymmetric": lambda **kwargs: ours.FocalRegionLoss(asymmetric=True, **kwargs),
    "Dice CE": ours.DiceCERegionLoss,
    "combo": ours.ComboLoss,
    "exponential logarithmic": ours.ExponentialLogarithmicLoss,
    "unified focal": ours.UnifiedFocalLoss,
    "unified focal, symmetric": lambda **kwargs: ours.UnifiedFocalLoss(asymmetric=False, **kwargs),
    "compound": lambda **kwargs: ours.CompoundRegionLoss(
        [ours.JaccardLoss(), ours.CompoundRegionLoss([ours.FocalRegionLoss()], weights=[2])], weights=[1, 3], **kwargs
    ),
}
# one value a sample where channel 0 is the background of exclusive classes
ALL_CLASSES = {name for name in MAKE if "modified" in name or "unified" in name} | {"generalised Dice"}
IN_UNIT_RANGE = {name for name in MAKE if "Dice" in name or "Tversky" in name or "Jaccard" in name} - {"Dice CE"}
SHAPES = [(2, 3, 5, 4), (2, 3, 4, 3, 3)]

every_loss = pytest.mark.parametrize("name", MAKE)


def batch(shape: tuple[int, ...] = SHAPES[0], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, C, *spatial) and class labels (B, 1, *spatial)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, shape[1], (shape[0], 1, *shape[2:]), generator=generator)
    return 2 * torch.randn(shape, dtype=torch.float64, generator=generator), labels


def channels(labels: torch.Tensor, count: int = 3) -> torch.Tensor:
    return one_hot(labels[:, 0], count).movedim(-1, 1).double()


def test_every_exported_region_loss_is_tested():
    exported = {value for value in vars(ours).values() if isinstance(value, type) and issubclass(value, RegionLoss)}
    mine = {
        value
        for value in exported
        if value.__module__.rsplit(".", 1)[1]
        in {
            "compound",
            "dice",
            "cross_entropy",
            "exponential_logarithmic",
            "focal",
            "sensitivity_specificity",
            "tversky",
            "unified_focal",
        }
    }
    assert mine == {type(make()) for make in MAKE.values()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("include_background", [True, False])
@every_loss
def test_logits_are_probabilities_and_labels_are_channels(name, include_background, shape):
    logits, labels = batch(shape)
    target = channels(labels)
    flags = {"include_background": include_background}
    soft = MAKE[name](softmax=True, to_onehot_y=True, **flags)(logits, labels)
    assert soft.shape == ()
    assert soft.dtype == torch.float64
    torch.testing.assert_close(soft, MAKE[name](softmax=True, **flags)(logits, target))
    torch.testing.assert_close(soft, MAKE[name](**flags)(logits.softmax(1), target))
    act = MAKE[name](other_act=lambda x: x.softmax(1), **flags)
    torch.testing.assert_close(soft, act(logits, target))
    single = MAKE[name](sigmoid=True)(logits[:, :1], target[:, :1])
    torch.testing.assert_close(single, MAKE[name]()(logits[:, :1].sigmoid(), target[:, :1]))


@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
@every_loss
def test_gradcheck(name, form):
    logits, labels = batch((2, 3, 3, 2) if form == "softmax" else (1, 3, 2, 3))
    loss = MAKE[name](**{form: True})
    assert torch.autograd.gradcheck(lambda x: loss(x, channels(labels)), logits.requires_grad_())


@every_loss
def test_every_voxel_is_pulled_towards_its_target(name):
    logits, labels = batch((1, 3, 5, 4))
    target = (labels == 1).double()
    x = logits[:, :1].clone().requires_grad_()
    MAKE[name](sigmoid=True)(x, target).backward()
    assert (x.grad[target == 1] < 0).all()
    assert (x.grad[target == 0] > 0).all()


@every_loss
def test_values_stay_in_range(name):
    for seed in range(5):
        logits, labels = batch(seed=seed)
        for scale in (0.1, 1, 10):
            values = MAKE[name](softmax=True, to_onehot_y=True, reduction="none")(logits * scale, labels)
            assert (values >= 0).all()
            assert name not in IN_UNIT_RANGE or (values <= 1).all()
    right = MAKE[name](to_onehot_y=True)(channels(labels), labels)
    assert float(right) == pytest.approx(0, abs=1e-5)


@every_loss
def test_reductions(name):
    logits, labels = batch((2, 3, 4, 3, 3))
    options = {"softmax": True, "to_onehot_y": True}
    values = MAKE[name](**options, reduction="none")(logits, labels)
    assert values.shape == (2, 1 if name in ALL_CLASSES else 3, 1, 1, 1)
    torch.testing.assert_close(MAKE[name](**options)(logits, labels), values.mean())
    torch.testing.assert_close(MAKE[name](**options, reduction="sum")(logits, labels), values.sum())
    # samples do not know of each other
    alone = MAKE[name](**options, reduction="none")(logits[1:], labels[1:])
    torch.testing.assert_close(alone, values[1:])


@pytest.mark.parametrize("form", ["sigmoid", "softmax"])
@every_loss
def test_ignored_voxels_might_as_well_not_be_there(name, form):
    logits, labels = batch()
    marked = labels.clone()
    marked[..., -1] = 255
    if form == "sigmoid":
        logits, labels, marked = logits[:, :1], labels.clamp(max=1), marked.where(marked == 255, marked.clamp(max=1))
    flags = {form: True, "to_onehot_y": form == "softmax"}
    x = logits.clone().requires_grad_()
    value = MAKE[name](ignore_index=255, **flags)(x, marked)
    value.backward()
    torch.testing.assert_close(value, MAKE[name](**flags)(logits[..., :-1], labels[..., :-1]))
    assert (x.grad[..., -1] == 0).all()
    assert (x.grad[..., :-1] != 0).any()


EXTREME = {
    "nothing": lambda y: torch.full_like(y, -1e4),
    "everything": lambda y: torch.full_like(y, 1e4),
    "right": lambda y: 2e4 * y - 1e4,
    "wrong": lambda y: 1e4 - 2e4 * y,
    "undecided": torch.zeros_like,
    "mixed": lambda y: torch.linspace(-1e4, 1e4, y.numel()).view(y.shape),
    "almost certain": lambda y: torch.linspace(-90, 90, y.numel()).view(y.shape),
}


@pytest.mark.parametrize("logits", EXTREME)
@every_loss
def test_extreme_logits_have_finite_values_and_gradients(name, logits):
    some = channels(batch()[1]).float()
    for y in (some, torch.zeros_like(some), torch.ones_like(some)):
        for flags in ({"sigmoid": True}, {"softmax": True}, {"other_act": torch.sigmoid}):
            x = EXTREME[logits](y).clone().requires_grad_()
            value = MAKE[name](**flags)(x, y)
            value.backward()
            assert value.isfinite()
            assert x.grad.isfinite().all()


@every_loss
def test_images_without_foreground_background_or_voxels(name):
    logits = batch()[0][:, :1].float()
    for target in (torch.zeros_like(logits), torch.ones_like(logits), torch.full_like(logits, 255)):
        x = logits.clone().requires_grad_()
        value = MAKE[name](sigmoid=True, ignore_index=255)(x, target)
        value.backward()
        assert value.isfinite()
        assert value >= 0
        assert x.grad.isfinite().all()
    x = torch.zeros(0, 1, 4, 4, requires_grad=True)
    value = MAKE[name](sigmoid=True)(x, x.detach())
    value.backward()
    assert float(value.detach()) == 0


@pytest.mark.parametrize("where", [0, 1])
@every_loss
def test_one_nan_makes_a_nan_loss(name, where):
    logits, labels = batch()
    logits = logits[:, :1].clone()
    logits.view(-1)[(labels.view(-1) == where).nonzero()[0]] = torch.nan
    assert MAKE[name](sigmoid=True)(logits, (labels == 1).double()).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_loss
def test_half_precision_is_computed_in_float32(name, dtype):
    logits, labels = batch((1, 2, 40, 40))
    half = logits.to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    loss = MAKE[name](softmax=True, to_onehot_y=True)
    values = loss(half, labels), loss(single, labels)
    for value in values:
        value.backward()
    assert values[0].dtype == torch.float32
    assert torch.equal(*values)
    torch.testing.assert_close(half.grad, single.grad.to(dtype))


@every_loss
def test_copies_compute_the_same_and_nothing_is_changed(name):
    logits, labels = batch()
    loss = MAKE[name](softmax=True, to_onehot_y=True, include_background=False, ignore_index=2)
    shown, arguments = repr(loss), (logits.clone(), labels.clone())
    value = loss(logits, labels)
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert torch.equal(other(logits, labels), value)
        assert repr(other) == shown
    assert repr(loss) == shown
    assert torch.equal(logits, arguments[0])
    assert torch.equal(labels, arguments[1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ours.WeightedCELoss(pos_weight=-1), ValueError, "`pos_weight`.*-1"),
        (lambda: ours.WeightedCELoss(neg_weight=float("inf")), ValueError, "`neg_weight`.*inf"),
        (lambda: ours.WeightedCELoss(pos_weight="1"), TypeError, "`pos_weight`.*'1'"),
        (lambda: ours.WeightedCELoss(pos_weight=True), TypeError, "`pos_weight`.*True"),
        (lambda: ours.FocalRegionLoss(gamma=-0.5), ValueError, "`gamma`.*-0.5"),
        (lambda: ours.FocalRegionLoss(alpha=1.5), ValueError, r"`alpha`.*\[0, 1\].*1.5"),
        (lambda: ours.DiceRegionLoss(smooth_nr=-1), ValueError, "`smooth_nr`.*-1"),
        (lambda: ours.GeneralizedDiceRegionLoss(w_type="cube"), ValueError, "`w_type`.*'cube'"),
        (lambda: ours.TverskyRegionLoss(beta=float("nan")), ValueError, "`beta`.*nan"),
        (lambda: ours.FocalTverskyLoss(gamma=0), ValueError, "`gamma`.*0"),
        (lambda: ours.ModifiedFocalTverskyLoss(gamma=1), ValueError, "`gamma`.*1"),
        (lambda: ours.SensitivitySpecificityLoss(sensitivity_ratio=2), ValueError, "`sensitivity_ratio`.*2"),
        (lambda: ours.DiceCERegionLoss(lambda_ce=-1), ValueError, "`lambda_ce`.*-1"),
        (lambda: ours.ComboLoss(alpha=1.1), ValueError, "`alpha`.*1.1"),
        (lambda: ours.ExponentialLogarithmicLoss(smooth=0), ValueError, "`smooth`.*0"),
        (lambda: ours.UnifiedFocalLoss(weight=-0.1), ValueError, "`weight`.*-0.1"),
        (lambda: ours.UnifiedFocalLoss(delta=2), ValueError, "`delta`.*2"),
        (lambda: ours.UnifiedFocalLoss(gamma=1), ValueError, "`gamma`.*1"),
    ],
)
def test_errors_name_the_argument_and_what_came(make, error, message):
    with pytest.raises(error, match=f"Expected {message}"):
        make()
