"""Instance-level (lesion-level) losses, metrics and transforms for MONAI."""

from importlib.metadata import version

from monai_instance_loss.instances import Instances, label_instances

__version__ = version("monai_instance_loss")

__all__ = ["Instances", "__version__", "label_instances"]
