"""Boundary loss: the distance between two contours as an integral over regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch

from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords
from monai_instance_loss.losses.pixel.distance import signed_distance

__all__ = ["BoundaryLoss"]


class BoundaryLoss(ImageLoss):
    """Boundary loss, any real number: mean of p * phi, phi being the signed distance map of the target.

    Source: Kervadec et al., *Boundary loss for highly unbalanced segmentation*, MIDL 2019 and Med. Image Anal. 2021,
    arXiv 1812.07032. The map (``signed_distance``) is positive outside the target and negative inside, 0 one
    voxel deep; lower is better. As in the published code it is 0 for a target without boundary: an empty target gives
    0 and no gradient, and a lesion of one voxel none on that voxel. The paper adds it to a regional loss, which speaks
    of both; alone it does not train.

    In mm with ``spacing_mm``, in voxels without. Ignored voxels count as background in the distance map. Cost: two
    distance transforms a channel on the CPU. Differentiable in ``input``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        spacing_mm: size of a voxel along each spatial axis in mm; None measures in voxels.
        normalize: divide each map by its largest absolute value, which puts the loss in [-1, 1] whatever the volume's
            size; not in the paper.
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
        >>> y = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> float(BoundaryLoss()(torch.full_like(y, 0.5), y))  # 0.5 * (-1 + 0 + 1 + 2) / 4
        0.25
    """

    def __init__(
        self, *, spacing_mm: Sequence[float] | None = None, normalize: bool = False, **kwargs: Unpack[InputKeywords]
    ) -> None:
        super().__init__(**kwargs)
        self.spacing_mm = checked_spacing(spacing_mm)
        self.normalize = normalize

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The mean of p times the signed distance of each channel."""
        distance = signed_distance(batch.target, self.spacing_mm)
        if self.normalize:
            peak = distance.abs().amax(tuple(range(1, distance.ndim)), keepdim=True)
            distance = distance / torch.where(peak == 0, 1.0, peak)
        p = batch.voxels.p
        return batch.mean(p * distance.to(p.dtype)).view(batch.shape[:2])
