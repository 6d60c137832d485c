"""Pixel losses: they score a whole image. Most are RegionLosses, and so criteria of instance losses too."""

from monai_instance_loss.losses.pixel.compound import ComboLoss, CompoundRegionLoss, DiceCERegionLoss
from monai_instance_loss.losses.pixel.cross_entropy import BalancedCELoss, BinaryCELoss, WeightedCELoss
from monai_instance_loss.losses.pixel.default import default_pixel_loss
from monai_instance_loss.losses.pixel.exponential_logarithmic import ExponentialLogarithmicLoss
from monai_instance_loss.losses.pixel.focal import FocalRegionLoss
from monai_instance_loss.losses.pixel.overlap import (
    DiceRegionLoss,
    GeneralizedDiceRegionLoss,
    JaccardLoss,
    LogCoshDiceLoss,
)
from monai_instance_loss.losses.pixel.sensitivity_specificity import SensitivitySpecificityLoss
from monai_instance_loss.losses.pixel.tversky import FocalTverskyLoss, ModifiedFocalTverskyLoss, TverskyRegionLoss
from monai_instance_loss.losses.pixel.unified_focal import UnifiedFocalLoss

__all__ = [
    "BalancedCELoss",
    "BinaryCELoss",
    "ComboLoss",
    "CompoundRegionLoss",
    "DiceCERegionLoss",
    "DiceRegionLoss",
    "ExponentialLogarithmicLoss",
    "FocalRegionLoss",
    "FocalTverskyLoss",
    "GeneralizedDiceRegionLoss",
    "JaccardLoss",
    "LogCoshDiceLoss",
    "ModifiedFocalTverskyLoss",
    "SensitivitySpecificityLoss",
    "TverskyRegionLoss",
    "UnifiedFocalLoss",
    "WeightedCELoss",
    "default_pixel_loss",
]
