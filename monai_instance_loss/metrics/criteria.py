"""Which pairs of a true and a predicted instance may match: by touch, by overlap, or by their centres."""

from __future__ import annotations

import torch

from monai_instance_loss._optional import import_extra
from monai_instance_loss.instances import Fragments, Instances, coordinate_sums, fragments
from monai_instance_loss.instances.voxels import voxel_coordinates
from monai_instance_loss.metrics.overlaps import MEASURES, OverlapTable, table_of_fragments

__all__ = ["CRITERIA", "candidate_pairs", "center_distances"]

KDTree = import_extra("scipy.spatial", "KDTree")

CRITERIA = ("touch", *MEASURES, "pred_center", "true_center", "center_distance")


def candidate_pairs(
    true: Instances,
    pred: Instances,
    criterion: str = "touch",
    threshold: float = 0.0,
    dilation_mm: float = 0.0,
    spacing: torch.Tensor | None = None,
    inclusive: bool = False,
) -> OverlapTable:
    """List the pairs that meet a criterion; ``Matching`` explains the criteria.

    Source: ours. One pass over the foreground, plus nearest-neighbour searches with ``dilation_mm``. Differentiable:
    nothing.

    Args:
        true: true instances of a batch.
        pred: predicted instances of the same batch.
        criterion: one of ``CRITERIA``.
        threshold: what the measure has to exceed where the criterion is one of ``"iou"``, ``"dice"``, ``"ior"``; in
            mm, what the distance has to be below for ``"center_distance"``.
        dilation_mm: how far ``"touch"`` grows true instances.
        spacing: float64 (B, spatial dims), size of a voxel in mm; needed with ``dilation_mm`` and
            ``"center_distance"``.
        inclusive: whether a pair exactly at the threshold meets the criterion.

    Returns:
        The pairs, in one sample and channel each; the voxels they share are those of the instances as given.

    Raises:
        ValueError: the shapes differ.
        ImportError: ``dilation_mm`` is given and scipy is not installed.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> y, y_pred = torch.tensor([[[[1, 1, 0, 1]]]]), torch.tensor([[[[0, 1, 1, 1]]]])
        >>> candidate_pairs(label_instances(y), label_instances(y_pred), "ior", 0.5).true_id.tolist()
        [2]
    """
    parts = fragments(true.labels, pred.labels)
    table = table_of_fragments(parts, true.count, pred.count)
    if criterion in MEASURES:
        value = table.measure(criterion)
        return table.select(value >= threshold if inclusive else value > threshold)
    if criterion == "center_distance":
        pairs = table.with_pairs(*_pairs_of_blocks(true, pred))
        distance = center_distances(true, pred, pairs, spacing)
        return pairs.select(distance <= threshold if inclusive else distance < threshold)
    if criterion == "pred_center":
        inside = _at_centers(true, pred, _center_sums(parts, parts.pred, pred), table.pred_voxels)
        return table.with_pairs(inside[inside > 0], inside.nonzero()[:, 0] + 1)
    if criterion == "true_center":
        inside = _at_centers(pred, true, _center_sums(parts, parts.true, true), table.true_voxels)
        return table.with_pairs(inside.nonzero()[:, 0] + 1, inside[inside > 0])
    if dilation_mm == 0 or spacing is None:
        return table
    near_true, near_pred = _within(true, parts, dilation_mm, spacing)
    return table.with_pairs(torch.cat([table.true_id, near_true]), torch.cat([table.pred_id, near_pred]))


