"""Pixel losses: those that score a whole image at once."""

from monai_instance_loss.losses.pixel.default import default_pixel_loss
from monai_instance_loss.losses.pixel.overlap import DiceRegionLoss

__all__ = ["DiceRegionLoss", "default_pixel_loss"]
