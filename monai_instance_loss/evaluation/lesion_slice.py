"""From a case to the one axial slice that shows best what a model missed and made up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss._ignored import holds
from monai_instance_loss.instances import Instances, label_instances, touching_pairs
from monai_instance_loss.metrics.inputs import prepare_masks

__all__ = ["LesionSlice", "most_informative_slice"]


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
    for name, value in (("image", image), ("y_pred", y_pred), ("y", y)):
        if value.ndim != 4 or value.shape[0] != 1 or value.shape != image.shape:
            raise ValueError(
                f"Expected `{name}` to be (1, H, W, D) on the grid of `image`, {tuple(image.shape)}, "
                f"but got shape {tuple(value.shape)}."
            )
    affine = np.asarray(getattr(image, "affine", np.eye(4)), dtype=np.float64)
    to_ras = nib.orientations.io_orientation(affine)

    def ras(volume: torch.Tensor) -> NDArray[Any]:
        plain = volume.detach().as_subclass(torch.Tensor).cpu().numpy().reshape(image.shape[1:])
        return np.asarray(nib.orientations.apply_orientation(plain, to_ras))

    pred_mask, true_mask = prepare_masks(y_pred[None], y[None], ignore_index=ignore_index)
    true, pred = label_instances(true_mask, connectivity), label_instances(pred_mask, connectivity)
    true_ids, pred_ids, _ = touching_pairs(true.labels, pred.labels)
    maps = dict(zip(("detected", "missed"), map(ras, _split(true, true_ids)), strict=True))
    maps |= dict(zip(("matched", "false"), map(ras, _split(pred, pred_ids)), strict=True))
    ignored = ras(holds(y, ignore_index)) if ignore_index is not None else np.zeros_like(maps["false"], dtype=bool)

    axial = range(ignored.shape[2])
    errors = [len(_ids(maps["missed"][..., k])) + len(_ids(maps["false"][..., k])) for k in axial]
    lesion = (ras(true_mask) != 0).sum((0, 1))
    best = max(axial, key=lambda k: (errors[k], lesion[k]))
    ras_affine = affine @ nib.orientations.inv_ornt_aff(to_ras, image.shape[1:])
    centre = [(n - 1) / 2 for n in ignored.shape[:2]]
    spacing_mm = np.linalg.norm(ras_affine[:3, :2], axis=0)
    return LesionSlice(
        case=case,
        image=ras(image)[..., best].astype(np.float32),
        **{name: volume[..., best] for name, volume in maps.items()},
        ignored=ignored[..., best],
        spacing_mm=(float(spacing_mm[0]), float(spacing_mm[1])),
        position_mm=float((ras_affine @ [*centre, best, 1])[2]),
        index=best + 1,
        n_slices=len(axial),
        totals={name: len(_ids(volume)) for name, volume in maps.items()},
    )


def _split(instances: Instances, touched_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The label map of the instances among ``touched_ids``, and that of the others."""
    touched = torch.zeros(instances.count + 1, dtype=torch.bool)
    touched[touched_ids.cpu()] = True
    labels = instances.labels.cpu()
    found = touched[labels.long()]
    return labels.masked_fill(~found, 0), labels.masked_fill(found, 0)


def _ids(labels: NDArray[Any]) -> NDArray[Any]:
    return np.unique(labels[labels > 0])
