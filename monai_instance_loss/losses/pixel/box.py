"""Box losses: GIoU and DIoU of pairs of boxes, and of the soft boxes of instances."""

from __future__ import annotations

from abc import abstractmethod
from typing import Unpack

import torch

from monai_instance_loss._checks import checked_fraction
from monai_instance_loss.instances import merge_boxes, segment_sum
from monai_instance_loss.losses.engine.batch import Batch
from monai_instance_loss.losses.engine.overlap import VoxelOverlap
from monai_instance_loss.losses.engine.region import ImageLoss, InputKeywords

__all__ = ["InstanceBoxDIoULoss", "InstanceBoxGIoULoss", "diou_loss", "giou_loss"]


def giou_loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """GIoU loss of pairs of boxes, in [0, 2): 1 - IoU + (hull - union) / hull, hull being the smallest box around both.

    Source: Rezatofighi et al., *Generalized intersection over union*, CVPR 2019, arXiv 1902.09630. It equals
    ``monai.losses.BoxGIoULoss`` but for MONAI's epsilon, keeps float64, and gives NaN for NaN instead of an error.

    Args:
        input: (N, 4) or (N, 6) boxes in MONAI's ``StandardMode``: lower corner, then upper one. Differentiable.
        target: boxes of the same shape. Differentiable.

    Returns:
        (N,), in float32 (float64 for float64 boxes). Boxes without volume have an IoU of 0.

    Raises:
        ValueError: shapes that differ or are neither (N, 4) nor (N, 6).

    Example:
        >>> giou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0, 1.0]]))  # IoU 1/3, hull full
        tensor([0.6667])
    """
    (low, high), (true_low, true_high) = _corners(input, target)
    inter, union = _inter_union(low, high, true_low, true_high)
    hull = _volume(torch.minimum(low, true_low), torch.maximum(high, true_high))
    return 1 - _ratio(inter, union) + _ratio(hull - union, hull)


