"""Hausdorff losses: of contours, through distance transforms, and of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch.utils.checkpoint import checkpoint

from monai_instance_loss._checks import checked_number
from monai_instance_loss.instances import coordinate_sums, label_instances, presence
from monai_instance_loss.instances.spacing import checked_spacing, resolved_spacing
from monai_instance_loss.instances.voxels import positions, voxel_coordinates
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords
from monai_instance_loss.losses.pixel.distance import distance_maps

__all__ = ["AveragedHausdorffLoss", "HausdorffDTLoss"]

# voxel-to-point distances held at a time, which bounds the memory whatever the number of points
_CHUNK = 2**22
# of the published code: keeps 1 / sum p and the reciprocal of a distance of 0 finite
_EPSILON = 1e-6


class HausdorffDTLoss(ImageLoss):
    """Hausdorff loss by distance transforms, 0 or more: mean of (p - y)^2 (d_p^alpha + d_y^alpha).

    Source: Karimi & Salcudean, *Reducing the Hausdorff distance in medical image segmentation*, IEEE TMI 39 (2020),
    arXiv 1904.10030, eq. 8. d_p and d_y are the unsigned distance maps of {p > 0.5} and of the target; a mask that is
    empty or full has no boundary and d = 0.

    On float targets it equals ``monai.losses.HausdorffDTLoss``, which is not re-exported because MONAI 1.6's keeps its
    distances in the target's type, so that an integer target truncates them, and refuses a bool one. It also computes
    in half precision what comes so, and knows neither spacing nor ``ignore_index``. Unlike there,
    ``include_background`` is True by default, as everywhere in this package.

    In mm^alpha with ``spacing_mm``, in voxels^alpha without. Ignored voxels count as background in both masks. Cost:
    four distance transforms a channel on the CPU. Differentiable in ``input``; the distance maps are held fixed.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        alpha: exponent of the distances, 0 or more.
        spacing_mm: size of a voxel along each spatial axis in mm; None measures in voxels.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``alpha`` below 0, a ``spacing_mm`` that is not finite and above 0, two activations, an unknown
            ``reduction``; on call, shapes that do not fit, not one ``spacing_mm`` a spatial axis, a target that is not
            binary (or labels), probabilities outside [0, 1].
        OptionalImportError: scipy is not installed.

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> p = torch.tensor([[[[1.0, 0.0, 0.5]]]])
        >>> float(HausdorffDTLoss()(p, y))  # 0.25 * (2^2 + 2^2) / 3
        0.6666666865348816
    """

    def __init__(
        self, *, alpha: float = 2.0, spacing_mm: Sequence[float] | None = None, **kwargs: Unpack[InputKeywords]
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = checked_number("alpha", alpha)
        self.spacing_mm = checked_spacing(spacing_mm)

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The mean weighted squared error of each channel."""
        p = batch.voxels.p
        predicted = (p.detach() > 0.5) & batch.kept
        distance = sum(distance_maps(predicted, self.spacing_mm)) ** self.alpha
        distance += sum(distance_maps(batch.target, self.spacing_mm)) ** self.alpha
        error = torch.where(batch.target, 1 - p, p).square()
        return batch.mean(error * distance.to(p.dtype)).view(batch.shape[:2])


