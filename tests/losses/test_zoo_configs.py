"""Losses of train configs in MONAI's model zoo, whose `_target_` becomes an instance loss."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import pytest
import torch
import yaml
from monai.bundle import ConfigParser

from monai_instance_loss import losses

NAMES = ["InstanceLoss", "InstanceCenterLoss", "ICILoss", "SoftInstanceF1Loss", "BlobLoss", "CCLoss", "BiCCLoss"]
MULTI = {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True, "squared_pred": True, "batch": True}
# bundle: the loss of its train config, and the number of output channels
ZOO: dict[str, tuple[dict[str, Any], int]] = {
    "spleen_ct_segmentation": (MULTI, 2),
    "swin_unetr_btcv_segmentation": (MULTI, 14),
    "wholeBrainSeg_Large_UNEST_segmentation": (MULTI, 133),
    "brats_mri_segmentation": (
        {
            "_target_": "DiceLoss", "smooth_nr": 0, "smooth_dr": 1e-05, "squared_pred": True, "to_onehot_y": False,
            "sigmoid": True,
        },
        3,
    ),
    "prostate_mri_anatomy": (
        {"_target_": "DiceFocalLoss", "to_onehot_y": True, "softmax": True, "include_background": False}, 3
    ),
}  # fmt: skip


def batch(channels: int, label: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, channels, 6, 6, 6, generator=generator, requires_grad=True)
    if label:
        return logits, torch.randint(channels, (2, 1, 6, 6, 6), generator=generator)
    return logits, (torch.rand(2, channels, 6, 6, 6, generator=generator) > 0.7).float()


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(Exception, match=r"Failed to instantiate|Expected") as error:
        ConfigParser({"loss": config}).get_parsed_content("loss")
    cause: BaseException = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, TypeError)
    return str(cause)


@pytest.mark.parametrize("bundle", [name for name in ZOO if name != "prostate_mri_anatomy"])
def test_the_error_has_the_three_lines_to_write(bundle):
    zoo, channels = ZOO[bundle]
    config = zoo | {"_target_": "monai_instance_loss.losses.InstanceLoss"}
    message = refused(config)
    foreign = [name for name in zoo if name in ("squared_pred", "batch", "smooth_nr", "smooth_dr")]
    assert message.startswith(
        f"Expected the options of InstanceLoss, but got {', '.join(f'`{name}`' for name in foreign)}, of a Dice loss."
    )
    lines = message.splitlines()[1:]
    assert len(lines) == 3
    # the same in a config in JSON and in one in YAML
    written = json.loads("{" + "\n".join(lines) + "}")
    assert yaml.safe_load("\n".join(lines)) == written
    assert written["pixel_loss"] == zoo | {"_target_": "DiceCELoss"}
    loss = ConfigParser({"loss": {**{k: v for k, v in config.items() if k not in foreign}, **written}})
    loss = loss.get_parsed_content("loss")
    logits, target = batch(channels, label=zoo["to_onehot_y"])
    value = loss(logits, target)
    value.backward()
    assert bool(logits.grad.abs().sum() > 0)
    same = ConfigParser({"loss": zoo | {"_target_": "DiceCELoss"}}).get_parsed_content("loss")
    torch.testing.assert_close(loss.last_terms["pixel"], same(logits, target).detach())


def test_a_config_without_such_options_needs_no_line():
    zoo, channels = ZOO["prostate_mri_anatomy"]
    config = zoo | {"_target_": "monai_instance_loss.losses.InstanceLoss"}
    loss = ConfigParser({"loss": config}).get_parsed_content("loss")
    assert bool(torch.isfinite(loss(*batch(channels, label=True))))


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_with_a_pixel_loss_says_it(name):
    with pytest.raises(TypeError, match=f"Expected the options of {name}, but got `jaccard`, of a Dice loss"):
        getattr(losses, name)(sigmoid=True, jaccard=True)


def test_what_no_dice_loss_has_is_an_error_as_always():
    with pytest.raises(TypeError, match="unexpected keyword argument 'squared_preds'"):
        losses.InstanceLoss(sigmoid=True, squared_preds=True)


def test_a_loss_of_ones_own_may_take_what_it_likes():
    class Mine(losses.InstanceLoss):
        def __init__(self, jaccard: bool = False, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.jaccard = jaccard

    assert Mine(jaccard=True, sigmoid=True).jaccard
    with pytest.raises(TypeError, match="Expected the options of Mine, but got `squared_pred`"):
        Mine(squared_pred=True)


def test_signatures_and_copies_are_as_without():
    assert list(inspect.signature(losses.CCLoss).parameters)[:3] == ["include_background", "to_onehot_y", "sigmoid"]
    loss = losses.InstanceLoss(sigmoid=True, threshold=0.3)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert other.threshold == 0.3