def diou_loss(input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """DIoU loss of pairs of boxes, in [0, 2): 1 - IoU + (distance of the centres / diagonal of the hull) squared.

    Source: Zheng et al., *Distance-IoU loss*, AAAI 2020, arXiv 1911.08287, in 2D and 3D.

    Args:
        input: (N, 4) or (N, 6) boxes in MONAI's ``StandardMode``: lower corner, then upper one. Differentiable.
        target: boxes of the same shape. Differentiable.

    Returns:
        (N,), in float32 (float64 for float64 boxes). Boxes without volume have an IoU of 0.

    Raises:
        ValueError: shapes that differ or are neither (N, 4) nor (N, 6).

    Example:
        >>> diou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 3.0, 1.0]]))  # 2/3 + 1 / (9 + 1)
        tensor([0.7667])
    """
    (low, high), (true_low, true_high) = _corners(input, target)
    inter, union = _inter_union(low, high, true_low, true_high)
    apart = ((low + high - true_low - true_high) / 2).square().sum(1)
    diagonal = (torch.maximum(high, true_high) - torch.minimum(low, true_low)).square().sum(1)
    return 1 - _ratio(inter, union) + _ratio(apart, diagonal)


class _InstanceBoxLoss(ImageLoss):
    """A box loss on instances; see the subclasses."""

    def __init__(
        self, *, threshold: float = 0.1, connectivity: int | None = None, **kwargs: Unpack[InputKeywords]
    ) -> None:
        super().__init__(**kwargs)
        self.threshold = checked_fraction("threshold", threshold)
        self.connectivity = connectivity

    @abstractmethod
    def box_loss(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss (N,) of pairs of boxes (N, 4) or (N, 6)."""

    def image_values(self, batch: Batch) -> torch.Tensor:
        """The mean over the true instances and the false predicted ones of each channel."""
        # an instance loss may look at instances of another threshold
        overlap = VoxelOverlap(batch.with_threshold(self.threshold), self.connectivity)
        soft = _soft_boxes(overlap)
        low, high = merge_boxes(*overlap.fragment_boxes, overlap.true.fragment, overlap.true.count + 1)
        boxes = torch.cat([low, high + 1], 1)[1:].to(soft.dtype)
        present = overlap.presence_true
        # weighed by a fixed presence: a box far off must not make it cheaper to miss the lesion
        found = 1 - present + present.detach() * self.box_loss(soft, boxes)
        values = torch.cat([found, overlap.presence_pred[overlap.false]])
        owner = torch.cat([overlap.true.block, overlap.pred.block[overlap.false]])
        count = torch.bincount(owner, minlength=overlap.blocks).clamp(min=1)
        means = segment_sum(values, owner, overlap.blocks) / count * overlap.finite
        return means.view(batch.shape[:2])


class InstanceBoxGIoULoss(_InstanceBoxLoss):
    r"""GIoU loss of the boxes of instances, in [0, 2): each lesion's box against the soft box of the prediction there.

    $$L = (\sum_i (1 - q_i + q_i L_i) + \sum_j q_j) / (K + F)$$

    over a channel's K true instances i and F predicted ones j that touch none, 0 without any; q is their presence
    (``instances.presence``), L_i the ``giou_loss`` of the boxes: a true instance costs 1 if missed, L_i if found.
    Source: the box loss is Rezatofighi et al., CVPR 2019, arXiv 1902.09630; that boxes can be trained through
    projections of a mask is from BoxInst, Tian et al., CVPR 2021, arXiv 2012.02310; the rest is ours. The bounding box
    of a component has no gradient. Instead, for each true instance G, with R = G united with the voxels off the target
    of the predicted components that touch it, an edge of the *soft box* is the mean, over thresholds u drawn evenly
    from (0, max p], of that edge of the bounding box of {p >= u} in R: that box itself where p is 0 or 1. In voxels.

    Differentiable in ``input``: L through the edges of the soft box, which for each projection is through its largest
    voxels, and presence through all voxels of a lesion; components, regions and the q before L are held fixed. Shapes:
    input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the same
    shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        threshold: predicted components are those of p >= ``threshold``; in (0, 1).
        connectivity: of instances, from 1 (across faces) to the number of spatial axes; None is full.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``threshold`` outside (0, 1), two activations, an unknown ``reduction``; on call, shapes that do not
            fit, a ``connectivity`` that the image does not have, a target that is not binary (or labels), probabilities
            outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> p = torch.tensor([[[[1.0, 1.0, 0.5, 0.0]]]])
        >>> loss = InstanceBoxGIoULoss()(p, y)  # upper edge at 3 for half of the thresholds, at 2 for the others
        >>> round(float(loss), 4)  # soft box 0..2.5: 1 - 2 / 2.5
        0.2
    """

    def box_loss(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``giou_loss``."""
        return giou_loss(input, target)


class InstanceBoxDIoULoss(_InstanceBoxLoss):
    r"""DIoU loss of the boxes of instances, in [0, 2): ``InstanceBoxGIoULoss`` with ``diou_loss`` for the box loss.

    $$L = (\sum_i (1 - q_i + q_i L_i) + \sum_j q_j) / (K + F)$$

    over a channel's K true instances i and F predicted ones j that touch none, q being presence, L_i ``diou_loss``.
    Source: Zheng et al., AAAI 2020, arXiv 1911.08287, on the soft boxes that ``InstanceBoxGIoULoss`` explains. They are
    in voxels, distances of centres too. Differentiable in ``input``, through edges of soft boxes and through presence.

    Shapes: input (B, C, H, W) or (B, C, H, W, D), any float type, computed in float32 (float64 for float64); target the
    same shape and binary, or (B, 1, *spatial) labels with ``to_onehot_y``.

    Args:
        threshold: predicted components are those of p >= ``threshold``; in (0, 1).
        connectivity: of instances, from 1 (across faces) to the number of spatial axes; None is full.
        kwargs: MONAI's input options: ``include_background``, ``to_onehot_y``, ``sigmoid``, ``softmax``, ``other_act``,
            ``ignore_index``, ``reduction``.

    Raises:
        TypeError: an option of the wrong type, an unknown keyword; on call, an input that is no float tensor, a target
            that is no tensor.
        ValueError: ``threshold`` outside (0, 1), two activations, an unknown ``reduction``; on call, shapes that do not
            fit, a ``connectivity`` that the image does not have, a target that is not binary (or labels), probabilities
            outside [0, 1].

    Example:
        >>> y = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
        >>> p = torch.tensor([[[[1.0, 1.0, 0.5, 0.0]]]])
        >>> round(float(InstanceBoxDIoULoss()(p, y)), 4)  # 1 - 2 / 2.5 + 0.25^2 / (2.5^2 + 1)
        0.2086
    """

    def box_loss(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """``diou_loss``."""
        return diou_loss(input, target)


def _soft_boxes(overlap: VoxelOverlap) -> torch.Tensor:
    """Soft box (K, 2 * spatial dims) of the prediction in the region of each true instance, upper edges exclusive."""
    true = overlap.true
    own = (true.fragment > 0).nonzero().squeeze(1)
    off_target = (true.fragment == 0).nonzero().squeeze(1)
    part_off_target = true.fragment.new_full((overlap.pred.count + 1,), -1)
    part_off_target[overlap.pred.fragment[off_target]] = off_target
    touching = part_off_target[overlap.pair_pred + 1]
    parts = torch.cat([own, touching[touching >= 0]])
    region = torch.cat([true.fragment[own] - 1, overlap.pair_true[touching >= 0]])

    # the many false components of an untrained network are in no region: they get no row
    used, row = torch.unique(parts, return_inverse=True)
    row_of_part = true.fragment.new_full(true.fragment.shape, -1)
    row_of_part[used] = torch.arange(used.numel(), device=used.device)
    voxel_row = row_of_part[overlap.fragment_ids]
    inside = voxel_row >= 0
    p, voxel_row, coordinates = overlap.batch.foreground.p[inside], voxel_row[inside], overlap.coordinates[inside]

    edges = []
    for axis, extent in enumerate(overlap.batch.shape[2:]):
        cells = p.new_zeros(used.numel() * extent)
        of_part = cells.scatter_reduce(0, voxel_row * extent + coordinates[:, axis], p, "amax").view(-1, extent)
        profile = p.new_zeros(true.count, extent).scatter_reduce(
            0, region[:, None].expand(-1, extent), of_part[row], "amax"
        )
        edges.append(_soft_edges(profile))
    return torch.cat([torch.stack([low for low, _ in edges], 1), torch.stack([high for _, high in edges], 1)], 1)


def _soft_edges(profile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean first index (K,) and mean last index + 1 of {profile >= u}, for u even in (0, the largest value]."""
    peak = profile.amax(1, keepdim=True)
    share = profile / torch.where(peak > 0, peak, 1)
    # the share of thresholds whose set has begun by an index, and of those whose set goes on to it
    begun, goes_on = share.cummax(1).values, share.flip(1).cummax(1).values
    return profile.shape[1] - begun.sum(1), goes_on.sum(1)


def _corners(
    input: torch.Tensor, target: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Lower and upper corners (N, spatial dims) of both, in float32 or float64."""
    for name, boxes in (("input", input), ("target", target)):
        if boxes.ndim != 2 or boxes.shape[1] not in (4, 6) or boxes.shape != input.shape:
            raise ValueError(
                f"Expected `{name}` to be boxes (N, 4) or (N, 6), as many as `input`, but got {tuple(boxes.shape)}."
            )
    wide = torch.promote_types(torch.promote_types(input.dtype, target.dtype), torch.float32)
    low, high = input.to(wide).chunk(2, 1)
    true_low, true_high = target.to(wide).chunk(2, 1)
    return (low, high), (true_low, true_high)


def _inter_union(
    low: torch.Tensor, high: torch.Tensor, true_low: torch.Tensor, true_high: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    inter = _volume(torch.maximum(low, true_low), torch.minimum(high, true_high))
    return inter, _volume(low, high) + _volume(true_low, true_high) - inter


def _volume(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    return (high - low).clamp(min=0).prod(1)


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """Part of whole, 0 where there is no whole."""
    return part / torch.where(whole == 0, 1, whole)
