"""InstanceLoss at the edges: extreme logits, low precision, NaN, empty and tiny batches."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss

from monai_instance_loss.losses import InstanceLoss, InstanceLossTerms

ALL = dict.fromkeys(InstanceLossTerms._fields, 1.0)
ONLY = {name: {**dict.fromkeys(InstanceLossTerms._fields, 0.0), name: 1.0} for name in ALL}


def two_lesions(shape: tuple[int, ...] = (2, 1, 10, 11)) -> torch.Tensor:
    target = torch.zeros(shape)
    target[(0, 0, *[slice(1, 4)] * (len(shape) - 2))] = 1
    target[(0, 0, *[slice(6, 9)] * (len(shape) - 2))] = 1
    return target


TARGETS = {
    "lesions": two_lesions(),
    "no lesion": torch.zeros(2, 1, 10, 11),
    "all lesion": torch.ones(2, 1, 10, 11),
    "volume": two_lesions((2, 1, 10, 9, 9)),
    "one voxel": torch.ones(1, 1, 1, 1),
    "one empty voxel": torch.zeros(1, 1, 1, 1, 1),
    "slice": two_lesions()[..., None],
    "row": two_lesions()[:, :, 2:3],
    "lesion in the corner": torch.eye(5)[None, None] * torch.eye(5)[0],
}
LOGITS = {
    "nothing": lambda y: torch.full_like(y, -1e4),
    "everything": lambda y: torch.full_like(y, 1e4),
    "right": lambda y: 2e4 * y - 1e4,
    "wrong": lambda y: 1e4 - 2e4 * y,
    "undecided": torch.zeros_like,
    "mixed": lambda y: torch.linspace(-1e4, 1e4, y.numel()).view(y.shape),
}


@pytest.mark.parametrize("radius", [0, 3])
@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("target", TARGETS)
def test_values_and_gradients_are_finite(target, logits, radius):
    target = TARGETS[target]
    for options in ({}, {"average_over": "sample", "proximity": "mean", "exclude_other_tp": False}):
        x = LOGITS[logits](target).requires_grad_()
        loss = InstanceLoss(sigmoid=True, center_radius=radius, weights=ALL, **options)
        value = loss(x, target)
        value.backward()
        assert value.isfinite()
        assert value >= 0
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("spatial", [(6, 6), (6, 6, 6), (6, 1), (6, 6, 1)], ids=str)
def test_center_of_a_lone_lesion_in_the_first_voxel(naive, spatial, radius):
    # with radius 0 its box, from -1 up to and excluding 0, is empty
    target = torch.zeros(1, 1, *spatial)
    target[(0, 0, *[0] * len(spatial))] = 1
    for p in (0.8 * target, 0.05 * target, 0.0 * target):
        value = InstanceLoss(center_radius=radius).terms(p, target).center
        expected = naive.terms(p, target, naive.Options(threshold=0.1, center_radius=radius))["center"]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("p", "target", "expected"),
    [
        # nothing there and nothing predicted: Dice of two empty maps is 1
        (0.0, 0.0, {"instance": 0, "instance_pred": 0, "center": 0, "false": 0, "missed": 0, "proximity": 0}),
        # all missed: one lesion
        (0.0, 1.0, {"instance": 1, "instance_pred": 1, "false": 0, "missed": 1}),
        # one false component
        (1.0, 0.0, {"instance": 1, "instance_pred": 1, "center": 1, "false": 1, "missed": 0}),
        (1.0, 1.0, {"instance": 0, "instance_pred": 0, "center": 0, "false": 0, "missed": 0, "proximity": 0}),
    ],
)
def test_degenerate_batches_have_documented_values(p, target, expected):
    shape = (2, 1, 9, 9)
    terms = InstanceLoss().terms(torch.full(shape, p), torch.full(shape, target))
    for name, value in expected.items():
        assert float(getattr(terms, name)) == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (0, 3, 4, 4, 4), (2, 1, 0, 4)], ids=str)
@pytest.mark.parametrize("flags", [{"sigmoid": True}, {}, {"target_is_instances": True}], ids=str)
def test_a_batch_of_nothing_is_zero_with_graph(shape, flags):
    x = torch.zeros(shape, requires_grad=True)
    loss = InstanceLoss(weights=ALL, **flags)
    value = loss(x, torch.zeros(shape))
    assert value.shape == ()
    assert float(value.detach()) == 0
    value.backward()
    assert x.grad.shape == shape
    assert all(term.isfinite() and term.requires_grad for term in loss.terms(x, torch.zeros(shape)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(soft_batch, dtype):
    logits, target = soft_batch((2, 1, 14, 14), 1)
    half = logits.to(dtype).requires_grad_()
    single = half.detach().float().requires_grad_()
    loss = InstanceLoss(sigmoid=True, weights={**ALL, "pixel": 0})
    values = loss(half, target), loss(single, target)
    for value in values:
        value.backward()
    assert values[0].dtype == torch.float32
    assert torch.equal(*values)
    assert half.grad.dtype == dtype
    torch.testing.assert_close(half.grad, single.grad.to(dtype))


@pytest.mark.parametrize(("dtype", "logit"), [(torch.bfloat16, -2.203125), (torch.float16, -2.197265625)])
def test_the_threshold_is_not_rounded_to_half_precision(dtype, logit):
    # sigmoid(-2.203125) = 0.0995 and sigmoid(-2.197266) = 0.09999 are below 0.1, though the nearest halves of
    # log(0.1 / 0.9) = -2.197225 are these very numbers
    target = torch.zeros(1, 1, 6, 6)
    half = torch.full((1, 1, 6, 6), -9.0, dtype=dtype)
    half[0, 0, 2, 2] = logit
    assert torch.sigmoid(half.float()).max() < 0.1
    loss = InstanceLoss(sigmoid=True)
    assert float(loss.terms(half.float(), target).false) == 0
    assert float(loss.terms(half, target).false) == 0


def test_under_autocast(soft_batch):
    logits, target = soft_batch((2, 1, 14, 14), 1, dtype=torch.float32)
    loss = InstanceLoss(sigmoid=True, weights=ALL)
    for x in (logits, logits.bfloat16()):
        x.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(x, target)
            terms = loss.terms(x, target)
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()
        for inside, outside in zip(terms[1:], loss.terms(x, target)[1:], strict=True):
            torch.testing.assert_close(inside, outside)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["sigmoid", "softmax", "probability"])
def test_extreme_logits_in_any_precision(dtype, form):
    target = two_lesions((1, 2, 10, 11))
    target[:, 1] = 1 - target[:, 0]
    for logits in (1e4 - 2e4 * target, 2e4 * target - 1e4):
        x = logits.to(dtype)
        x = (torch.sigmoid(x) if form == "probability" else x).requires_grad_()
        flags = {} if form == "probability" else {form: True}
        value = InstanceLoss(weights={**ALL, "pixel": 0}, **flags)(x, target)
        value.backward()
        assert value.isfinite()
        assert x.grad.isfinite().all()


# NaN: a loss that a GradScaler or a NaN check can see, never an exception

NAN_AT = {"background": (0, 0, 5, 0), "lesion": (0, 0, 2, 2), "prediction": (1, 0, 8, 8), "first": (0, 0, 0, 0)}


def noisy_logits() -> torch.Tensor:
    logits = torch.full((2, 1, 10, 11), -6.0)
    logits[0, 0, 1:4, 1:5] = 4
    logits[1, 0, 7:9, 7:9] = 4
    return logits


@pytest.mark.parametrize("where", NAN_AT)
@pytest.mark.parametrize("name", ONLY)
@pytest.mark.parametrize("flags", [{"sigmoid": True}, {"min_instance_size": 2}, {"average_over": "sample"}], ids=str)
def test_one_nan_makes_a_nan_loss_with_a_nan_gradient(name, where, flags):
    logits = noisy_logits() if "sigmoid" in flags else torch.sigmoid(noisy_logits())
    logits[NAN_AT[where]] = torch.nan
    x = logits.requires_grad_()
    value = InstanceLoss(weights=ONLY[name], pixel_loss=DiceLoss(sigmoid="sigmoid" in flags), **flags)(x, two_lesions())
    value.backward()
    assert value.isnan()
    assert not x.grad.isfinite().all()


@pytest.mark.parametrize("name", ONLY)
def test_all_nan_and_nan_in_a_softmax(name):
    for flags, channels in (({"sigmoid": True}, 1), ({"softmax": True}, 2)):
        logits = noisy_logits().expand(-1, channels, -1, -1).clone()
        for bad in (logits * torch.nan, logits.index_put([torch.tensor(0)] * 4, torch.tensor(torch.nan))):
            x = bad.requires_grad_()
            value = InstanceLoss(weights=ONLY[name], **flags)(x, two_lesions().expand(-1, channels, -1, -1))
            value.backward()
            assert value.isnan()
            assert not x.grad.isfinite().all()


@pytest.mark.parametrize("name", ONLY)
def test_a_grad_scaler_skips_the_step(name):
    weight = torch.nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    logits = noisy_logits()
    logits[0, 0, 9, 0] = torch.nan
    loss = InstanceLoss(sigmoid=True, weights=ONLY[name])
    scaler.scale(loss(logits * weight, two_lesions())).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.item() == 1
    assert scaler.get_scale() == 1


@pytest.mark.parametrize("name", ["false", "missed"])
def test_nan_in_an_instance_too_small_to_be_scored(name):
    # no instance is counted, and so no number that the NaN would be in
    logits = torch.full((1, 1, 5, 6), -9.0)
    logits[0, 0, 2, 3] = torch.nan
    logits.requires_grad_()
    value = InstanceLoss(sigmoid=True, weights=ONLY[name], min_instance_size=1)(logits, torch.zeros(1, 1, 5, 6))
    assert value.isnan()
    value.backward()
    assert logits.grad.isnan().any()


def test_nan_with_criteria_that_are_any_callable():
    logits = noisy_logits()
    logits[1, 0, 0, 0] = torch.nan
    dice = DiceLoss()
    loss = InstanceLoss(
        sigmoid=True, weights=ALL, instance_loss=lambda a, b: dice(a, b), center_loss=lambda a, b: dice(a, b)
    )
    assert loss(logits, two_lesions()).isnan()


@pytest.mark.parametrize("faint", [-15.0, -30.0, -60.0])
def test_a_lesion_that_is_all_but_denied_still_has_a_finite_gradient(faint):
    target = two_lesions()
    x = (20 * target - 10).index_fill(0, torch.tensor([1]), -10.0)
    x[0, 0, 1:4, 1:4] = faint
    x.requires_grad_()
    InstanceLoss(sigmoid=True, weights=ALL)(x, target).backward()
    assert x.grad.isfinite().all()
    assert (x.grad[0, 0, 1:4, 1:4] < 0).all()
