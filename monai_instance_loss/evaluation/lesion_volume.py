"""A case with what became of each of its lesions, turned to the patient's axes."""

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

__all__ = ["LesionVolume", "lesion_ids", "lesion_volume"]


@dataclass(frozen=True, eq=False)
class LesionVolume:
    """A case: its first axis runs to the patient's right, the second to the front, the third to the head.

    Attributes:
        case: name of the case.
        image: (X, Y, Z) grey values.
        detected: (X, Y, Z) ids of the true instances that a prediction touches, 0 elsewhere.
        missed: the same for the true instances that none touches.
        matched: the same for the predicted instances that touch a true one.
        false: the same for the predicted instances that touch none.
        ignored: (X, Y, Z) bool, voxels that are not scored.
        affine: (4, 4), from voxels to mm.
    """

    case: str
    image: NDArray[np.float32]
    detected: NDArray[np.int32]
    missed: NDArray[np.int32]
    matched: NDArray[np.int32]
    false: NDArray[np.int32]
    ignored: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each axis in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z


def lesion_volume(
    case: str,
    image: torch.Tensor,
    y_pred: torch.Tensor,
    y: torch.Tensor,
    connectivity: int | None = None,
    ignore_index: int | None = None,
) -> LesionVolume:
    """Match the instances of a case in 3D as ``metrics.match_by_touch``, and turn all of it to the patient's axes.

    Source: ours. Differentiable: nothing.

    Args:
        case: name of the case.
        image: (1, H, W, D), any orientation; a MetaTensor's affine says which and gives the voxel size.
        y_pred: (1, H, W, D) binarised prediction on the grid of ``image``.
        y: (1, H, W, D) binarised reference.
        connectivity: as in ``label_instances``.
        ignore_index: the value in ``y`` of voxels that are not scored.

    Raises:
        ValueError: a tensor is not (1, H, W, D), or the shapes differ.

    Example:
        >>> y = torch.zeros(1, 8, 8, 4)
        >>> y[0, 2, 2, 3] = 1
        >>> volume = lesion_volume("a", torch.rand(1, 8, 8, 4), torch.zeros_like(y), y)
        >>> int(volume.missed[2, 2, 3]), int(volume.detected.max())
        (1, 0)
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
    detected, missed = map(ras, _split(true, true_ids))
    matched, false = map(ras, _split(pred, pred_ids))
    ignored = ras(holds(y, ignore_index)) if ignore_index is not None else np.zeros_like(false, dtype=bool)
    return LesionVolume(
        case=case,
        image=ras(image).astype(np.float32),
        detected=detected,
        missed=missed,
        matched=matched,
        false=false,
        ignored=ignored,
        affine=affine @ nib.orientations.inv_ornt_aff(to_ras, image.shape[1:]),
    )


def lesion_ids(labels: NDArray[Any]) -> NDArray[Any]:
    """The ids in a label map, without the background's 0.

    Example:
        >>> lesion_ids(np.array([0, 3, 1, 3])).tolist()
        [1, 3]
    """
    return np.unique(labels[labels > 0])


def _split(instances: Instances, touched_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The label map of the instances among ``touched_ids``, and that of the others."""
    touched = torch.zeros(instances.count + 1, dtype=torch.bool)
    touched[touched_ids.cpu()] = True
    labels = instances.labels.cpu()
    found = touched[labels.long()]
    return labels.masked_fill(~found, 0), labels.masked_fill(found, 0)
