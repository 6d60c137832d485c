"""Instance-level losses for MONAI: they count lesions where pixel losses count voxels."""

from monai_instance_loss.losses.blob_cc import BiCCLoss, BlobLoss, CCLoss, PixelInstanceTerms
from monai_instance_loss.losses.deep_supervision import DeepSupervisionLoss
from monai_instance_loss.losses.engine.image import ImageLoss
from monai_instance_loss.losses.engine.region import RegionLoss, RegionSums
from monai_instance_loss.losses.ici import ICILoss, ICILossTerms, InstanceCenterLoss, InstanceCenterLossTerms
from monai_instance_loss.losses.instance import InstanceLoss, InstanceLossTerms
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
    "PixelInstanceTerms",
    "RegionLoss",
    "RegionSums",
    "SoftInstanceF1Loss",
    "SoftInstanceF1LossTerms",
]
