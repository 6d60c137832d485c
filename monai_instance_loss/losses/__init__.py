"""Instance-level losses for MONAI: they count lesions where pixel losses count voxels."""

from monai_instance_loss.losses.blob import BlobLoss, PixelInstanceTerms, PixelInstanceWeights
from monai_instance_loss.losses.cc import BiCCLoss, CCLoss
from monai_instance_loss.losses.deep_supervision import DeepSupervisionLoss
from monai_instance_loss.losses.engine.region import ImageLoss, RegionLoss, RegionSums
from monai_instance_loss.losses.ici import ICILoss, ICILossTerms, InstanceCenterLoss, InstanceCenterLossTerms
from monai_instance_loss.losses.instance import InstanceLoss, InstanceLossTerms, InstanceLossWeights
from monai_instance_loss.losses.pixel import DiceRegionLoss
from monai_instance_loss.losses.soft_f1 import SoftInstanceF1Loss, SoftInstanceF1LossTerms

__all__ = [
    "BiCCLoss",
    "BlobLoss",
    "CCLoss",
    "DeepSupervisionLoss",
    "DiceRegionLoss",
    "ICILoss",
    "ICILossTerms",
    "ImageLoss",
    "InstanceCenterLoss",
    "InstanceCenterLossTerms",
    "InstanceLoss",
    "InstanceLossTerms",
    "InstanceLossWeights",
    "PixelInstanceTerms",
    "PixelInstanceWeights",
    "RegionLoss",
    "RegionSums",
    "SoftInstanceF1Loss",
    "SoftInstanceF1LossTerms",
]
