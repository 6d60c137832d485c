"""The published signatures, tuple returns and numbers, for scripts that cannot change; new code takes ``losses``."""

from monai_instance_loss.reference.ici_loss import ICILoss
from monai_instance_loss.reference.instance_center_loss import InstanceCenterLoss
from monai_instance_loss.reference.instance_loss import InstanceLoss

__all__ = ["ICILoss", "InstanceCenterLoss", "InstanceLoss"]
