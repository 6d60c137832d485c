"""Separate lesions anywhere in the brain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

from .anatomy import Anatomy
from .blobs import draw_blob, seed_voxels
from .diseases import FocalLaw

__all__ = ["draw_focal_lesions"]

ndimage = import_extra("scipy.ndimage")

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_MARGIN_MM = 3.0
_RIM_MM = 2.0
_RIM_DEPTH = 0.25


def draw_focal_lesions(rng: np.random.Generator, anatomy: Anatomy, law: FocalLaw) -> tuple[BoolArray, FloatArray]:
    """Draw the separate lesions of one case, none of which touches another.

    Source: `FocalLaw`.

    Args:
        rng: random generator.
        anatomy: anatomy of the case.
        law: number, volumes, place and shape of the lesions.

    Returns:
        Lesions, cores of rings included, (X, Y, Z) bool; and the depth in rings, 0 outside them, 0.25 in the rim and 1
        in the core, (X, Y, Z) float32.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> from monai_instance_loss.data.diseases import DISEASES
        >>> rng = np.random.default_rng(0)
        >>> mask, depth = draw_focal_lesions(rng, draw_anatomy(rng, (4, 4, 6)), DISEASES["metastases"].focal)
        >>> bool(mask[depth > 0].all())
        True
    """
    mask, depth = np.zeros(anatomy.wm.shape, dtype=bool), np.zeros_like(anatomy.wm)
    is_free = rng.random() < law.free_share
    n_lesions = 0 if is_free else int(rng.integers(law.n_lesions[0], law.n_lesions[1] + 1))
    tissue = anatomy.gm + anatomy.wm
    allowed = (tissue > law.least_tissue) & (anatomy.brain_mm < -_MARGIN_MM) & (anatomy.ventricle_mm > 0)
    # Large ones first: where they may lie is scarce.
    low, high = np.log(law.volume_mm3)
    volumes_mm3 = np.sort(np.exp(rng.uniform(low, high, size=n_lesions)))[::-1]
    for volume_mm3 in volumes_mm3:
        # A lesion that starts at half its radius from fluid is round, instead of following the surface.
        room_mm = _MARGIN_MM + 0.5 * (volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
        inner = allowed & (anatomy.brain_mm < -room_mm) & (anatomy.ventricle_mm > room_mm)
        before = mask.copy()
        for seed in seed_voxels(rng, inner.astype(np.float32), 1):
            draw_blob(rng, mask, allowed, seed, float(volume_mm3), anatomy.spacing_mm, law.irregularity)
        lesion = mask & ~before
        large = np.count_nonzero(lesion) * np.prod(anatomy.spacing_mm) >= law.ring_mm3
        if rng.random() < law.ring_share and large:
            np.maximum(depth, _ring_depth(lesion, anatomy), out=depth)
    return mask, depth


def _ring_depth(lesion: BoolArray, anatomy: Anatomy) -> FloatArray:
    """Depth of a ring whose rim is at least one voxel thick; zero for a lesion too thin to have a core."""
    inner_mm = ndimage.distance_transform_edt(lesion, sampling=anatomy.spacing_mm)
    core = ndimage.binary_erosion(lesion) & (inner_mm > max(_RIM_MM, 0.3 * float(inner_mm.max())))
    depth = np.where(core, 1.0, _RIM_DEPTH * lesion) * core.any()
    return np.asarray(depth, dtype=np.float32)
