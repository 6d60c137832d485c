"""Trainers that nnU-Net finds by their names when ``nnUNet_extTrainer`` names this folder. They need nnunetv2."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from monai_instance_loss.losses import BiCCLoss, BlobLoss, CCLoss, InstanceLoss, SoftInstanceF1Loss
from monai_instance_loss.nnunet.configured import loss_from_yaml
from monai_instance_loss.nnunet.trainer import LesionTrainer

__all__ = [
    "nnUNetTrainerBiCCLoss",
    "nnUNetTrainerBlobLoss",
    "nnUNetTrainerCCLoss",
    "nnUNetTrainerInstanceLoss",
    "nnUNetTrainerSoftInstanceF1",
    "nnUNetTrainerYAMLLoss",
]


class nnUNetTrainerInstanceLoss(LesionTrainer, nnUNetTrainer):
    """nnU-Net's loss + the default ``InstanceLoss``: instances of the target and of the prediction."""

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        return InstanceLoss(**flags)


class nnUNetTrainerBlobLoss(LesionTrainer, nnUNetTrainer):
    """nnU-Net's loss + ``BlobLoss``."""

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        return BlobLoss(**flags)


class nnUNetTrainerCCLoss(LesionTrainer, nnUNetTrainer):
    """nnU-Net's loss + ``CCLoss``, with cells in mm."""

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        return CCLoss(**flags, spacing_mm=self.spacing_mm)


class nnUNetTrainerBiCCLoss(LesionTrainer, nnUNetTrainer):
    """nnU-Net's loss + ``BiCCLoss``, with cells in mm."""

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        return BiCCLoss(**flags, spacing_mm=self.spacing_mm)


class nnUNetTrainerSoftInstanceF1(LesionTrainer, nnUNetTrainer):
    """nnU-Net's loss + ``SoftInstanceF1Loss``, one weighing as much as the other."""

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        return SoftInstanceF1Loss(**flags, weights={"pixel": 1.0})


class nnUNetTrainerYAMLLoss(LesionTrainer, nnUNetTrainer):
    """Any loss from a YAML file, which ``MONAI_INSTANCE_LOSS_YAML`` names and of which the results keep a copy.

    Its component ``loss`` is built as in a MONAI bundle. What it leaves out and the class takes comes from the data
    set: MONAI's flags, ``ignore_index``, ``spacing_mm``, ``batch`` from nnU-Net's ``batch_dice``, and as ``pixel_loss``
    nnU-Net's own loss.
    """

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level."""
        path = os.environ.get("MONAI_INSTANCE_LOSS_YAML")
        if not path:
            raise ValueError("Expected MONAI_INSTANCE_LOSS_YAML to name a YAML file with a `loss`, but got none.")
        batch_dice = self.configuration_manager.batch_dice
        loss = loss_from_yaml(path, {**flags, "spacing_mm": self.spacing_mm, "batch": batch_dice})
        if self.local_rank == 0:
            shutil.copyfile(path, Path(self.output_folder, "loss.yaml"))
        self.print_to_log_file(f"Loss of {path}: {loss}")
        return loss
