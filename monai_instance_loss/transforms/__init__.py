"""Transforms that put instances into a MONAI data pipeline."""

from monai_instance_loss.transforms.centers import InstanceCenters
from monai_instance_loss.transforms.checking import CheckFinite, CheckMask
from monai_instance_loss.transforms.cropping import RandCropByInstance
from monai_instance_loss.transforms.cropping_dictionary import (
    RandCropByInstanceD,
    RandCropByInstanced,
    RandCropByInstanceDict,
)
from monai_instance_loss.transforms.dictionary import (
    CheckFiniteD,
    CheckFinited,
    CheckFiniteDict,
    CheckMaskD,
    CheckMaskd,
    CheckMaskDict,
    FilterInstancesD,
    FilterInstancesd,
    FilterInstancesDict,
    InstanceCentersD,
    InstanceCentersd,
    InstanceCentersDict,
    InstanceWeightMapD,
    InstanceWeightMapd,
    InstanceWeightMapDict,
    LabelInstancesD,
    LabelInstancesd,
    LabelInstancesDict,
    MeasureInstancesD,
    MeasureInstancesd,
    MeasureInstancesDict,
)
from monai_instance_loss.transforms.filtering import FilterInstances
from monai_instance_loss.transforms.labelling import LabelInstances
from monai_instance_loss.transforms.measuring import MeasureInstances, measure_instances
from monai_instance_loss.transforms.operating_point import InstanceOperatingPoint
from monai_instance_loss.transforms.operating_point_dictionary import (
    InstanceOperatingPointD,
    InstanceOperatingPointd,
    InstanceOperatingPointDict,
)
from monai_instance_loss.transforms.weights import InstanceWeightMap

__all__ = [
    "CheckFinite",
    "CheckFiniteD",
    "CheckFiniteDict",
    "CheckFinited",
    "CheckMask",
    "CheckMaskD",
    "CheckMaskDict",
    "CheckMaskd",
    "FilterInstances",
    "FilterInstancesD",
    "FilterInstancesDict",
    "FilterInstancesd",
    "InstanceCenters",
    "InstanceCentersD",
    "InstanceCentersDict",
    "InstanceCentersd",
    "InstanceOperatingPoint",
    "InstanceOperatingPointD",
    "InstanceOperatingPointDict",
    "InstanceOperatingPointd",
    "InstanceWeightMap",
    "InstanceWeightMapD",
    "InstanceWeightMapDict",
    "InstanceWeightMapd",
    "LabelInstances",
    "LabelInstancesD",
    "LabelInstancesDict",
    "LabelInstancesd",
    "MeasureInstances",
    "MeasureInstancesD",
    "MeasureInstancesDict",
    "MeasureInstancesd",
    "RandCropByInstance",
    "RandCropByInstanceD",
    "RandCropByInstanceDict",
    "RandCropByInstanced",
    "measure_instances",
]