class AveragedHausdorffLoss(ImageLoss):
    r"""Weighted Hausdorff distance of the probabilities to the lesions' centres, in [0, 2 d_max] but for rounding.

    $$L = \sum_x p_x \min_y d(x, y) / (\sum_x p_x + 10^{-6}) + (1 / K) \sum_y M_x[p_x d(x, y) + (1 - p_x) d_{max}]$$

    x are the voxels of a sample's channel, y the centres of mass of the target's K connected components, d_max is the
    diagonal of the volume and M the generalised mean with exponent ``alpha``, which approaches the minimum as alpha
    falls.

    Source: Ribera et al., *Locating objects without bounding boxes*, CVPR 2019, arXiv 1806.07564. The second
    term is the paper's; the authors' code also has a version with mean_y min_x d(x, y) / p_x^4 for it, cut off at
    d_max. A point in the published sense is one voxel: the second term of a lesion of several voxels that is predicted
    in full is 0 up to the mean's softness, the first one its mean distance to the centre.

    Without lesions the value is d_max times the presence of p (``instances.presence``): 0 for an empty prediction, and
    with a gradient for any other; the published code has the constant d_max. In mm with ``spacing_mm``, in voxels
    without. Ignored voxels are no part of the sums and of no lesion.

    Cost: voxels times lesions, in chunks whose distances are computed again for the gradient, so that memory does not
    grow with the number of lesions. Differentiable in ``input``.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        alpha: exponent of the generalised mean, below 0; -9 as in the published code.
        connectivity: of instances, from 1 (across faces) to the number of spatial axes; None is full.
        spacing_mm: size of a voxel along each spatial axis in mm; None measures in voxels.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``alpha`` that is not finite and below 0, a ``spacing_mm`` that is not finite and above 0, two
            activations, an unknown ``reduction``; on call, shapes that do not fit, not one ``spacing_mm`` a spatial
            axis, a ``connectivity`` that the image does not have, a target that is not binary (or labels),
            probabilities outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 0.0, 0.0]]]])
        >>> p = torch.tensor([[[[0.0, 0.0, 1.0]]]])
        >>> loss = AveragedHausdorffLoss(alpha=-200)(p, y)  # 2 from p to the centre, 2 back: as far as the minimum
        >>> bool((loss - 4).abs() < 0.02)
        True
    """

    def __init__(
        self,
        *,
        alpha: float = -9.0,
        connectivity: int | None = None,
        spacing_mm: Sequence[float] | None = None,
        **kwargs: Unpack[InputKeywords],
    ) -> None:
        super().__init__(**kwargs)
        if checked_number("alpha", alpha, low=-math.inf) >= 0:
            raise ValueError(f"Expected `alpha` to be below 0, but got {alpha!r}.")
        self.alpha = float(alpha)
        self.connectivity = connectivity
        self.spacing_mm = checked_spacing(spacing_mm)

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The weighted Hausdorff distance of each channel."""
        p = batch.voxels.p
        spacing = resolved_spacing(self.spacing_mm, p.ndim - 1)
        axes = _axes(p, spacing)
        farthest = math.hypot(*(extent * step for extent, step in zip(p.shape[1:], spacing, strict=True)))
        centers, owner = _centers(batch.target, spacing, self.connectivity)
        centers = centers.to(p.dtype)
        values = [
            self._distance(p[row], batch.kept[row], centers[owner == row], axes, farthest) for row in range(p.shape[0])
        ]
        return torch.stack(values).view(batch.shape[:2])

    def _distance(
        self, p: torch.Tensor, kept: torch.Tensor, points: torch.Tensor, axes: list[torch.Tensor], farthest: float
    ) -> torch.Tensor:
        """The weighted Hausdorff distance of one channel (*spatial) to points (K, spatial dims)."""
        p = torch.where(kept, p, 0)
        if points.shape[0] == 0:
            flat = p.flatten()
            return farthest * presence(flat, torch.zeros_like(flat, dtype=torch.int64), 1)[0]
        nearest = torch.full_like(p, torch.inf, requires_grad=False)
        to_points = p.new_zeros(())
        for chunk in points.split(max(1, _CHUNK // p.numel())):
            nearest = torch.minimum(nearest, _distances(chunk, axes).amin(0))
            means = checkpoint(
                _soft_minimum, p, kept, chunk, axes, farthest, self.alpha, use_reentrant=False, preserve_rng_state=False
            )
            to_points = to_points + means.sum()
        from_voxels = (p * nearest).sum() / (p.sum() + _EPSILON)
        return from_voxels + to_points / points.shape[0]


def _axes(p: torch.Tensor, spacing: Sequence[float]) -> list[torch.Tensor]:
    """Coordinates of the voxels of (R, *spatial) along each axis."""
    return [
        torch.arange(extent, device=p.device, dtype=p.dtype) * step
        for extent, step in zip(p.shape[1:], spacing, strict=True)
    ]


def _centers(
    target: torch.Tensor, spacing: Sequence[float], connectivity: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres of mass, float64 (K, spatial dims), of the components of masks (R, *spatial), and their rows (K,)."""
    found = label_instances(target[:, None], connectivity)
    where = positions(target)
    ids = found.labels.reshape(-1)[where].long() - 1
    coordinates = torch.stack(voxel_coordinates(where, target.shape[1:]), 1)
    sums = coordinate_sums(coordinates, ids, found.count)
    mean = sums.double() / torch.bincount(ids, minlength=found.count).unsqueeze(1)
    return mean * mean.new_tensor(spacing), found.sample


def _distances(points: torch.Tensor, axes: list[torch.Tensor]) -> torch.Tensor:
    """Distances (k, *spatial) of all voxels to points (k, spatial dims)."""
    squared = points.new_zeros(())
    for dim, axis in enumerate(axes):
        shape = [-1, *[1] * dim, axis.numel(), *[1] * (len(axes) - dim - 1)]
        squared = squared + (axis - points[:, dim, None]).square().view(shape)
    return squared.sqrt()


def _soft_minimum(
    p: torch.Tensor, kept: torch.Tensor, points: torch.Tensor, axes: list[torch.Tensor], farthest: float, alpha: float
) -> torch.Tensor:
    """Generalised mean (k,) over the voxels of their distance to each point, the farther the less likely they are."""
    # an activation may round p to a hair above 1
    reach = (p * _distances(points, axes) + (1 - p) * farthest).clamp(min=0) + _EPSILON
    powers = torch.where(kept, alpha * reach.log(), -torch.inf).flatten(1)
    return ((powers.logsumexp(1) - kept.sum().log()) / alpha).exp()
