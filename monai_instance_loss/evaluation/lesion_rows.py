"""What became of each lesion of a case."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from monai_instance_loss.instances import Instances
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table
from monai_instance_loss.transforms.measuring import measure_instances

__all__ = ["lesion_rows"]

Affine = NDArray[Any] | torch.Tensor


def lesion_rows(
    true: Instances, pred: Instances, affine: Affine | None = None, matches: OverlapTable | None = None
) -> list[dict[str, Any]]:
    """One row a lesion of either side of a case, the true ones first; see ``score_masks``.

    ``matches`` are the pairs that match, of ``match_instances``; None takes those that share a voxel. Without
    ``affine`` there are no ``volume_mm3`` and ``centroid_mm_x`` ...; in 2D, ``area_mm2`` and two axes.

    Example:
        >>> from monai_instance_loss import label_instances
        >>> mask = torch.tensor([[[[1, 0, 0, 1]]]])
        >>> rows = lesion_rows(label_instances(mask), label_instances(mask * torch.tensor([1, 1, 0, 0])))
        >>> [(row["side"], row["status"]) for row in rows]
        [('reference', 'detected'), ('reference', 'missed'), ('prediction', 'matched')]
    """
    matches = overlap_table(true, pred) if matches is None else matches
    pairs = torch.stack([matches.true_id, matches.pred_id, matches.shared]).T.tolist()
    found = _lesions(true, affine, "reference", ("detected", "missed"), pairs)
    return found + _lesions(pred, affine, "prediction", ("matched", "false"), [(j, i, n) for i, j, n in pairs])


def _lesions(
    instances: Instances, affine: Affine | None, side: str, words: tuple[str, str], pairs: list[Any]
) -> list[dict[str, Any]]:
    """Rows of one side; ``pairs`` are (id on this side, id on the other, voxels they share)."""
    partners: dict[int, list[int]] = {}
    shared: dict[int, int] = {}
    for own, other, voxels in pairs:
        partners.setdefault(own, []).append(other)
        shared[own] = shared.get(own, 0) + voxels
    rows = []
    places = ["volume_mm3", "area_mm2", *(f"centroid_mm_{axis}" for axis in "xyz")]
    places += [f"box_{end}_{axis}" for end in ("start", "stop") for axis in range(3)]
    for measured in measure_instances(instances, affine=affine):
        own = int(measured["id"])
        rows.append(
            {
                "side": side,
                "id": own,
                "status": words[0] if own in partners else words[1],
                **{name: measured[name] for name in ("voxels", *places) if name in measured},
                "partners": " ".join(map(str, sorted(partners.get(own, [])))),
                "overlap_voxels": shared.get(own, 0),
            }
        )
    return rows
