from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, MaskedLoss, TverskyLoss

from monai_instance_loss.losses import DiceRegionLoss
from monai_instance_loss.losses.criterion import as_criterion


def test_dice_is_taken_for_what_it_computes():
    assert isinstance(as_criterion("loss", None), DiceRegionLoss)
    dice = as_criterion("loss", DiceLoss(jaccard=True, squared_pred=True, smooth_nr=0.25, smooth_dr=0.5))
    assert isinstance(dice, DiceRegionLoss)
    assert (dice.jaccard, dice.squared_pred, dice.smooth_nr, dice.smooth_dr) == (True, True, 0.25, 0.5)


def test_a_region_loss_stays_itself():
    loss = DiceRegionLoss()
    assert as_criterion("loss", loss) is loss


@pytest.mark.parametrize("loss", [DiceLoss(soft_label=True), DiceLoss(ignore_index=1), torch.nn.BCELoss(), abs])
def test_what_is_not_known_to_be_dice_is_called(loss):
    assert as_criterion("loss", loss) is loss


@pytest.mark.parametrize("loss", [3, "dice", [], object()])
def test_what_cannot_be_called_is_refused(loss):
    with pytest.raises(TypeError, match=f"Expected `my_loss` to be .*but got {type(loss).__name__}"):
        as_criterion("my_loss", loss)


@pytest.mark.parametrize(
    ("loss", "received"),
    [
        (DiceLoss(sigmoid=True), "DiceLoss with sigmoid=True"),
        (DiceLoss(softmax=True), "DiceLoss with softmax=True"),
        (DiceLoss(to_onehot_y=True), "DiceLoss with to_onehot_y=True"),
        (TverskyLoss(sigmoid=True), "TverskyLoss with sigmoid=True"),
        (DiceRegionLoss(sigmoid=True), "DiceRegionLoss with sigmoid=True"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_criterion_with_an_activation_of_its_own_is_refused(loss, received):
    with pytest.raises(ValueError, match=f"Expected `my_loss` .*but got {received}"):
        as_criterion("my_loss", loss)


def test_a_wrapped_loss_is_called():
    loss = MaskedLoss(DiceLoss)
    assert as_criterion("loss", loss) is loss


@pytest.mark.parametrize("loss", [DiceCELoss, DiceFocalLoss])
def test_a_compound_with_an_activation_is_refused(loss):
    with pytest.raises(ValueError, match=rf"Expected `instance_loss` .*but got {loss.__name__} with sigmoid=True"):
        as_criterion("instance_loss", loss(sigmoid=True))
