"""From a case to the one axial slice that shows best what a model missed and made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss.evaluation.lesion_volume import LesionVolume, lesion_ids, lesion_volume

__all__ = ["LesionSlice", "axial_slice", "most_informative_slice"]

_MAPS = ("detected", "missed", "matched", "false")


@dataclass(frozen=True, eq=False)
class LesionSlice:
    """One axial slice of a case, first axis to the patient's right and second to the front, and the case's totals.

    Attributes:
        case: name of the case.
        image: (X, Y) grey values.
        detected: (X, Y) ids of the true instances that a prediction touches, 0 elsewhere.
        missed: the same for the true instances that none touches.
        matched: the same for the predicted instances that touch a true one.
        false: the same for the predicted instances that touch none.
        ignored: (X, Y) bool, voxels that are not scored.
        spacing_mm: voxel size along X and Y in mm.
        position_mm: height of the slice's centre in the scanner's coordinates in mm, feet to head.
        index: number of the slice counted from the feet, starting at 1.
        n_slices: number of slices of the volume.
        totals: number of instances in the whole case, keyed as the maps.
    """

    case: str
    image: NDArray[np.float32]
    detected: NDArray[np.int32]
    missed: NDArray[np.int32]
    matched: NDArray[np.int32]
    false: NDArray[np.int32]
    ignored: NDArray[np.bool_]
    spacing_mm: tuple[float, float]
    position_mm: float
    index: int
    n_slices: int
    totals: dict[str, int]


def most_informative_slice(
    case: str,
    image: torch.Tensor,
    y_pred: torch.Tensor,
    y: torch.Tensor,
    connectivity: int | None = None,
    ignore_index: int | None = None,
) -> LesionSlice:
    """Cut out the axial slice with most missed and false instances; among equals, the one with most lesion.

    Source: ours. Instances match as in ``metrics.match_by_touch``, in 3D: an outline in the slice may belong to an
    instance that meets its counterpart in another one. Differentiable: nothing.

    Args:
        case: name of the case.
        image: (1, H, W, D), any orientation; a MetaTensor's affine says which and gives the voxel size.
        y_pred: (1, H, W, D) binarised prediction on the grid of ``image``.
        y: (1, H, W, D) binarised reference.
        connectivity: as in ``label_instances``.
        ignore_index: the value in ``y`` of voxels that are not scored.

    Returns:
        The slice.

    Raises:
        ValueError: a tensor is not (1, H, W, D), or the shapes differ.

    Example:
        >>> y = torch.zeros(1, 8, 8, 4)
        >>> y[0, 2, 2, 3] = y[0, 6, 6, 1] = 1
        >>> chosen = most_informative_slice("a", torch.rand(1, 8, 8, 4), (y.cumsum(3) == 1).float() * y[..., 3:], y)
        >>> chosen.index, chosen.totals["missed"]
        (2, 1)
    """
    return axial_slice(lesion_volume(case, image, y_pred, y, connectivity, ignore_index))


def axial_slice(volume: LesionVolume) -> LesionSlice:
    """As ``most_informative_slice``, of a case whose lesions are matched.

    Example:
        >>> y = torch.zeros(1, 8, 8, 4)
        >>> y[0, 2, 2, 3] = 1
        >>> axial_slice(lesion_volume("a", torch.rand(1, 8, 8, 4), torch.zeros_like(y), y)).index
        4
    """
    n_slices = volume.image.shape[2]
    maps = {name: getattr(volume, name) for name in _MAPS}
    errors = [sum(len(lesion_ids(maps[name][..., k])) for name in ("missed", "false")) for k in range(n_slices)]
    lesion = ((volume.detected > 0) | (volume.missed > 0)).sum((0, 1))
    best = max(range(n_slices), key=lambda k: (errors[k], lesion[k]))
    centre = [(n - 1) / 2 for n in volume.image.shape[:2]]
    return LesionSlice(
        case=volume.case,
        image=volume.image[..., best],
        **{name: labels[..., best] for name, labels in maps.items()},
        ignored=volume.ignored[..., best],
        spacing_mm=volume.spacing_mm[:2],
        position_mm=float((volume.affine @ [*centre, best, 1])[2]),
        index=best + 1,
        n_slices=n_slices,
        totals={name: len(lesion_ids(labels)) for name, labels in maps.items()},
    )
