"""Distance maps of the target, and distance-map penalised cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from monai.transforms.utils import distance_transform_edt

from monai_instance_loss._optional import import_extra
from monai_instance_loss.instances.spacing import checked_spacing, resolved_spacing
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords

__all__ = ["DistancePenalisedCELoss", "distance_maps", "distance_to", "signed_distance"]


def distance_to(mask: torch.Tensor, spacing_mm: Sequence[float] | None = None) -> torch.Tensor:
    """Distance of every voxel to the nearest voxel of a mask, 0 or more; 0 everywhere where the mask is empty.

    Source: the exact Euclidean distance transform of scipy, through MONAI. Distances are those of voxel centres, in mm
    with ``spacing_mm`` and in voxels without. Computed on the CPU whatever the device. Differentiable: nothing.

    Args:
        mask: bool (R, H, W) or (R, H, W, D).
        spacing_mm: size of a voxel along each spatial axis.

    Returns:
        float64 of the shape and on the device of ``mask``.

    Raises:
        ValueError: ``spacing_mm`` does not have one value a spatial axis.
        OptionalImportError: scipy is not installed.

    Example:
        >>> distance_to(torch.tensor([[[True, False, False]]]), (1.0, 2.0))
        tensor([[[0., 2., 4.]]], dtype=torch.float64)
    """
    sampling = resolved_spacing(spacing_mm, mask.ndim - 1)
    distance = torch.zeros(mask.shape, dtype=torch.float64)
    rows = mask.flatten(1).any(1).nonzero().squeeze(1).cpu()
    if rows.numel():
        # MONAI's wrapper does not say what to install; the placeholder of a missing scipy does, on first use
        import_extra("scipy.ndimage").distance_transform_edt  # noqa: B018
        away = ~mask.detach().cpu()[rows]
        distance[rows] = torch.as_tensor(distance_transform_edt(away.numpy(), sampling=list(sampling)))
    return distance.to(mask.device)


def distance_maps(mask: torch.Tensor, spacing_mm: Sequence[float] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances to the other side of a mask's boundary, 0 or more: of the voxels outside it, and of those inside.

    Source: scipy's exact Euclidean distance transform, of voxel centres, in mm with ``spacing_mm`` and in voxels
    without. Empty and full masks have no boundary: 0. Differentiable: nothing.

    Args:
        mask: bool (R, H, W) or (R, H, W, D).
        spacing_mm: size of a voxel along each spatial axis.

    Returns:
        Two float64 of the shape of ``mask``: of outer voxels the distance to the nearest inner one, 0 inside; of inner
        voxels the distance to the nearest outer one, 0 outside.

    Raises:
        ValueError: ``spacing_mm`` does not have one value a spatial axis.
        OptionalImportError: scipy is not installed.

    Example:
        >>> outside, inside = distance_maps(torch.tensor([[[True, True, False, False]]]))
        >>> outside.tolist(), inside.tolist()
        ([[[0.0, 0.0, 1.0, 2.0]]], [[[2.0, 1.0, 0.0, 0.0]]])
    """
    return distance_to(mask, spacing_mm), distance_to(~mask, spacing_mm)


def signed_distance(mask: torch.Tensor, spacing_mm: Sequence[float] | None = None) -> torch.Tensor:
    """Signed distance map of a mask: above 0 outside, 0 or less inside.

    Source: Kervadec et al., MIDL 2019, as its code has it: outside the distance to the nearest inner voxel; inside
    minus the distance to the nearest outer voxel, less one voxel. That code subtracts 1 whatever the spacing, which
    makes boundary voxels positive where they are smaller than 1 mm; here it is the smallest spacing. Empty and full
    masks have no boundary: 0. In mm with ``spacing_mm``, in voxels without. Differentiable: nothing.

    Args:
        mask: bool (R, H, W) or (R, H, W, D).
        spacing_mm: size of a voxel along each spatial axis.

    Returns:
        float64 of the shape of ``mask``.

    Raises:
        ValueError: ``spacing_mm`` does not have one value a spatial axis.
        OptionalImportError: scipy is not installed.

    Example:
        >>> signed_distance(torch.tensor([[[True, True, False, False]]]))
        tensor([[[-1.,  0.,  1.,  2.]]], dtype=torch.float64)
    """
    outside, inside = distance_maps(mask, spacing_mm)
    step = min(resolved_spacing(spacing_mm, mask.ndim - 1))
    return outside - (inside - step).clamp(min=0)


class DistancePenalisedCELoss(ImageLoss):
    """Distance-penalised CE, 0 or more: mean of -(1 + phi) (y log p + (1 - y) log(1 - p)), phi in [0, 1].

    Source: Caliva et al., *Distance map loss penalty term for semantic segmentation*, MIDL 2019, arXiv 1908.03679.
    Voxels near the target's boundary weigh up to twice: phi is the reversed distance map of the target, scaled per side
    of the boundary to [0, 1] as Ma et al. (MIDL 2020) do: 1 next to the boundary, 0 at the farthest voxel, 1 throughout
    where all are equally near. The paper's cross-entropy is over exclusive classes; here each channel is scored against
    the rest. A target without boundary, empty or full, has phi = 0.

    Ignored voxels count as background in the distance map. Cost: two distance transforms a channel on the CPU.
    Differentiable in ``input``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        spacing_mm: size of a voxel along each spatial axis; None takes voxels for cubes. Its scale cancels.
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
        >>> y = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> loss = DistancePenalisedCELoss()(torch.full_like(y, 0.5), y)
        >>> round(float(loss / math.log(2)), 4)  # weights 2, 2, 1: (2 + 2 + 1) / 3
        1.6667
    """

    def __init__(self, *, spacing_mm: Sequence[float] | None = None, **kwargs: Unpack[InputKeywords]) -> None:
        super().__init__(**kwargs)
        self.spacing_mm = checked_spacing(spacing_mm)

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The weighted mean cross-entropy of each channel."""
        outside, inside = distance_maps(batch.target, self.spacing_mm)
        penalty = _reversed(outside, ~batch.target & batch.kept) + _reversed(inside, batch.target)
        entropy = torch.where(batch.target, batch.voxels.ce_on, batch.voxels.ce_off)
        return batch.mean(entropy * (1 + penalty).to(entropy.dtype)).view(batch.shape[:2])


def _reversed(distance: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """1 at the smallest distance of a side, 0 at the largest and off the side; 0 where there is no boundary."""
    dims = tuple(range(1, distance.ndim))
    low = distance.masked_fill(~side, torch.inf).amin(dims, keepdim=True)
    high = distance.masked_fill(~side, 0).amax(dims, keepdim=True)
    spread = high - low
    scaled = torch.where(spread > 0, (high - distance) / spread, 1.0)
    return torch.where(side & (high > 0), scaled, 0.0)
