"""InstanceLoss against the naive oracle, on soft predictions; its arguments, and what it leaves alone."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings

import pytest
import torch
from monai.data import MetaTensor
from monai.losses import DiceCELoss, DiceLoss, TverskyLoss

from monai_instance_loss import losses
from monai_instance_loss.instances import label_instances
from monai_instance_loss.losses import (
    InstanceLoss,
    InstanceLossTerms,
    InstanceLossWeights,
    PixelInstanceTerms,
    PixelInstanceWeights,
)

TERMS = ("instance", "instance_pred", "center", "false", "missed", "proximity")
OPTIONS = {
    "default": {},
    "published": {"threshold": 0.5, "average_over": "sample", "count_as_rate": False},
    "with other true positives": {"exclude_other_tp": False, "center_radius": 1},
    "sums in samples": {"average_over": "sample", "instance_reduction": "sum", "threshold": 0.3},
    "sum of instances": {"reduction": "sum", "proximity": "mean", "connectivity": 1},
    "sum of samples": {"reduction": "sum", "average_over": "sample", "count_as_rate": False},
    "generalised IoU": {"box_distance": "giou", "proximity": "mean"},
    "published with generalised IoU": {"box_distance": "giou", "threshold": 0.3},
    "mean proximity": {"proximity": "mean", "average_over": "sample", "threshold": 0.5, "center_radius": 5},
    "large only": {"min_instance_size": 3, "count_as_rate": False, "center_radius": 2},
}
SHAPES = [(1, 1, 16, 15), (3, 1, 14, 18), (2, 1, 9, 11, 8)]


def check_same(actual: InstanceLossTerms, expected: dict[str, torch.Tensor]) -> None:
    for name in TERMS:
        value, oracle = float(getattr(actual, name).detach()), float(expected[name].detach())
        assert value == pytest.approx(oracle, rel=2e-6, abs=2e-6), name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS)
def test_soft_predictions_score_as_the_oracle_says(naive, soft_batch, shape, options):
    options = {"threshold": 0.1, **OPTIONS[options]}
    for seed in range(3):
        logits, target = soft_batch(shape, seed)
        terms = InstanceLoss(sigmoid=True, **options).terms(logits, target)
        check_same(terms, naive.terms(torch.sigmoid(logits), target, naive.Options(**options)))


@pytest.mark.parametrize("average_over", ["instance", "sample"])
def test_classes_that_overlap_are_averaged_over_those_present(naive, soft_batch, average_over):
    logits, target = soft_batch((2, 4, 13, 14), 3)
    # class 1 has a target only, class 2 a prediction only, class 3 nothing, anywhere
    logits[:, 1], target[:, 2], logits[:, 3], target[:, 3] = -9, 0, -9, 0
    loss = InstanceLoss(sigmoid=True, average_over=average_over)
    options = naive.Options(threshold=0.1, average_over=average_over)
    check_same(loss.terms(logits, target), naive.terms(torch.sigmoid(logits), target, options))
    binary = [loss.terms(logits[:, c : c + 1], target[:, c : c + 1]) for c in range(3)]
    for name in TERMS:
        mean = sum(getattr(terms, name) for terms in binary) / 3
        torch.testing.assert_close(getattr(loss.terms(logits, target), name), mean)


@pytest.mark.parametrize("include_background", [True, False])
@pytest.mark.parametrize("spatial", [(12, 13), (7, 8, 9)], ids=str)
def test_softmax_over_labels_and_one_hot_targets(naive, soft_batch, include_background, spatial):
    logits, _ = soft_batch((2, 3, *spatial), 4)
    labels = soft_batch((2, 3, *spatial), 5)[0].argmax(1, keepdim=True)
    one_hot = torch.cat([labels == k for k in range(3)], 1).double()
    first = 0 if include_background else 1
    expected = naive.terms(torch.softmax(logits, 1)[:, first:], one_hot[:, first:], naive.Options(threshold=0.3))
    flags = {"softmax": True, "include_background": include_background, "threshold": 0.3}
    check_same(InstanceLoss(to_onehot_y=True, **flags).terms(logits, labels), expected)
    check_same(InstanceLoss(**flags).terms(logits, one_hot), expected)
    del flags["softmax"]
    check_same(InstanceLoss(**flags).terms(logits.softmax(1), one_hot), expected)


def test_sigmoid_with_labels_and_without_background(naive, soft_batch):
    logits, _ = soft_batch((2, 3, 12, 12), 6)
    labels = soft_batch((2, 3, 12, 12), 7)[0].argmax(1, keepdim=True)
    one_hot = torch.cat([labels == k for k in range(3)], 1)
    loss = InstanceLoss(sigmoid=True, to_onehot_y=True, include_background=False)
    expected = naive.terms(torch.sigmoid(logits)[:, 1:], one_hot[:, 1:], naive.Options(threshold=0.1))
    check_same(loss.terms(logits, labels), expected)


def test_other_activation(naive, soft_batch):
    logits, target = soft_batch((1, 1, 12, 12), 8)
    terms = InstanceLoss(other_act=lambda x: torch.sigmoid(2 * x)).terms(logits, target)
    check_same(terms, naive.terms(torch.sigmoid(2 * logits), target, naive.Options(threshold=0.1)))


# any callable is called on masked volumes; DiceLoss must give that number without being called
def focal(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((p - y).abs() ** 1.5).sum() / (y.sum() + 1) + 0.1


CRITERIA = {
    "Dice": DiceLoss(),
    "Jaccard": DiceLoss(jaccard=True, smooth_nr=0.3, smooth_dr=0.7),
    "squared": DiceLoss(squared_pred=True, batch=True),
    "squared Jaccard": DiceLoss(squared_pred=True, jaccard=True, smooth_nr=0, smooth_dr=1e-3),
    "Tversky": TverskyLoss(alpha=0.7, beta=0.3),
    "function": focal,
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("exclude_other_tp", [True, False])
def test_criteria_score_regions_as_on_masked_volumes(naive, soft_batch, criterion, exclude_other_tp):
    logits, target = soft_batch((2, 1, 13, 12), 9)
    # a sample without target and one without prediction, for the fallback
    logits, target = torch.cat([logits, logits]), torch.cat([target, target])
    target[1], logits[2] = 0, logits[2] - 12
    loss = CRITERIA[criterion]

    def on_volume(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(p[None, None], y[None, None])

    options = {"threshold": 0.5, "exclude_other_tp": exclude_other_tp}
    oracle = naive.Options(
        instance_loss=on_volume,
        center_loss=on_volume,
        presence_scores_false=type(loss) in (DiceLoss, TverskyLoss),
        **options,
    )
    x1, x2 = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    terms = InstanceLoss(sigmoid=True, instance_loss=loss, center_loss=loss, **options).terms(x1, target)
    expected = naive.terms(torch.sigmoid(x2), target, oracle)
    check_same(terms, expected)
    for name in TERMS:
        ours, theirs = (
            torch.autograd.grad(value, x, retain_graph=True)[0]
            for value, x in ((getattr(terms, name), x1), (expected[name], x2))
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_a_subclass_of_dice_is_called_rather_than_replaced():
    class Twice(DiceLoss):
        def forward(self, input, target):
            return 2 * super().forward(input, target)

    target = torch.zeros(1, 1, 6, 6)
    target[0, 0, 1:3, 1:3] = 1
    p = 0.8 * target
    twice = InstanceLoss(instance_loss=Twice()).terms(p, target)
    torch.testing.assert_close(twice.instance, 2 * InstanceLoss().terms(p, target).instance)


# the total, its weights, and what is not asked for


def test_total_is_the_weighted_sum_of_terms(soft_batch):
    logits, target = soft_batch((2, 1, 14, 14), 1)
    weights = dict(zip(InstanceLossTerms._fields, (0.5, 2, 0.25, 3, 0.1, 7, 1.5), strict=True))
    loss = InstanceLoss(sigmoid=True, weights=weights)
    terms = loss.terms(logits, target)._asdict()
    torch.testing.assert_close(loss(logits, target), sum(weights[name] * value for name, value in terms.items()))
    for name, value in terms.items():
        alone = InstanceLoss(sigmoid=True, weights={**dict.fromkeys(weights, 0), name: 1})
        torch.testing.assert_close(alone(logits, target), value)


def test_terms_not_named_keep_their_default_weight(soft_batch):
    logits, target = soft_batch((2, 1, 14, 14), 1)
    terms = InstanceLoss(sigmoid=True).terms(logits, target)
    total = InstanceLoss(sigmoid=True, weights={"missed": 4})(logits, target)
    both_sides = 0.5 * terms.instance + 0.5 * terms.instance_pred
    torch.testing.assert_close(total, terms.pixel + both_sides + terms.false + 4 * terms.missed)
    default = InstanceLoss(sigmoid=True)(logits, target)
    torch.testing.assert_close(default, terms.pixel + both_sides + terms.false + terms.missed)


class Spy(torch.nn.Module):
    def __init__(self, loss: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.loss = loss or DiceLoss(sigmoid=True)
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls.append((input, target))
        return self.loss(input, target)


@pytest.mark.parametrize(
    ("weights", "called"),
    [
        ({"pixel": 1}, "pixel_loss"),
        ({"instance": 1}, "instance_loss"),
        ({"instance_pred": 1}, "instance_loss"),
        ({"proximity": 1}, "instance_loss"),
        ({"center": 1}, "center_loss"),
        ({"false": 1, "missed": 1}, None),
        ({}, None),
    ],
)
def test_terms_of_weight_zero_are_not_computed(soft_batch, weights, called):
    logits, target = soft_batch((1, 1, 12, 12), 2)
    spies = {"pixel_loss": Spy(), "instance_loss": Spy(DiceLoss()), "center_loss": Spy(DiceLoss())}
    zeros = dict.fromkeys(InstanceLossTerms._fields, 0)
    logits.requires_grad_()
    InstanceLoss(sigmoid=True, weights={**zeros, **weights}, **spies)(logits, target).backward()
    assert [name for name, spy in spies.items() if spy.calls] == ([called] if called else [])


def test_pixel_loss_gets_input_and_target_untouched(soft_batch):
    logits, target = soft_batch((2, 1, 12, 12), 2)
    spy = Spy()
    value = InstanceLoss(sigmoid=True, pixel_loss=spy).terms(logits, target).pixel
    ((seen_input, seen_target),) = spy.calls
    assert seen_input is logits
    assert seen_target is target
    torch.testing.assert_close(value, DiceLoss(sigmoid=True)(logits, target))


def test_pixel_loss_gets_the_binary_mask_of_an_instance_map(soft_batch):
    logits, target = soft_batch((2, 1, 12, 12), 2)
    spy = Spy()
    InstanceLoss(sigmoid=True, pixel_loss=spy, target_is_instances=True)(logits, label_instances(target).labels)
    assert torch.equal(spy.calls[0][1], target)


def test_class_labels_of_one_channel_warn_as_in_monai(soft_batch):
    logits, target = soft_batch((1, 1, 12, 12), 2)
    expected = InstanceLoss(sigmoid=True)(logits, target)
    for flag in ({"to_onehot_y": True}, {"include_background": False}):
        loss = InstanceLoss(sigmoid=True, pixel_loss=DiceCELoss(sigmoid=True), **flag)
        with pytest.warns(UserWarning, match=next(iter(flag))):
            assert loss(logits, target) == expected


# nothing is changed, nothing is random


def test_calls_change_neither_arguments_nor_configuration(soft_batch):
    logits, target = soft_batch((2, 1, 14, 14), 1)
    weights = {"center": 1.0, "missed": 1.0, "proximity": 1.0, "false": 1.0}
    loss = InstanceLoss(sigmoid=True, weights=weights, ignore_index=2)
    target[0, 0, :2] = 2
    state, shown = copy.deepcopy(loss.state_dict()), repr(loss)
    config = {name: repr(value) for name, value in vars(loss).items() if name != "last_terms"}
    before = logits.clone(), target.clone(), dict(weights)
    versions = logits._version, target._version
    loss(logits, target)
    loss.terms(logits[:1, :, :9], target[:1, :, :9])
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])
    assert (logits._version, target._version) == versions
    assert weights == before[2]
    assert loss.state_dict() == state
    assert repr(loss) == shown
    assert {name: repr(value) for name, value in vars(loss).items() if name != "last_terms"} == config


def test_weights_given_are_copied():
    weights = {"missed": 2.0}
    loss = InstanceLoss(weights=weights)
    weights["missed"] = 5.0
    assert loss.weights["missed"] == 2
    assert InstanceLoss().weights["missed"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twice_the_same_bits(soft_batch, dtype):
    logits, target = soft_batch((2, 1, 9, 11, 8), 3, dtype=dtype)
    loss = InstanceLoss(sigmoid=True, weights=dict.fromkeys(InstanceLossTerms._fields, 1))
    results = []
    for _ in range(2):
        x = logits.clone().requires_grad_()
        value = loss(x, target)
        value.backward()
        results.append((value.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(
    "remake", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))], ids=["copy", "pickle"]
)
def test_copies_and_pickles_give_the_same_loss(soft_batch, remake):
    logits, target = soft_batch((2, 1, 14, 14), 1)
    loss = InstanceLoss(sigmoid=True, weights={"center": 2}, threshold=0.3, center_loss=TverskyLoss())
    again = remake(loss)
    assert repr(again) == repr(loss)
    assert torch.equal(again(logits, target), loss(logits, target))


def test_repr_tells_what_was_asked_for():
    shown = repr(InstanceLoss(softmax=True, threshold=0.25, center_radius=7, weights={"missed": 0.125}))
    for part in ("InstanceLoss", "threshold=0.25", "center_radius=7", "'missed': 0.125", "softmax=True"):
        assert part in shown


def test_meta_tensors(soft_batch):
    logits, target = soft_batch((2, 1, 14, 14), 1, dtype=torch.float32)
    loss = InstanceLoss(sigmoid=True, weights=dict.fromkeys(InstanceLossTerms._fields, 1))
    meta = MetaTensor(logits.clone()).requires_grad_()
    value = loss(meta, MetaTensor(target))
    value.backward()
    plain = logits.clone().requires_grad_()
    expected = loss(plain, target)
    expected.backward()
    assert float(value.detach()) == float(expected.detach())
    assert torch.equal(meta.grad.as_subclass(torch.Tensor), plain.grad)
    assert all(type(term) is torch.Tensor for term in loss.terms(meta, MetaTensor(target)))


def test_input_without_gradient_and_module_moves(soft_batch):
    logits, target = soft_batch((1, 1, 12, 12), 1)
    loss = InstanceLoss(sigmoid=True).to("cpu").double().train().eval()
    with torch.no_grad():
        assert not loss(logits, target).requires_grad
    assert torch.equal(loss(logits, target), InstanceLoss(sigmoid=True)(logits, target))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64])
def test_targets_of_any_dtype(soft_batch, dtype):
    logits, target = soft_batch((1, 1, 12, 12), 1, dtype=torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        terms = InstanceLoss(sigmoid=True).terms(logits, target.to(dtype))
    # the pixel loss is MONAI's, and computes in the target's precision
    for value, expected in zip(terms[1:], InstanceLoss(sigmoid=True).terms(logits, target)[1:], strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize(
    ("weights", "terms"), [(InstanceLossWeights, InstanceLossTerms), (PixelInstanceWeights, PixelInstanceTerms)]
)
def test_a_type_checker_knows_the_weight_of_every_term(weights, terms):
    assert tuple(weights.__annotations__) == terms._fields


@pytest.mark.parametrize("name", ["InstanceLoss", "InstanceCenterLoss", "ICILoss", "BlobLoss", "CCLoss", "BiCCLoss"])
def test_signatures_are_written_out_and_a_typo_names_the_loss_that_was_called(name):
    kind = getattr(losses, name)
    kinds = {parameter.kind for parameter in inspect.signature(kind).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError, match="unexpected keyword argument 'thresold'"):
        kind(thresold=0.5)
