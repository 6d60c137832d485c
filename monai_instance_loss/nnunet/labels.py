"""How nnU-Net lays out targets, and how losses and metrics of this package read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from monai.networks import one_hot

from monai_instance_loss._ignored import holds, ignored_voxels

__all__ = ["Labels", "OwnLoss"]

# what stands on ignored voxels of regions and of masks, which hold 0 and 1 elsewhere
_IGNORED = -1


@dataclass(frozen=True)
class Labels:
    """The labels of an nnU-Net data set, and what follows from them for losses and metrics.

    Source: nnU-Net v2, ``LabelManager``. Plain labels are exclusive: the network has an output for each, the
    background's first, for a softmax, and the target is (B, 1, *spatial). Regions overlap: the network has an output
    for each, for a sigmoid, and the target is (B, regions, *spatial), with the ignored voxels as one channel more where
    there is an ignore label.
    Differentiable: nothing.

    Args:
        regions: whether the labels are regions.
        ignore_label: the label of voxels to leave out, the highest one; None where there is none.

    Example:
        >>> Labels(regions=True, ignore_label=3).flags
        {'sigmoid': True, 'ignore_index': -1}
    """

    regions: bool = False
    ignore_label: int | None = None

    @property
    def ignore_index(self) -> int | None:
        """The value of ignored voxels in what ``target`` returns."""
        return _IGNORED if self.regions and self.ignore_label is not None else self.ignore_label

    @property
    def flags(self) -> dict[str, Any]:
        """MONAI's flags for a loss on the network's outputs and on what ``target`` returns."""
        if self.regions:
            return {"sigmoid": True, "ignore_index": self.ignore_index}
        return {"include_background": False, "to_onehot_y": True, "softmax": True, "ignore_index": self.ignore_index}

    def target(self, given: torch.Tensor) -> torch.Tensor:
        """The target of a loss, from nnU-Net's: labels as they are, regions as float with -1 on ignored voxels."""
        if not self.regions:
            return given
        if self.ignore_label is None:
            return given.float()
        return given[:, :-1].float().masked_fill(given[:, -1:].bool(), _IGNORED)

    def masks(self, output: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``y_pred`` and ``y`` of a metric, from logits and nnU-Net's target.

        Returns:
            Two tensors (B, labels or regions, *spatial), the background left out: bool, and int8 with -1 on ignored
            voxels.
        """
        target = self.target(given)
        if self.regions:
            return output > 0, target.to(torch.int8)
        channels = output.shape[1]
        y_pred = one_hot(output.argmax(1, keepdim=True), channels, dtype=torch.bool)[:, 1:]
        ignored = ignored_voxels(target, self.ignore_index)
        known = target if ignored is None else target.masked_fill(ignored, 0)
        y = one_hot(known, channels, dtype=torch.int8)[:, 1:]
        return y_pred, y if ignored is None else y.masked_fill(ignored, _IGNORED)


class OwnLoss(torch.nn.Module):
    """nnU-Net's own loss as the ``pixel_loss`` of another: Dice + cross-entropy, -1 or more, as its Dice counts down.

    Source: nnU-Net v2, ``DC_and_CE_loss`` and ``DC_and_BCE_loss``, which know ``batch_dice`` (over all ranks, too) and
    ignored voxels. Shapes: input (B, C, *spatial), target as ``Labels.target`` returns it. Differentiable in ``input``.

    Args:
        loss: nnU-Net's loss of one level.
        labels: the labels of the data set.

    Attributes:
        ignore_index: tells a loss that takes this one that ignored voxels may stay in the target.

    Example:
        >>> own = OwnLoss(lambda input, target: target.float().sum(), Labels(regions=True, ignore_label=2))
        >>> own(torch.zeros(1, 1, 1, 3), torch.tensor([[[[1.0, 0.0, -1.0]]]]))  # a region and an ignored voxel
        tensor(2.)
    """

    def __init__(self, loss: Any, labels: Labels) -> None:
        super().__init__()
        self.loss = loss
        self.labels = labels
        self.ignore_index = labels.ignore_index

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """nnU-Net's loss of one level."""
        if self.labels.regions and self.ignore_index is not None:
            ignored = holds(target, self.ignore_index)
            target = torch.cat([target.masked_fill(ignored, 0), ignored[:, :1]], 1).bool()
        value: torch.Tensor = self.loss(input, target)
        return value
