from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from monai.losses import (
    DiceCELoss,
    DiceFocalLoss,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
    MaskedLoss,
    TverskyLoss,
)
from torch.nn import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss

from monai_instance_loss.losses import DiceRegionLoss, InstanceLoss, RegionLoss
from monai_instance_loss.losses import pixel as ours
from monai_instance_loss.losses.pixel.adapters import as_criterion

Tensor = torch.Tensor
# the value of a soft map p against the target y, p being seen inside the region only
Score = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A criterion, its value on masked volumes, and on a false component where that is not the presence."""

    loss: object
    score: Score
    score_false: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda p, region, presence: presence


def own(score: Score) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda p, region, presence: score(p, torch.zeros_like(region), region)


def on_probabilities(loss: Callable[[Tensor, Tensor], Tensor]) -> Case:
    return Case(loss, lambda p, y, region: loss((p * region)[None, None], y[None, None].to(p.dtype)).reshape(()))


def masked_logits(p: Tensor, region: Tensor) -> Tensor:
    return torch.where(region, torch.logit(p), -1e4)[None, None]


def on_logits(loss: Callable[[Tensor, Tensor], Tensor]) -> Case:
    # cross-entropy of a target voxel that the region lacks would be infinite
    def score(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
        return loss(masked_logits(p, region), (y & region)[None, None].to(p.dtype))

    return Case(loss, score, own(score))


def two_class(loss: CrossEntropyLoss) -> Case:
    def score(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
        logits = masked_logits(p, region)
        return loss(torch.cat([torch.zeros_like(logits), logits], 1), (y & region)[None].long())

    return Case(loss, score, own(score))


def dice_and(loss: object, dice: DiceLoss, weights: tuple[float, float], other: Case) -> Case:
    first, second = on_probabilities(dice), other

    def score(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
        return weights[0] * first.score(p, y, region) + weights[1] * second.score(p, y, region)

    def score_false(p: Tensor, region: Tensor, presence: Tensor) -> Tensor:
        return weights[0] * presence + weights[1] * second.score_false(p, region, presence)

    return Case(loss, score, score_false)


ADAPTED = {
    "dice": on_probabilities(DiceLoss(smooth_nr=0, smooth_dr=1e-3, batch=True, weight=[2.0])),
    "jaccard": on_probabilities(DiceLoss(jaccard=True, squared_pred=True, reduction="none")),
    "generalised": on_probabilities(GeneralizedDiceLoss(smooth_nr=1e-2, smooth_dr=2e-2)),
    "generalised simple": on_probabilities(GeneralizedDiceLoss(w_type="simple", reduction="sum")),
    "generalised uniform": on_probabilities(GeneralizedDiceLoss(w_type="uniform")),
    "tversky": on_probabilities(TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=1e-2)),
    "bce": on_logits(BCEWithLogitsLoss()),
    "bce weighted": on_logits(BCEWithLogitsLoss(weight=torch.tensor(0.5), pos_weight=torch.tensor([3.0]))),
    "bce sum": on_logits(BCEWithLogitsLoss(pos_weight=torch.tensor(3.0), reduction="sum")),
    "focal": on_logits(FocalLoss()),
    "focal weighted": on_logits(FocalLoss(gamma=1.5, alpha=0.25, weight=3.0, reduction="sum", ignore_index=255)),
    "ce": two_class(CrossEntropyLoss()),
    "ce weighted": two_class(CrossEntropyLoss(weight=torch.tensor([0.5, 3.0], dtype=torch.float64))),
    "ce sum": two_class(CrossEntropyLoss(weight=torch.tensor([0.5, 3.0], dtype=torch.float64), reduction="sum")),
    "dice ce": dice_and(
        DiceCELoss(sigmoid=True, jaccard=True, weight=torch.tensor([2.0]), lambda_dice=0.5, lambda_ce=1.5),
        DiceLoss(jaccard=True),
        (0.5, 1.5),
        on_logits(BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))),
    ),
    "dice ce sum": dice_and(
        DiceCELoss(sigmoid=True, reduction="sum"), DiceLoss(), (1, 1), on_logits(BCEWithLogitsLoss(reduction="sum"))
    ),
    "dice focal": dice_and(
        DiceFocalLoss(sigmoid=True, gamma=3, alpha=0.4, weight=2.0, squared_pred=True, lambda_focal=0.5),
        DiceLoss(squared_pred=True),
        (1, 0.5),
        on_logits(FocalLoss(gamma=3, alpha=0.4, weight=2.0)),
    ),
}


# our criteria as plain formulas on masked volumes: (TP, FP, FN) and voxelwise means

EPS = 1e-5


def counts(p: Tensor, y: Tensor, region: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q = p * region
    return (q * y).sum(), (q * ~y).sum(), ((1 - q) * y).sum(), ((1 - q) * ~y).sum()


def tversky(p: Tensor, y: Tensor, region: Tensor, alpha: float, beta: float, exponent: float = 1) -> Tensor:
    tp, fp, fn, _ = counts(p, y, region)
    return (1 - (tp + EPS) / (tp + alpha * fp + beta * fn + EPS)) ** exponent


def background(p: Tensor, y: Tensor, region: Tensor, delta: float, exponent: float) -> Tensor:
    _, fp, fn, tn = counts(p, y, region)
    return (1 - (tn + EPS) / (tn + delta * fp + (1 - delta) * fn + EPS)) ** exponent


def dice(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    tp, fp, fn, _ = counts(p, y, region)
    return 1 - (2 * tp + EPS) / (2 * tp + fp + fn + EPS)


def jaccard(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    tp, fp, fn, _ = counts(p, y, region)
    return 1 - (2 * tp + EPS) / (2 * (tp + fp + fn) + EPS)


def voxelwise(
    p: Tensor, y: Tensor, region: Tensor, on: Callable[[Tensor], Tensor], off: Callable[[Tensor], Tensor]
) -> Tensor:
    return (on(p[y & region]).sum() + off(p[region & ~y]).sum()) / p.numel()


def weighted_ce(p: Tensor, y: Tensor, region: Tensor, pos: float, neg: float, power: float = 1) -> Tensor:
    return voxelwise(p, y, region, lambda v: pos * (-v.log()) ** power, lambda v: neg * (-torch.log1p(-v)) ** power)


def balanced_ce(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    share = y.double().mean()
    return weighted_ce(p, y, region, float(1 - share), float(share))


def focal(p: Tensor, y: Tensor, region: Tensor, gamma: float, alpha: float, asymmetric: bool) -> Tensor:
    def on(v: Tensor) -> Tensor:
        return -alpha * (1 if asymmetric else (1 - v) ** gamma) * v.log()

    return voxelwise(p, y, region, on, lambda v: -(1 - alpha) * v**gamma * torch.log1p(-v))


def squared(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    q = p * region
    return 0.3 * ((1 - q)[y] ** 2).sum() / max(1, int(y.sum())) + 0.7 * (q[~y] ** 2).sum() / int((~y).sum())


def log_dice(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    tp, fp, fn, _ = counts(p, y, region)
    return (-torch.log((2 * tp + 1) / (2 * tp + fp + fn + 1))) ** 0.3


def pair(p: Tensor, y: Tensor, region: Tensor) -> Tensor:
    return (tversky(p, y, region, 0.4, 0.6, 0.5) + background(p, y, region, 0.6, 1)) / 2


def pair_false(p: Tensor, region: Tensor, presence: Tensor) -> Tensor:
    return (presence + background(p, torch.zeros_like(region), region, 0.6, 1)) / 2


def summed(*parts: tuple[float, Case]) -> Case:
    return Case(
        None,
        lambda *arguments: sum(weight * part.score(*arguments) for weight, part in parts),
        lambda *arguments: sum(weight * part.score_false(*arguments) for weight, part in parts),
    )


def voxel_case(score: Callable[..., Tensor], **options: object) -> Case:
    return Case(None, partial(score, **options), own(partial(score, **options)))


DICE, PAIR = Case(None, dice), Case(None, pair, pair_false)
CE = voxel_case(weighted_ce, pos=1, neg=1)
FOCAL = voxel_case(focal, gamma=0.5, alpha=0.6, asymmetric=True)
OURS = {
    ours.DiceRegionLoss(): DICE,
    ours.JaccardLoss(): Case(None, jaccard),
    ours.LogCoshDiceLoss(): Case(
        None, lambda *arguments: dice(*arguments).cosh().log(), lambda p, region, presence: presence.cosh().log()
    ),
    ours.GeneralizedDiceRegionLoss(w_type="uniform"): DICE,
    ours.TverskyRegionLoss(alpha=0.3, beta=0.7): Case(None, partial(tversky, alpha=0.3, beta=0.7)),
    ours.FocalTverskyLoss(): Case(None, partial(tversky, alpha=0.3, beta=0.7, exponent=0.75)),
    ours.ModifiedFocalTverskyLoss(asymmetric=True): PAIR,
    ours.SensitivitySpecificityLoss(sensitivity_ratio=0.3): voxel_case(squared),
    ours.BinaryCELoss(): CE,
    ours.WeightedCELoss(pos_weight=3, neg_weight=0.5): voxel_case(weighted_ce, pos=3, neg=0.5),
    ours.BalancedCELoss(): Case(None, balanced_ce),
    ours.FocalRegionLoss(gamma=2, alpha=0.25): voxel_case(focal, gamma=2, alpha=0.25, asymmetric=False),
    ours.DiceCERegionLoss(lambda_dice=0.5, lambda_ce=2): summed((0.5, DICE), (2, CE)),
    ours.ComboLoss(alpha=0.3, beta=0.6): summed((0.3, voxel_case(weighted_ce, pos=0.6, neg=0.4)), (0.7, DICE)),
    ours.ExponentialLogarithmicLoss(pos_weight=2): summed(
        (0.8, voxel_case(log_dice)), (0.2, voxel_case(weighted_ce, pos=2, neg=1, power=0.3))
    ),
    ours.UnifiedFocalLoss(weight=0.3): summed((0.3, FOCAL), (0.7, PAIR)),
}
CASES = ADAPTED | {type(loss).__name__: Case(loss, case.score, case.score_false) for loss, case in OURS.items()}


def naive_means(components, p: Tensor, target: Tensor, case: Case, exclude_other_tp: bool) -> tuple[Tensor, Tensor]:
    """Means of the criterion over true and over predicted instances (B, 1, *spatial), one masked volume each."""
    true_values, pred_values = [], []
    for soft, y in zip(p[:, 0], target[:, 0].bool(), strict=True):
        true = [torch.from_numpy(mask) for mask in components(y.numpy(), None)]
        pred = [torch.from_numpy(mask) for mask in components((soft >= 0.1).numpy(), None)]
        everywhere = torch.ones_like(y)
        for lesion in true:
            region = lesion.clone()
            for component in pred:
                if (component & lesion).any():
                    region |= component & ~y if exclude_other_tp else component
            true_values.append(case.score(soft, lesion, region))
        for component in pred:
            touched = [lesion for lesion in true if (component & lesion).any()]
            if touched:
                pred_values.append(case.score(soft, torch.stack(touched).any(0), component))
            else:
                inside = soft[component]
                pred_values.append(case.score_false(soft, component, (inside**2).sum() / inside.sum()))
        true_values += [] if true else [case.score(soft, y, everywhere)]
        pred_values += [] if pred else [case.score(soft, y, everywhere)]
    return torch.stack(true_values).mean(), torch.stack(pred_values).mean()


@pytest.fixture(scope="module")
def batches(soft_batch):
    flat, flat_target = soft_batch((4, 1, 13, 12), 1, foreground=0.15)
    # a sample without target, one without prediction
    flat_target[1] = 0
    flat[2] = -3 + 0.1 * flat[2].tanh()
    return (flat, flat_target), soft_batch((1, 1, 8, 7, 7), 2)


@pytest.mark.parametrize("exclude_other_tp", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_a_criterion_is_itself_on_masked_volumes(naive, batches, name, exclude_other_tp):
    case = CASES[name]
    loss = InstanceLoss(sigmoid=True, threshold=0.1, instance_loss=case.loss, exclude_other_tp=exclude_other_tp)
    assert isinstance(loss.instance_loss, RegionLoss)
    for logits, target in batches:
        terms = loss.terms(logits, target)
        expected = naive_means(naive.components, torch.sigmoid(logits), target, case, exclude_other_tp)
        # MONAI's focal loss is computed in float32
        tolerance = {"rtol": 1e-5, "atol": 1e-6} if "focal" in name else {}
        for value, reference in zip((terms.instance, terms.instance_pred), expected, strict=True):
            torch.testing.assert_close(value, reference.to(value.dtype), **tolerance)


@pytest.mark.parametrize("name", ["dice ce", "focal", "tversky"])
def test_adapted_and_called_on_softmax_channels(batches, name):
    # the logit of a class against the rest is the difference of two
    logits, target = batches[0]
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    both = torch.cat([1 - target, target], 1)
    loss = partial(InstanceLoss, threshold=0.1, instance_loss=ADAPTED[name].loss)
    single = loss(sigmoid=True).terms(logits, target)
    exclusive = loss(softmax=True, include_background=False).terms(two, both)
    torch.testing.assert_close(exclusive.instance, single.instance)
    torch.testing.assert_close(exclusive.instance_pred, single.instance_pred)


@pytest.mark.parametrize("name", ["tversky", "generalised simple"])
def test_the_fast_path_equals_the_slow_one(batches, name):
    loss = ADAPTED[name].loss
    fast = InstanceLoss(sigmoid=True, instance_loss=loss, center_loss=loss)
    # a function hides what it is
    slow = InstanceLoss(sigmoid=True, instance_loss=lambda p, y: loss(p, y), center_loss=lambda p, y: loss(p, y))
    for logits, target in batches:
        fast_terms, slow_terms = fast.terms(logits, target), slow.terms(logits, target)
        torch.testing.assert_close(fast_terms.instance, slow_terms.instance)
        if "generalised" not in name:
            torch.testing.assert_close(fast_terms.center, slow_terms.center)


def test_a_compound_without_flags_sees_the_probability_and_the_logit(batches):
    logits, target = batches[0]
    with_flag, without = (
        InstanceLoss(sigmoid=True, instance_loss=loss).terms(logits, target).instance
        for loss in (DiceCELoss(sigmoid=True), DiceCELoss())
    )
    assert torch.equal(with_flag, without)


def test_adapting_changes_nothing_about_the_loss():
    for case in ADAPTED.values():
        before = copy.deepcopy(case.loss)
        as_criterion("loss", case.loss)
        assert repr(before) == repr(case.loss)
        assert {k: str(v) for k, v in vars(before).items()} == {k: str(v) for k, v in vars(case.loss).items()}


def test_dice_is_taken_for_what_it_computes():
    assert isinstance(as_criterion("loss", None), DiceRegionLoss)
    dice = as_criterion("loss", DiceLoss(jaccard=True, squared_pred=True, smooth_nr=0.25, smooth_dr=0.5))
    assert isinstance(dice, DiceRegionLoss)
    assert (dice.jaccard, dice.squared_pred, dice.smooth_nr, dice.smooth_dr) == (True, True, 0.25, 0.5)


def test_a_region_loss_stays_itself():
    loss = DiceRegionLoss()
    assert as_criterion("loss", loss) is loss


class OtherDice(DiceLoss):
    pass


@pytest.mark.parametrize(
    "loss",
    [
        DiceLoss(soft_label=True),
        DiceLoss(ignore_index=1),
        TverskyLoss(ignore_index=0),
        GeneralizedDiceLoss(soft_label=True),
        OtherDice(),
        BCELoss(),
        MaskedLoss(DiceLoss),
        abs,
    ],
    ids=repr,
)
def test_what_is_not_known_is_called(loss):
    assert as_criterion("loss", loss) is loss


@pytest.mark.parametrize("loss", [3, "dice", [], object()])
def test_what_cannot_be_called_is_refused(loss):
    with pytest.raises(TypeError, match=f"Expected `my_loss` to be .*but got {type(loss).__name__}"):
        as_criterion("my_loss", loss)


class _Subclass(DiceCELoss):
    pass


@pytest.mark.parametrize(
    ("loss", "received"),
    [
        (DiceLoss(sigmoid=True), "DiceLoss with sigmoid=True"),
        (DiceLoss(softmax=True), "DiceLoss with softmax=True"),
        (DiceLoss(to_onehot_y=True), "DiceLoss with to_onehot_y=True"),
        (TverskyLoss(sigmoid=True), "TverskyLoss with sigmoid=True"),
        (GeneralizedDiceLoss(softmax=True), "GeneralizedDiceLoss with softmax=True"),
        (DiceRegionLoss(sigmoid=True), "DiceRegionLoss with sigmoid=True"),
        (DiceCELoss(softmax=True), "DiceCELoss with softmax=True"),
        (DiceCELoss(other_act=torch.tanh), "DiceCELoss with other_act="),
        (DiceCELoss(weight=torch.ones(3)), "DiceCELoss with 3 values of pos_weight"),
        (DiceFocalLoss(to_onehot_y=True), "DiceFocalLoss with to_onehot_y=True"),
        (DiceFocalLoss(softmax=True), "DiceFocalLoss with softmax=True"),
        (DiceFocalLoss(reduction="none"), 'DiceFocalLoss with reduction="none"'),
        (FocalLoss(use_softmax=True), "FocalLoss with use_softmax=True"),
        (FocalLoss(weight=[1.0, 2.0]), "FocalLoss with 2 class weights"),
        (FocalLoss(alpha=[0.5, 0.5]), "FocalLoss with 2 values of alpha"),
        # MONAI weighs what is off the target by 1 then, and not by 1 - alpha
        (FocalLoss(alpha=[0.25]), "FocalLoss with 1 values of alpha"),
        (FocalLoss(ignore_index=0), "FocalLoss with ignore_index=0"),
        (BCEWithLogitsLoss(reduction="none"), 'BCEWithLogitsLoss with reduction="none"'),
        (BCEWithLogitsLoss(weight=torch.ones(4)), "BCEWithLogitsLoss with 4 values of weight"),
        (CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss with label_smoothing=0.1"),
        (CrossEntropyLoss(ignore_index=1), "CrossEntropyLoss with ignore_index=1"),
        (CrossEntropyLoss(weight=torch.ones(3)), "CrossEntropyLoss with 3 values of weight"),
        # a subclass of what takes logits takes logits too, and computes who knows what
        (_Subclass(sigmoid=True), "_Subclass with logits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_unfit_is_refused(loss, received):
    with pytest.raises(ValueError, match=f"Expected `my_loss` .*but got {received}"):
        as_criterion("my_loss", loss)
