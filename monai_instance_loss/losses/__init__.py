"""Instance-level losses for MONAI: they count lesions where pixel losses count voxels."""

from monai_instance_loss.losses.instance import InstanceLoss, InstanceLossTerms
from monai_instance_loss.losses.region import DiceRegion, RegionLoss, RegionSums

__all__ = ["DiceRegion", "InstanceLoss", "InstanceLossTerms", "RegionLoss", "RegionSums"]