def center_distances(
    true: Instances, pred: Instances, pairs: OverlapTable, spacing: torch.Tensor | None
) -> torch.Tensor:
    """float64 (P,), 0 or more: distance in mm between the centres of mass of the two instances of each pair.

    Source: ours. Differentiable: nothing.

    Args:
        true: true instances of a batch.
        pred: predicted instances of the same batch.
        pairs: of one true and one predicted instance in the same sample.
        spacing: float64 (B, spatial dims), size of a voxel in mm; None is 1 mm.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> true, pred = (label_instances(torch.tensor([[[row]]])) for row in ([1, 1, 0, 0], [0, 0, 0, 1]))
        >>> pairs = candidate_pairs(true, pred).with_pairs(torch.tensor([1]), torch.tensor([1]))
        >>> center_distances(true, pred, pairs, torch.tensor([[1.0, 2.0]]))
        tensor([5.], dtype=torch.float64)
    """
    parts = fragments(true.labels, pred.labels)
    centers = []
    for instances, ids, voxels in ((true, parts.true, pairs.true_voxels), (pred, parts.pred, pairs.pred_voxels)):
        center = _center_sums(parts, ids, instances).double() / voxels[:, None]
        centers.append(center if spacing is None else center * spacing.to(center)[instances.sample])
    step = centers[0][pairs.true_id - 1] - centers[1][pairs.pred_id - 1]
    # axis by axis, so that equal steps make equal distances
    return sum(((axis * axis) for axis in step.unbind(1)), step.new_zeros(len(step))).sqrt()


def _pairs_of_blocks(true: Instances, pred: Instances) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids int64 (P,) of every pair of a true and a predicted instance in one sample and channel."""
    true_row, pred_row = (true.block[:, None] == pred.block).nonzero().unbind(1)
    return true_row + 1, pred_row + 1


def _center_sums(parts: Fragments, ids: torch.Tensor, instances: Instances) -> torch.Tensor:
    """int64 (N, spatial dims): sums of the voxel indices of each instance; ``ids`` (A,) says whose fragments are."""
    coordinates = torch.stack(voxel_coordinates(parts.position, instances.shape[2:]), 1)
    own = ids > 0
    return coordinate_sums(coordinate_sums(coordinates, parts.ids, parts.count)[own], ids[own] - 1, instances.count)


def _at_centers(other: Instances, own: Instances, sums: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """int64 (N,): the instance of ``other`` at the rounded centre of mass of each instance of ``own``, 0 for none."""
    # integers throughout: halves go up, whatever the device
    center = torch.div(2 * sums + voxels[:, None], 2 * voxels[:, None], rounding_mode="floor")
    position = own.block
    for extent, index in zip(own.shape[2:], center.unbind(1), strict=True):
        position = position * extent + index
    return other.labels.reshape(-1)[position].long()


def _within(
    true: Instances, parts: Fragments, distance_mm: float, spacing: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids of pairs of a predicted voxel outside every true instance and the nearest of these within a distance."""
    true_ids, pred_ids = parts.true[parts.ids].cpu(), parts.pred[parts.ids].cpu()
    position = parts.position.cpu()
    # the distance is inclusive, and a multiple of the spacing need not be exact
    bound = distance_mm * (1 + 1e-9)
    block = torch.div(position, max(true.shape[2:].numel(), 1), rounding_mode="floor")
    near: list[torch.Tensor] = [torch.zeros(2, 0, dtype=torch.int64)]
    # a search tree on the foreground of each sample and channel; a distance transform would walk through the volume
    for row in torch.unique(true.block.cpu()).tolist():
        here = block == row
        steps = spacing[row // true.shape[1]].cpu()
        points = torch.stack(voxel_coordinates(position[here], true.shape[2:]), 1) * steps
        owner, other = true_ids[here], pred_ids[here]
        tree = KDTree(points[owner > 0].numpy())
        distance, index = tree.query(points[owner == 0].numpy(), distance_upper_bound=bound)
        close = torch.from_numpy(distance).isfinite()
        nearest = owner[owner > 0][torch.from_numpy(index)[close]]
        near.append(torch.stack([nearest, other[owner == 0][close]]))
    nearby_true, nearby_pred = torch.cat(near, 1).to(parts.true.device)
    return nearby_true, nearby_pred
