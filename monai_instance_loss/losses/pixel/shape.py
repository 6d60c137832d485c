"""Shape-aware loss: cross-entropy that minds how far the predicted contour is from the true one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords
from monai_instance_loss.losses.pixel.distance import distance_to

__all__ = ["ShapeAwareLoss"]


class ShapeAwareLoss(ImageLoss):
    """Shape-aware loss, 0 or more: mean of -(1 + E e) (y log p + (1 - y) log(1 - p)), e = 1 where p >= 0.5 is wrong.

    Source: Al Arif et al., *Shape-aware deep convolutional neural network for vertebrae segmentation*, MSKI at MICCAI
    2017. E, one number a sample and channel, is the mean distance of the predicted contour's voxels to the true
    contour. Surveys cite Hayder et al., *Boundary-aware instance segmentation*, CVPR 2017, for it too; that is another
    thing, a network head that predicts a quantised distance transform in a box, and no loss on masks.

    A contour is the voxels of a mask that have a neighbour outside it, across a face; masks cut by the volume's edge
    have none there. The prediction is p >= 0.5. Without a true or a predicted contour (an empty or a full mask) E is 0
    and the loss plain cross-entropy; the paper always has one vertebra.

    E is in mm with ``spacing_mm``, in voxels without. Ignored voxels count as background in both masks. Cost: one
    distance transform a channel on the CPU. Differentiable in ``input``; E and where the prediction is wrong are held
    fixed.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        spacing_mm: size of a voxel along each spatial axis in mm; None measures in voxels.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: a ``spacing_mm`` that is not finite and above 0, two activations, an unknown ``reduction``; on call,
            shapes that do not fit, not one ``spacing_mm`` a spatial axis, a target that is not binary (or labels),
            probabilities outside [0, 1].
        OptionalImportError: scipy is not installed.

    Example:
        >>> import math
        >>> y = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
        >>> p = torch.tensor([[[[0.5, 0.5, 0.5, 0.25]]]])
        >>> loss = ShapeAwareLoss()(p, y)  # contours at 2 and 0: E = 2, voxels 1 and 2 are wrong
        >>> expected = ((1 + 3 + 3) * math.log(2) + math.log(4 / 3)) / 4
        >>> round(float(loss), 4) == round(expected, 4)
        True
    """

    def __init__(self, *, spacing_mm: Sequence[float] | None = None, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)
        self.spacing_mm = checked_spacing(spacing_mm)

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The mean weighted cross-entropy of each channel."""
        predicted = (batch.voxels.p.detach() >= 0.5) & batch.kept
        to_true = distance_to(_contour(batch.target), self.spacing_mm)
        contour = _contour(predicted).flatten(1)
        error = torch.where(contour, to_true.flatten(1), 0).sum(1) / contour.sum(1).clamp(min=1)
        weight = 1 + error.view(-1, *[1] * (predicted.ndim - 1)) * (predicted != batch.target)
        entropy = torch.where(batch.target, batch.voxels.ce_on, batch.voxels.ce_off)
        return batch.mean(entropy * weight.to(entropy.dtype)).view(batch.shape[:2])


def _contour(mask: torch.Tensor) -> torch.Tensor:
    """Voxels of masks (R, *spatial) with a neighbour across a face outside the mask."""
    touches = torch.zeros_like(mask)
    for axis in range(1, mask.ndim):
        extent = mask.shape[axis]
        for here, there in ((0, 1), (1, 0)):
            touches.narrow(axis, here, extent - 1).logical_or_(~mask.narrow(axis, there, extent - 1))
    return mask & touches
