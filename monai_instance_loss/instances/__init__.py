"""Ground floor: a mask becomes instances, instances become numbers. Plain tensors in and out, no MONAI."""

from monai_instance_loss.instances.geometry import coordinate_sums, merge_boxes
from monai_instance_loss.instances.labelling import Instances, instances_from_map, label_instances
from monai_instance_loss.instances.regions import Fragments, fragments, presence, segment_sum, touching_pairs

__all__ = [
    "Fragments",
    "Instances",
    "coordinate_sums",
    "fragments",
    "instances_from_map",
    "label_instances",
    "merge_boxes",
    "presence",
    "segment_sum",
    "touching_pairs",
]
