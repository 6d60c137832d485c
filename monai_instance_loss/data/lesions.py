"""Pathology of one synthetic case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

from .anatomy import Anatomy
from .blobs import draw_blob, seed_voxels
from .diseases import DISEASES, Disease
from .focal_lesions import draw_focal_lesions
from .noise import smooth_noise

__all__ = ["LESION", "OTHER", "Lesions", "draw_lesions"]

ndimage = import_extra("scipy.ndimage")

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

LESION = 1
OTHER = 2
_TOUCHING = np.ones((3, 3, 3), dtype=bool)
_MIN_VOXELS = 2
_MIN_MM3 = 9.0


@dataclass(frozen=True, eq=False)
class Lesions:
    """Pathology of one case, each map (X, Y, Z).

    Source: drawn by `draw_lesions`.

    Args:
        label: 0 background, 1 lesion of the disease, 2 other pathology; uint8.
        severity: signal change of lesions, 0 to about 1, with a soft rim; float32.
        cavity_depth: 0 outside infarcts and rings, rising to 1 at their fluid-like core; float32.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> rng = np.random.default_rng(0)
        >>> draw_lesions(rng, draw_anatomy(rng, (4, 4, 6))).label.dtype
        dtype('uint8')
    """

    label: NDArray[np.uint8]
    severity: FloatArray
    cavity_depth: FloatArray


def draw_lesions(rng: np.random.Generator, anatomy: Anatomy, disease: Disease = DISEASES["wmh"]) -> Lesions:
    """Draw the lesions of one case: of white matter disease, or separate ones as the disease has them.

    Source: the look of age-related white matter disease (Fazekas scale), and `Disease`; not a fit to data.

    Args:
        rng: random generator.
        anatomy: anatomy of the case.
        disease: what the lesions are like.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> rng = np.random.default_rng(0)
        >>> bool((draw_lesions(rng, draw_anatomy(rng, (4, 4, 6))).label == LESION).any())
        True
    """
    if disease.focal is None:
        mask, cavity_depth = _draw_white_matter_disease(rng, anatomy)
    else:
        mask, cavity_depth = draw_focal_lesions(rng, anatomy, disease.focal)
    mask = _drop_specks(mask, anatomy)
    other = OTHER * (cavity_depth > 0)
    label = np.where(mask, LESION, other).astype(np.uint8)
    return Lesions(label=label, severity=_severity(rng, anatomy, mask, disease.contrast), cavity_depth=cavity_depth)


def _draw_white_matter_disease(rng: np.random.Generator, anatomy: Anatomy) -> tuple[BoolArray, FloatArray]:
    """Periventricular and deep hyperintensities, and in a quarter of the cases the depth of an infarct."""
    load = float(rng.beta(1.3, 1.5))
    infarct_depth = _draw_infarct(rng, anatomy) if rng.random() < 0.25 else np.zeros_like(anatomy.wm)
    x, _, z = anatomy.points_mm
    # Cerebellum, brain stem and corpus callosum are left out: white matter disease mostly spares them.
    allowed = (anatomy.wm > 0.6) & (np.abs(x) > 7) & (z > -18) & (anatomy.ventricle_mm > 0) & (anatomy.brain_mm < -4)
    allowed &= ~ndimage.binary_dilation(infarct_depth > 0, _TOUCHING, iterations=2)
    mask = _draw_periventricular(rng, anatomy, allowed, load)
    _draw_deep(rng, anatomy, allowed, mask, load)
    return mask, infarct_depth


def _draw_periventricular(rng: np.random.Generator, anatomy: Anatomy, allowed: BoolArray, load: float) -> BoolArray:
    """Bands along the ventricles, thickest at the horns, with a ragged outer edge that sheds islands."""
    x, y, z = anatomy.points_mm
    shape, spacing = anatomy.wm.shape, anatomy.spacing_mm
    frontal = np.exp(-((np.abs(x) - 18) ** 2) / 220 - (y - 32) ** 2 / 220 - (z - 8) ** 2 / 250)
    occipital = np.exp(-((np.abs(x) - 26) ** 2) / 200 - (y + 52) ** 2 / 350 - (z - 12) ** 2 / 250)
    body = np.exp(-((np.abs(x) - 22) ** 2) / 200 - (y + 8) ** 2 / 1200 - (z - 25) ** 2 / 120)
    caps = (3.0 + 8.0 * load) * (frontal + occipital) + (1.0 + 8.0 * load) * body
    midline = 9.0 * np.exp(-((x / 12) ** 2))
    ragged = (0.8 + 2.2 * load) * smooth_noise(rng, shape, spacing, 12.0)
    ragged += (0.5 + 0.9 * load) * smooth_noise(rng, shape, spacing, 4.0)
    thickness_mm = -3.5 + 3.0 * load + caps - midline + ragged
    return np.asarray(allowed & (anatomy.ventricle_mm < thickness_mm), dtype=np.bool_)


def _draw_deep(rng: np.random.Generator, anatomy: Anatomy, allowed: BoolArray, mask: BoolArray, load: float) -> None:
    """Add separate lesions to ``mask``, most of them near its smallest size, thinning out with distance."""
    voxel_mm3 = float(np.prod(anatomy.spacing_mm))
    smallest_mm3 = max(_MIN_VOXELS * voxel_mm3, _MIN_MM3)
    density = allowed * (0.12 + np.exp(-np.maximum(anatomy.ventricle_mm - 4, 0) / 11))
    n_lesions = int(rng.poisson(8 + 45 * load))
    # A Pareto tail: most lesions are punctate, a few are confluent.
    volumes_mm3 = smallest_mm3 * rng.random(n_lesions) ** (-1 / 0.85)
    limit_mm3 = smallest_mm3 + 300 + 1500 * load
    seeds = seed_voxels(rng, density, n_lesions)
    for volume_mm3, seed in zip(np.minimum(volumes_mm3, limit_mm3), seeds, strict=True):
        draw_blob(rng, mask, allowed, seed, float(volume_mm3), anatomy.spacing_mm)


def _draw_infarct(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    """Depth of one cortical infarct: an irregular ball just below the brain's surface."""
    x, _, z = anatomy.points_mm
    tissue = anatomy.gm + anatomy.wm
    surface = (anatomy.brain_mm < -5) & (anatomy.brain_mm > -13) & (np.abs(x) > 24) & (z > -8) & (tissue > 0.6)
    radius_mm = float(rng.uniform(9, 15))
    centre = seed_voxels(rng, surface.astype(np.float32), 1)[0]
    steps = np.ogrid[tuple(slice(-c, n - c) for c, n in zip(centre, anatomy.wm.shape, strict=True))]
    stretch = rng.uniform(0.8, 1.3, size=3)
    distance_mm = np.sqrt(sum((g * s / k) ** 2 for g, s, k in zip(steps, anatomy.spacing_mm, stretch, strict=True)))
    edge = 1 + 0.22 * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 9.0)
    depth = np.clip(1 - distance_mm / (radius_mm * np.maximum(edge, 0.4)), 0, 1) * (anatomy.brain_mm < -1.5)
    return np.asarray(depth * (anatomy.ventricle_mm > 4), dtype=np.float32)


