"""Numbers per sample, channel and, where asked for, bin of instance volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monai_instance_loss.instances import Instances, segment_sum
from monai_instance_loss.instances.spacing import VOLUME_TOLERANCE

__all__ = ["Groups", "checked_edges", "group_instances"]


@dataclass(frozen=True, eq=False)
class Groups:
    """Which cell of a (B, C) table, or (B, C, bins), each instance belongs to.

    Attributes:
        index: int64 (N,); flat index of the cell of each instance.
        shape: shape of the table.

    Example:
        >>> groups = Groups(torch.tensor([0, 1, 1]), torch.Size([1, 2]))
        >>> groups.count(torch.tensor([True, True, False])).tolist(), groups.sum(torch.tensor([0.5, 0, 2])).tolist()
        ([[1, 1]], [[0.5, 2.0]])
    """

    index: torch.Tensor
    shape: torch.Size

    def count(self, members: torch.Tensor) -> torch.Tensor:
        """int64 table of how many instances there are where ``members``, bool (N,), is True."""
        return torch.bincount(self.index[members], minlength=self.shape.numel()).view(self.shape)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """float64 table of sums of ``values`` (N,)."""
        return segment_sum(values.double(), self.index, self.shape.numel()).view(self.shape)


def group_instances(
    instances: Instances,
    voxels: torch.Tensor | None = None,
    volume_edges_mm3: Sequence[float] | None = None,
    spacing: torch.Tensor | None = None,
) -> Groups:
    """Sort instances by sample and channel and, with edges, by volume: bin k holds volumes in [edge k - 1, edge k).

    Source: ours. A volume that falls short of an edge by one part in a million counts as on it, so that rounding of
    the spacing does not decide. Differentiable: nothing.

    Args:
        instances: the instances of a batch.
        voxels: int64 (N,), how many voxels each has; needed with edges.
        volume_edges_mm3: increasing edges between bins in mm3, in mm2 for 2D; the first bin starts at 0 and the last
            has no end. None sorts by sample and channel only.
        spacing: float64 (B, spatial dims), size of a voxel in mm; needed with edges.

    Returns:
        Groups of a (B, C) table; with edges of a (B, C, number of edges + 1) one.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> y = label_instances(torch.tensor([[[[1, 1, 1, 0, 1]]]]))
        >>> spacing = torch.tensor([[2.0, 2.0]])
        >>> group_instances(y, torch.tensor([3, 1]), (5.0, 20.0), spacing).index.tolist()
        [1, 0]
    """
    table = instances.shape[:2]
    if volume_edges_mm3 is None or voxels is None or spacing is None:
        return Groups(instances.block, table)
    edges = torch.tensor(volume_edges_mm3, dtype=torch.float64, device=voxels.device)
    volume = voxels * spacing.to(voxels.device).prod(1)[instances.sample]
    bins = torch.bucketize(volume * (1 + VOLUME_TOLERANCE), edges, right=True)
    return Groups(instances.block * (edges.numel() + 1) + bins, torch.Size([*table, edges.numel() + 1]))


def checked_edges(volume_edges_mm3: Sequence[float] | None) -> tuple[float, ...] | None:
    """The edges as a tuple of increasing positive finite numbers, or None.

    Raises:
        TypeError: they are no sequence.
        ValueError: they are not increasing positive finite numbers, or there is none.

    Example:
        >>> checked_edges([10, 100])
        (10.0, 100.0)
    """
    if volume_edges_mm3 is None:
        return None
    if isinstance(volume_edges_mm3, str) or not hasattr(volume_edges_mm3, "__len__"):
        raise TypeError(
            f"Expected `volume_edges_mm3` to be None or a sequence, but got {type(volume_edges_mm3).__name__}."
        )
    edges = tuple(map(float, volume_edges_mm3))
    steps = zip((0.0, *edges), edges, strict=False)
    if not edges or not all(low < high < math.inf for low, high in steps):
        raise ValueError(
            f"Expected `volume_edges_mm3` to be increasing positive finite numbers, but got {volume_edges_mm3}."
        )
    return edges
