"""The rows of the benchmark: what is trained with what. Everything else is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, TverskyLoss

from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, ICILoss, InstanceLoss, SoftInstanceF1Loss
from monai_instance_loss.losses.pixel import DiceCERegionLoss, FocalTverskyLoss, TverskyRegionLoss, UnifiedFocalLoss

SPACING_MM = (2.0, 2.0, 3.0)


def pixel() -> torch.nn.Module:
    """The pixel loss of every compound row. Over the batch: by sample, a patch without lesions has a Dice loss of 1."""
    return DiceCELoss(sigmoid=True, batch=True)


def instance(**options: object) -> torch.nn.Module:
    """InstanceLoss with the pixel loss of all rows."""
    return InstanceLoss(sigmoid=True, pixel_loss=pixel(), **options)


def weights(instance: float, instance_pred: float, false: float = 0, missed: float = 0) -> dict[str, float]:
    """All weights that the default has."""
    return {"instance": instance, "instance_pred": instance_pred, "false": false, "missed": missed}


@dataclass(frozen=True)
class Contender:
    """One row.

    Args:
        loss: makes the loss, called on logits and a binary target.
        crops: how patches are drawn: "voxels" (MONAI's RandCropByPosNegLabeld) or "instances" (RandCropByInstanced).
        members: rows whose models of the same seed are averaged; nothing is trained then.
    """

    loss: Callable[[], torch.nn.Module]
    crops: str = "voxels"
    members: tuple[str, ...] = ()


CONTENDERS = {
    "DiceCE": Contender(pixel),
    "InstanceLoss": Contender(instance),
    "BiCC": Contender(lambda: BiCCLoss(sigmoid=True, pixel_loss=pixel(), spacing_mm=SPACING_MM)),
    "CC": Contender(lambda: CCLoss(sigmoid=True, pixel_loss=pixel(), spacing_mm=SPACING_MM)),
    "blob": Contender(lambda: BlobLoss(sigmoid=True, pixel_loss=pixel())),
    "SoftF1": Contender(lambda: SoftInstanceF1Loss(sigmoid=True, pixel_loss=pixel(), weights={"pixel": 1})),
    "DiceCE, crops by instance": Contender(pixel, crops="instances"),
    "ICI": Contender(lambda: ICILoss(sigmoid=True, pixel_loss=pixel())),
    "Dice": Contender(lambda: DiceLoss(sigmoid=True, batch=True)),
    "DiceFocal": Contender(lambda: DiceFocalLoss(sigmoid=True, batch=True)),
    "Tversky": Contender(lambda: TverskyLoss(sigmoid=True, batch=True, alpha=0.3, beta=0.7)),
    "focal Tversky": Contender(lambda: FocalTverskyLoss(sigmoid=True)),
    "unified focal": Contender(lambda: UnifiedFocalLoss(sigmoid=True)),
    # the default, with a term more
    "+ center": Contender(lambda: instance(weights={"center": 1})),
    "+ proximity": Contender(lambda: instance(weights={"proximity": 1}, proximity="mean")),
    "all seven": Contender(lambda: instance(weights={"center": 1, "proximity": 1}, proximity="mean")),
    # other weights: those of both instance terms, and of the two that count
    "instance terms": Contender(lambda: instance(weights=weights(1, 1))),
    "instance terms at 0.5": Contender(lambda: instance(weights=weights(0.5, 0.5))),
    "instance terms at 2": Contender(lambda: instance(weights=weights(2, 2))),
    "instance": Contender(lambda: instance(weights=weights(1, 0))),
    "instance_pred": Contender(lambda: instance(weights=weights(0, 1))),
    "instance terms + false": Contender(lambda: instance(weights=weights(1, 1, false=1))),
    "instance terms + missed": Contender(lambda: instance(weights=weights(1, 1, missed=1))),
    "instance terms + false + missed": Contender(lambda: instance(weights=weights(1, 1, 1, 1))),
    "false + missed": Contender(lambda: instance(weights=weights(0, 0, 1, 1))),
    "instance terms, criterion DiceCE": Contender(
        lambda: instance(weights=weights(1, 1), instance_loss=DiceCERegionLoss())
    ),
    # the default otherwise
    "threshold 0.02": Contender(lambda: instance(threshold=0.02)),
    "threshold 0.3": Contender(lambda: instance(threshold=0.3)),
    "threshold 0.5": Contender(lambda: instance(threshold=0.5)),
    "criterion DiceCE": Contender(lambda: instance(instance_loss=DiceCERegionLoss())),
    "criterion Tversky": Contender(lambda: instance(instance_loss=TverskyRegionLoss(alpha=0.3, beta=0.7))),
    "average over samples": Contender(lambda: instance(average_over="sample")),
    "with other true positives": Contender(lambda: instance(exclude_other_tp=False)),
}

# the paper's ensemble: two models of the family, which differ in their instance terms
CONTENDERS["ensemble of two"] = Contender(instance, members=("InstanceLoss", "SoftF1"))

MAIN = ("DiceCE", "InstanceLoss", "BiCC", "CC", "blob", "SoftF1")
