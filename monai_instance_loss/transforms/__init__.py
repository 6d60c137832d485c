"""Transforms that put instances into a MONAI data pipeline."""

from monai_instance_loss.transforms.array import LabelInstances
from monai_instance_loss.transforms.dictionary import LabelInstancesD, LabelInstancesd, LabelInstancesDict

__all__ = ["LabelInstances", "LabelInstancesD", "LabelInstancesDict", "LabelInstancesd"]
