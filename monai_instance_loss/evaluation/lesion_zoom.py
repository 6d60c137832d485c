"""Close views of missed and false lesions in three planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss.evaluation.lesion_slice import LesionSlice
from monai_instance_loss.evaluation.lesion_volume import LesionVolume, lesion_ids

__all__ = ["LesionZoom", "Plane", "zoom_on_errors"]

_ERRORS = ("missed", "false")
# the view is so wide at least, and leaves so much around a lesion
_MIN_WIDTH_MM = 24.0
_MARGIN_MM = 6.0
# name, sides on the left and on the right, axes shown and axis cut
_PLANES = (("axial z", "RL", (0, 1), 2), ("coronal y", "RL", (0, 2), 1), ("sagittal x", "AP", (1, 2), 0))


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through a lesion.

    Attributes:
        title: which plane, and where in mm.
        sides: letters of the patient's sides on the left and on the right of the view.
        image: (A, B) grey values.
        maps: (A, B) label maps of ``LesionVolume`` by name, and ``ignored``.
        spacing_mm: voxel size along both axes in mm.
        centre_mm: of the view, from the corner of the first voxel, in mm.
    """

    title: str
    sides: str
    image: NDArray[np.float32]
    maps: dict[str, NDArray[Any]]
    spacing_mm: tuple[float, float]
    centre_mm: tuple[float, float]

    def view(self, width_mm: float) -> dict[str, NDArray[Any]]:
        """The part of the maps that a square view of this width shows."""
        window = tuple(
            slice(max(0, math.floor((centre - width_mm / 2) / step)), math.ceil((centre + width_mm / 2) / step))
            for centre, step in zip(self.centre_mm, self.spacing_mm, strict=True)
        )
        return {name: labels[window] for name, labels in self.maps.items()}


@dataclass(frozen=True, eq=False)
class LesionZoom:
    """A missed or false lesion from near, in three planes.

    Attributes:
        status: ``missed`` or ``false``.
        voxels: its number of voxels.
        volume_mm3: its volume in mm3.
        width_mm: width and height of the view in mm.
        planes: axial, coronal and sagittal.
    """

    status: str
    voxels: int
    volume_mm3: float
    width_mm: float
    planes: Sequence[Plane]


def zoom_on_errors(volume: LesionVolume, shown: LesionSlice, count: int = 2) -> list[LesionZoom]:
    """The largest missed and the largest false lesion in a slice, and the next ones where one kind is lacking.

    Source: ours. All planes go through a voxel of the lesion, the axial one in the slice that is shown.

    Args:
        volume: the case.
        shown: its slice.
        count: how many lesions at most.

    Example:
        >>> import torch
        >>> from monai_instance_loss.evaluation.lesion_slice import axial_slice
        >>> from monai_instance_loss.evaluation.lesion_volume import lesion_volume
        >>> y = torch.zeros(1, 8, 8, 4)
        >>> y[0, 2, 2, 2:] = 1
        >>> volume = lesion_volume("a", torch.rand(1, 8, 8, 4), torch.zeros_like(y), y)
        >>> [(zoom.status, zoom.voxels) for zoom in zoom_on_errors(volume, axial_slice(volume))]
        [('missed', 2)]
    """
    found = []
    for status in _ERRORS:
        labels = getattr(volume, status)
        own = lesion_ids(labels[..., shown.index - 1])
        sizes = np.bincount(labels.ravel())
        found += [
            (rank, status, int(lesion)) for rank, lesion in enumerate(own[np.argsort(-sizes[own], kind="stable")])
        ]
    # by rank, so that both kinds are shown where there are both
    chosen = sorted(found, key=lambda error: (error[0], _ERRORS.index(error[1])))[:count]
    return [_zoom(volume, shown.index - 1, status, lesion) for _, status, lesion in chosen]


def _zoom(volume: LesionVolume, axial: int, status: str, lesion: int) -> LesionZoom:
    voxels = np.argwhere(getattr(volume, status) == lesion)
    spacing = np.array(volume.spacing_mm)
    # the voxel of the lesion in the slice that is shown that is nearest to the middle of the lesion there
    here = voxels[voxels[:, 2] == axial]
    middle = here[np.argmin((((here - here.mean(0)) * spacing) ** 2).sum(1))]
    extent = (np.ptp(voxels, axis=0) + 1) * spacing
    width = max(_MIN_WIDTH_MM, float(extent.max()) + 2 * _MARGIN_MM)
    centre = (voxels.min(0) + voxels.max(0) + 1) / 2 * spacing
    position = (volume.affine @ [*middle, 1])[:3]
    planes = []
    for title, sides, (first, second), cut in _PLANES:
        place: list[Any] = [slice(None)] * 3
        place[cut] = int(middle[cut])
        maps = {name: getattr(volume, name)[tuple(place)] for name in ("detected", "missed", "matched", "false")}
        planes.append(
            Plane(
                title=f"{title} = {position[cut]:+.0f} mm",
                sides=sides,
                image=volume.image[tuple(place)],
                maps={**maps, "ignored": volume.ignored[tuple(place)]},
                spacing_mm=(float(spacing[first]), float(spacing[second])),
                centre_mm=(float(centre[first]), float(centre[second])),
            )
        )
    return LesionZoom(
        status, len(voxels), len(voxels) * abs(float(np.linalg.det(volume.affine[:3, :3]))), width, planes
    )
