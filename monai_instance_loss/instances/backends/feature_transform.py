"""Nearest labels in plain torch operations, on the device of the labels: an exact Euclidean feature transform."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["nearest_labels"]

# lines are taken in pieces of about so many voxels, which stay in a cache and bound the memory
_PIECE = 2**20


def nearest_labels(labels: torch.Tensor, spacing: Sequence[float]) -> torch.Tensor:
    """The label of the labelled voxel that is nearest to each voxel; of equally near ones the smallest label.

    Source: squared distances are separable, so that each axis is minimised after the other (Maurer et al., IEEE TPAMI
    2003; Felzenszwalb and Huttenlocher, Theory of Computing 2012). A line is searched outwards from each of its voxels
    until no step can bring it nearer, which takes time in the largest distance. Differentiable: nothing.

    Args:
        labels: integer (blocks, *spatial), 0 being background; on any device that has float64.
        spacing: size of a voxel along each spatial axis, in any unit.

    Returns:
        A new tensor of the shape and type of ``labels``; 0 in blocks that have no label.

    Example:
        >>> import torch
        >>> nearest_labels(torch.tensor([[[3, 0, 0, 0, 2], [0, 0, 0, 0, 0]]]), (1.0, 1.0)).tolist()
        [[[3, 3, 2, 2, 2], [3, 3, 2, 2, 2]]]
    """
    distance = torch.zeros(labels.shape, dtype=torch.float64, device=labels.device)
    distance.masked_fill_(labels == 0, torch.inf)
    nearest = labels.clone()
    # the last axis first: in sparse maps most of its lines are empty, and empty lines are left out
    for axis in range(labels.ndim - 1, 0, -1):
        _search_axis(distance.movedim(axis, 0), nearest.movedim(axis, 0), float(spacing[axis - 1]))
    return nearest


def _search_axis(distance: torch.Tensor, nearest: torch.Tensor, spacing: float) -> None:
    """Update squared distances and labels (extent, *others) along the first axis, in place."""
    occupied = (distance < torch.inf).any(0).nonzero()
    if occupied.numel() == 0:
        return
    for line in occupied.split(max(1, _PIECE // distance.shape[0])):
        where = (slice(None), *line.unbind(1))
        distance[where], nearest[where] = _search_lines(distance[where], nearest[where], spacing)


def _search_lines(distance: torch.Tensor, labels: torch.Tensor, spacing: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The smallest squared distance (extent, lines) to a voxel of the same line, and the smallest label that has it."""
    best, nearest = distance.clone(), labels.clone()
    for step in range(1, distance.shape[0]):
        away = (spacing * step) ** 2
        if away > float(best.max()):
            break
        for here, there in ((slice(step, None), slice(None, -step)), (slice(None, -step), slice(step, None))):
            other, label = distance[there] + away, labels[there]
            nearer = (other < best[here]) | ((other == best[here]) & (label < nearest[here]))
            best[here] = torch.where(nearer, other, best[here])
            nearest[here] = torch.where(nearer, label, nearest[here])
    return best, nearest
