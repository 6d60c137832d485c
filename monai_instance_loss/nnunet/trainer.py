"""LesionTrainer: what the trainers of all losses add to an nnU-Net trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monai_instance_loss.metrics import InstanceConfusionMatrixMetric
from monai_instance_loss.nnunet.labels import Labels, OwnLoss
from monai_instance_loss.nnunet.lesion_log import COLUMNS, log_epoch
from monai_instance_loss.nnunet.levels import LevelsLoss

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as _Trainer
else:
    _Trainer = object

__all__ = ["LesionTrainer"]


class LesionTrainer(_Trainer):
    """What a trainer puts before ``nnUNetTrainer``, or before any other trainer of nnU-Net, among its bases.

    Source: ours, on nnU-Net v2. The subclass names a loss in ``lesion_loss``. It is applied to every level of the
    network that nnU-Net weighs, see ``LevelsLoss``; its pixel loss is nnU-Net's own, with ``batch_dice``, ignored
    voxels and several GPUs, so that a trainer differs from nnU-Net's by the instance terms alone. Plain labels, regions
    and an ignore label, 2D and 3D. On several GPUs the instance terms are those of the rank's own samples.

    In validation it counts lesions on the patches that nnU-Net's pseudo Dice is computed of, over all ranks: a line in
    the log, ``progress_lesions.csv`` and ``progress_lesions.png``. A lesion is found where a prediction touches it; a
    lesion that reaches into two patches counts in both. F1 is pooled over patches and averaged over labels.

    Example:
        >>> from monai_instance_loss.losses import InstanceLoss
        >>> class Adding(LesionTrainer):  # a real one has a trainer of nnU-Net as its second base
        ...     def lesion_loss(self, **flags):
        ...         return InstanceLoss(weights={"missed": 0.1}, **flags)
        >>> Adding().lesion_loss(**Labels().flags).weights["missed"]
        0.1
    """

    lesion_metric: InstanceConfusionMatrixMetric

    def lesion_loss(self, **flags: Any) -> torch.nn.Module:
        """The loss of a level in full resolution; ``flags`` are MONAI's, ``ignore_index`` and ``pixel_loss``."""
        raise NotImplementedError("Expected a subclass to have `lesion_loss`, but got none.")

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Size of a voxel of the network's patches along each axis in mm."""
        return tuple(map(float, self.configuration_manager.spacing))

    def _build_loss(self) -> LevelsLoss:
        own = super()._build_loss()
        weights = (1.0,)
        if self.enable_deep_supervision:
            own, weights = own.loss, own.weight_factors
        labels = Labels(self.label_manager.has_regions, self.label_manager.ignore_label)
        return LevelsLoss(self.lesion_loss(**labels.flags, pixel_loss=OwnLoss(own, labels)), weights, labels)

    def on_validation_epoch_start(self) -> None:
        """Start counting lesions."""
        super().on_validation_epoch_start()
        ignore_index = -1 if self.label_manager.has_ignore_label else None
        self.lesion_metric = InstanceConfusionMatrixMetric(
            metric_name=("f1", "tp", "missed", "false"), ignore_index=ignore_index
        )

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's step, and the lesions of its patches counted."""
        target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
        # nnU-Net writes 0 over ignored voxels, in the batch itself where that is on the device already
        target = target.clone()
        result: dict[str, Any] = super().validation_step(batch)
        output = self.loss.last_output
        self.lesion_metric(*self.loss.labels.masks(output, target.to(output.device)))
        return result

    def on_validation_epoch_end(self, val_outputs: list[dict[str, Any]]) -> None:
        """nnU-Net's scores, and those of lesions."""
        super().on_validation_epoch_end(val_outputs)
        pooled: Any = self.lesion_metric.aggregate("pooled")
        total: Any = self.lesion_metric.aggregate("sum")
        row = dict(zip(COLUMNS, map(float, [pooled[0], *total[1:]]), strict=True))
        counts = ", ".join(f"{name} {row[name]:.0f}" for name in COLUMNS[1:])
        self.print_to_log_file(f"Lesion F1 {row['lesion_f1']:.4f}, {counts}")
        if self.local_rank == 0:
            log_epoch(Path(self.output_folder), self.current_epoch, row)
