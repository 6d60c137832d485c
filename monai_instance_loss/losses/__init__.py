"""Instance-level losses for MONAI: they count lesions where pixel losses count voxels."""

from monai_instance_loss.losses.instance import InstanceLoss, InstanceLossTerms
from monai_instance_loss.losses.pixel import DiceRegionLoss
from monai_instance_loss.losses.region import RegionLoss, RegionSums

__all__ = ["DiceRegionLoss", "InstanceLoss", "InstanceLossTerms", "RegionLoss", "RegionSums"]
