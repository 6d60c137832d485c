"""Pixel losses: they score a whole image. Most are RegionLosses, and so criteria of instance losses too.

``DiceLoss``, ``GeneralizedDiceLoss``, ``TverskyLoss``, ``FocalLoss``, ``DiceCELoss`` and ``DiceFocalLoss`` are MONAI's,
``BCEWithLogitsLoss`` and ``CrossEntropyLoss`` torch's, as they are: the rest is what they lack or have otherwise.
"""

from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from torch.nn import BCEWithLogitsLoss, CrossEntropyLoss

from monai_instance_loss.losses.pixel.boundary import BoundaryLoss
from monai_instance_loss.losses.pixel.box import InstanceBoxDIoULoss, InstanceBoxGIoULoss, diou_loss, giou_loss
from monai_instance_loss.losses.pixel.compound import ComboLoss, CompoundRegionLoss, DiceCERegionLoss
from monai_instance_loss.losses.pixel.cross_entropy import BalancedCELoss, BinaryCELoss, WeightedCELoss
from monai_instance_loss.losses.pixel.default import default_pixel_loss
from monai_instance_loss.losses.pixel.dice import (
    DiceRegionLoss,
    GeneralizedDiceRegionLoss,
    JaccardLoss,
    LogCoshDiceLoss,
)
from monai_instance_loss.losses.pixel.distance import DistancePenalisedCELoss
from monai_instance_loss.losses.pixel.exponential_logarithmic import ExponentialLogarithmicLoss
from monai_instance_loss.losses.pixel.focal import FocalRegionLoss
from monai_instance_loss.losses.pixel.hausdorff import AveragedHausdorffLoss, HausdorffDTLoss
from monai_instance_loss.losses.pixel.lovasz import LovaszHingeLoss, LovaszSoftmaxLoss
from monai_instance_loss.losses.pixel.sensitivity_specificity import SensitivitySpecificityLoss
from monai_instance_loss.losses.pixel.shape import ShapeAwareLoss
from monai_instance_loss.losses.pixel.t_loss import TLoss
from monai_instance_loss.losses.pixel.tversky import FocalTverskyLoss, ModifiedFocalTverskyLoss, TverskyRegionLoss
from monai_instance_loss.losses.pixel.unified_focal import UnifiedFocalLoss
from monai_instance_loss.losses.pixel.weight_map import WeightMapLoss

__all__ = [
    "AveragedHausdorffLoss",
    "BCEWithLogitsLoss",
    "BalancedCELoss",
    "BinaryCELoss",
    "BoundaryLoss",
    "ComboLoss",
    "CompoundRegionLoss",
    "CrossEntropyLoss",
    "DiceCELoss",
    "DiceCERegionLoss",
    "DiceFocalLoss",
    "DiceLoss",
    "DiceRegionLoss",
    "DistancePenalisedCELoss",
    "ExponentialLogarithmicLoss",
    "FocalLoss",
    "FocalRegionLoss",
    "FocalTverskyLoss",
    "GeneralizedDiceLoss",
    "GeneralizedDiceRegionLoss",
    "HausdorffDTLoss",
    "InstanceBoxDIoULoss",
    "InstanceBoxGIoULoss",
    "JaccardLoss",
    "LogCoshDiceLoss",
    "LovaszHingeLoss",
    "LovaszSoftmaxLoss",
    "ModifiedFocalTverskyLoss",
    "SensitivitySpecificityLoss",
    "ShapeAwareLoss",
    "TLoss",
    "TverskyLoss",
    "TverskyRegionLoss",
    "UnifiedFocalLoss",
    "WeightMapLoss",
    "WeightedCELoss",
    "default_pixel_loss",
    "diou_loss",
    "giou_loss",
]
