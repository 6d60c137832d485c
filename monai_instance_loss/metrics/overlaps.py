"""The overlap table: which true and predicted instances share voxels, and how well they agree, pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from monai_instance_loss.instances import Fragments, Instances, fragments

__all__ = ["MEASURES", "OverlapTable", "overlap_table"]

# from (shared voxels, voxels of the true side, voxels of the predicted side) to [0, 1]
MEASURES: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "iou": lambda shared, true, pred: shared.double() / (true + pred - shared),
    "dice": lambda shared, true, pred: 2 * shared.double() / (true + pred),
    "ior": lambda shared, true, pred: shared.double() / true,
}


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Pairs of a true and a predicted instance of a batch, with 0 shared voxels or more, and every instance's size.

    Its size is the number of pairs and of instances, whatever the number of voxels. Pairs are sorted by the two ids and
    none comes twice; both instances of a pair lie in one sample and channel.

    Attributes:
        true_id: int64 (P,); id of the true instance of each pair, in 1..N.
        pred_id: int64 (P,); id of the predicted instance, in 1..M.
        shared: int64 (P,); voxels that lie in both.
        true_voxels: int64 (N,); voxels of each true instance.
        pred_voxels: int64 (M,); voxels of each predicted instance.
        merged: bool (M,); the predicted instances that share a voxel with two true ones or more, whichever pairs are
            listed. None takes them from the pairs at construction.
        split: bool (N,); likewise the true instances that share a voxel with two predicted ones or more.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> y, y_pred = torch.tensor([[[[1, 1, 0, 1]]]]), torch.tensor([[[[0, 1, 0, 0]]]])
        >>> table = overlap_table(label_instances(y), label_instances(y_pred))
        >>> table.measure("iou").tolist(), [found.tolist() for found in table.found()]
        ([0.5], [[True, False], [True]])
    """

    true_id: torch.Tensor
    pred_id: torch.Tensor
    shared: torch.Tensor
    true_voxels: torch.Tensor
    pred_voxels: torch.Tensor
    merged: torch.Tensor = None  # type: ignore[assignment]
    split: torch.Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        sides = (("merged", self.pred_id, self.pred_voxels), ("split", self.true_id, self.true_voxels))
        for name, ids, voxels in sides:
            if getattr(self, name) is None:
                touching = torch.zeros_like(voxels).index_add_(0, ids - 1, (self.shared > 0).long())
                object.__setattr__(self, name, touching > 1)

    def measure(self, name: str) -> torch.Tensor:
        """float64 (P,) in [0, 1]: ``"iou"``, ``"dice"`` or ``"ior"`` (intersection over the true side) of each pair."""
        return MEASURES[name](self.shared, self.true_voxels[self.true_id - 1], self.pred_voxels[self.pred_id - 1])

    def select(self, keep: torch.Tensor) -> OverlapTable:
        """Only the pairs where ``keep``, bool (P,), is True; sizes stay."""
        return replace(self, true_id=self.true_id[keep], pred_id=self.pred_id[keep], shared=self.shared[keep])

    def with_pairs(self, true_id: torch.Tensor, pred_id: torch.Tensor) -> OverlapTable:
        """Other pairs, int64 (Q,) ids in any order, of which those that this table does not list share 0 voxels."""
        base = self.pred_voxels.numel() + 1
        wanted = torch.unique(true_id * base + pred_id)
        keys, row = torch.unique(torch.cat([self.true_id * base + self.pred_id, wanted]), return_inverse=True)
        listed = self.true_id.numel()
        shared = torch.zeros_like(keys).index_add_(0, row[:listed], self.shared)[row[listed:]]
        return replace(
            self, true_id=torch.div(wanted, base, rounding_mode="floor"), pred_id=wanted % base, shared=shared
        )

    def found(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Which true instances, bool (N,), and which predicted ones, bool (M,), are in a pair."""
        true = torch.zeros_like(self.true_voxels, dtype=torch.bool)
        pred = torch.zeros_like(self.pred_voxels, dtype=torch.bool)
        true[self.true_id - 1], pred[self.pred_id - 1] = True, True
        return true, pred

    def measure_unions(self, name: str) -> torch.Tensor:
        """float64 (N,): ``measure`` of each true instance and the union of the predicted ones it is in a pair with.

        It is 0 where there is none.
        """
        own = self.true_id - 1
        shared = torch.zeros_like(self.true_voxels).index_add_(0, own, self.shared)
        pred = torch.zeros_like(self.true_voxels).index_add_(0, own, self.pred_voxels[self.pred_id - 1])
        return MEASURES[name](shared, self.true_voxels, pred)


def overlap_table(true: Instances, pred: Instances) -> OverlapTable:
    """List the pairs of a true and a predicted instance that share a voxel.

    Source: ours; one pass over the foreground, see ``instances.fragments``. Differentiable: nothing.

    Args:
        true: true instances of a batch.
        pred: predicted instances of the same batch.

    Returns:
        The table.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> y, y_pred = torch.tensor([[[[1, 1, 0, 1]]]]), torch.tensor([[[[0, 1, 0, 0]]]])
        >>> table = overlap_table(label_instances(y), label_instances(y_pred))
        >>> table.shared.tolist(), table.true_voxels.tolist(), table.pred_voxels.tolist()
        ([1], [2, 1], [1])
    """
    return table_of_fragments(fragments(true.labels, pred.labels), true.count, pred.count)


def table_of_fragments(parts: Fragments, true_count: int, pred_count: int) -> OverlapTable:
    """``overlap_table`` of maps that are cut into fragments already."""
    both = (parts.true > 0) & (parts.pred > 0)
    sizes = [
        torch.zeros(count + 1, dtype=torch.int64, device=ids.device).index_add_(0, ids, parts.voxels)[1:]
        for ids, count in ((parts.true, true_count), (parts.pred, pred_count))
    ]
    return OverlapTable(parts.true[both], parts.pred[both], parts.voxels[both], *sizes)
