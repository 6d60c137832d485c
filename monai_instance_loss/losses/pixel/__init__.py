"""Pixel losses: those that score a whole image at once."""

from monai_instance_loss.losses.pixel.default import default_pixel_loss

__all__ = ["default_pixel_loss"]
