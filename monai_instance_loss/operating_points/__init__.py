"""Operating points: how probabilities become lesions, chosen on validation cases, saved, and applied to new ones."""

from monai_instance_loss.operating_points.applying import apply_operating_point
from monai_instance_loss.operating_points.choosing import choose_operating_point
from monai_instance_loss.operating_points.conformal import conformal_index, conformal_operating_point
from monai_instance_loss.operating_points.counting import Tally, point_grid, tally_points
from monai_instance_loss.operating_points.point import OperatingPoint

__all__ = [
    "OperatingPoint",
    "Tally",
    "apply_operating_point",
    "choose_operating_point",
    "conformal_index",
    "conformal_operating_point",
    "point_grid",
    "tally_points",
]
