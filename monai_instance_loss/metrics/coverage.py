"""Detection by coverage: enough of a lesion is covered, and not by instances that lie mostly elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from monai_instance_loss._checks import checked_number
from monai_instance_loss.metrics.overlaps import OverlapTable

__all__ = ["Coverage", "detect_by_coverage"]


@dataclass(frozen=True)
class Coverage:
    """When an instance is detected by those of the other side that touch it.

    Source: Commowick et al. 2018, doi:10.1038/s41598-018-31911-7, the MSSEG challenge; defaults are those of
    ``animaSegPerfAnalyzer``. Differentiable: nothing.

    Args:
        min_covered: part of the instance that has to be exceeded by its overlap with all others, in [0, 1].
        max_outside: part of an overlapping instance that may lie outside of all instances of this side, in [0, 1].
        enough: part of the overlap, in [0, 1]; overlapping instances are looked at from the largest overlap down until
            they make up this much, and each of these has to obey ``max_outside``.

    Raises:
        TypeError: an option is no number.
        ValueError: an option is out of range.

    Example:
        >>> Coverage().max_outside
        0.7
    """

    min_covered: float = 0.1
    max_outside: float = 0.7
    enough: float = 0.65

    def __post_init__(self) -> None:
        for name in ("min_covered", "max_outside", "enough"):
            checked_number(name, getattr(self, name), 0, 1)


def detect_by_coverage(touching: OverlapTable, coverage: Coverage | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Tell which true and which predicted instances the other side detects.

    Source: Commowick et al. 2018, doi:10.1038/s41598-018-31911-7. Of equal overlaps the larger instance is looked at
    first. Differentiable: nothing.

    Args:
        touching: all pairs that share a voxel, from ``overlap_table``.
        coverage: when an instance is detected; None is ``Coverage()``.

    Returns:
        bool (N,) of the true instances and bool (M,) of the predicted ones.

    Example:
        >>> from monai_instance_loss.instances import label_instances
        >>> from monai_instance_loss.metrics import overlap_table
        >>> true, pred = (label_instances(torch.tensor([[[row]]])) for row in ([1, 0, 0, 0, 0], [1, 1, 1, 1, 1]))
        >>> [side.tolist() for side in detect_by_coverage(overlap_table(true, pred))]  # 4 of 5 voxels lie outside
        [[False], [True]]
    """
    coverage = Coverage() if coverage is None else coverage
    sides = [
        (touching.true_id, touching.true_voxels, touching.pred_id, touching.pred_voxels),
        (touching.pred_id, touching.pred_voxels, touching.true_id, touching.true_voxels),
    ]
    true, pred = (_detected(touching.shared, *side, coverage) for side in sides)
    return true, pred


def _detected(
    shared: torch.Tensor,
    own_id: torch.Tensor,
    own_voxels: torch.Tensor,
    other_id: torch.Tensor,
    other_voxels: torch.Tensor,
    coverage: Coverage,
) -> torch.Tensor:
    covered = torch.zeros_like(own_voxels).index_add_(0, own_id - 1, shared)
    inside = torch.zeros_like(other_voxels).index_add_(0, other_id - 1, shared)
    mostly_outside = ((other_voxels - inside).double() / other_voxels > coverage.max_outside)[other_id - 1].tolist()
    sizes = other_voxels[other_id - 1].tolist()
    detected = (covered.double() / own_voxels > coverage.min_covered) & (covered > 0)
    overlaps: dict[int, list[tuple[int, int, int]]] = {}
    for pair, (owner, voxels) in enumerate(zip((own_id - 1).tolist(), shared.tolist(), strict=True)):
        overlaps.setdefault(owner, []).append((-voxels, -sizes[pair], pair))
    for owner in detected.nonzero().flatten().tolist():
        weight = 0.0
        for voxels, _, pair in sorted(overlaps[owner]):
            if weight >= coverage.enough:
                break
            if mostly_outside[pair]:
                detected[owner] = False
                break
            weight += -voxels / int(covered[owner])
    return detected