def _drop_specks(mask: BoolArray, anatomy: Anatomy) -> BoolArray:
    labels, n = ndimage.label(mask, _TOUCHING)
    size = np.bincount(labels.ravel(), minlength=n + 1)
    fits = (size >= _MIN_VOXELS) & (size * np.prod(anatomy.spacing_mm) >= _MIN_MM3)
    fits[0] = False
    return np.asarray(fits[labels], dtype=np.bool_)


def _severity(rng: np.random.Generator, anatomy: Anatomy, mask: BoolArray, contrast: tuple[float, float]) -> FloatArray:
    """Faint for small lesions, strong for large ones; the rim fades outwards over about a millimetre."""
    labels, n = ndimage.label(mask, _TOUCHING)
    volume_mm3 = np.bincount(labels.ravel(), minlength=n + 1) * np.prod(anatomy.spacing_mm)
    height = (contrast[0] + contrast[1] * (1 - np.exp(-volume_mm3 / 300))) * rng.uniform(0.85, 1.2, size=n + 1)
    height[0] = 0
    mottled = 1 + 0.12 * smooth_noise(rng, mask.shape, anatomy.spacing_mm, 6.0)
    sharp = (height[labels] * mottled).astype(np.float32)
    soft = ndimage.gaussian_filter(sharp, [min(1.2 / s, 0.7) for s in anatomy.spacing_mm])
    # Blurring alone would sink a two-voxel lesion into the noise, so inside the label most height is kept.
    return np.asarray(np.where(mask, 0.7 * sharp + 0.3 * soft, soft), dtype=np.float32)
