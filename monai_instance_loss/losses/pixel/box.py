"""Box losses: GIoU and DIoU of boxes, and of the soft boxes of instances."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from monai_instance_loss.instances import label_instances, merge_boxes, segment_sum
from monai_instance_loss.losses.options import checked_fraction
from monai_instance_loss.losses.overlap import Overlap
from monai_instance_loss.losses.pixel.distance import BlockLoss, Blocks
from monai_instance_loss.losses.probability import Probability

__all__ = ["InstanceBoxDIoULoss", "InstanceBoxGIoULoss", "diou_loss", "giou_loss"]
