"""Anatomy of one synthetic case on its scan grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._optional import import_extra

from .atlas import Atlas, load_atlas
from .noise import smooth_noise

__all__ = ["Anatomy", "draw_anatomy"]

ndimage = import_extra("scipy.ndimage")
Rotation = import_extra("scipy.spatial.transform", "Rotation")

FloatArray = NDArray[np.float32]

# The box around the head in MNI mm; below -64 mm a clinical brain scan has usually ended.
_HEAD_LOW_MM = np.array([-88.0, -124.0, -64.0])
_HEAD_HIGH_MM = np.array([88.0, 90.0, 98.0])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Anatomy of one case on its scan grid; every map is (X, Y, Z) float32.

    Source: `Atlas`, warped.

    Args:
        spacing_mm: voxel size in mm.
        affine: voxel index to scanner position in mm, (4, 4) float64.
        points_mm: MNI position of every voxel in mm, (3, X, Y, Z).
        gm: grey matter fraction.
        wm: white matter fraction.
        csf: fluid fraction, ventricles included.
        ventricle_mm: signed distance to the lateral ventricles in mm, negative inside.
        brain_mm: signed distance to the brain's surface in mm, negative inside.
        head_mm: signed distance to the head's surface in mm, negative inside.
        septum: fraction of septum pellucidum.
        t1_detail: T1 signal that the tissue fractions leave unexplained.

    Example:
        >>> anatomy = draw_anatomy(np.random.default_rng(0), (4, 4, 6))
        >>> anatomy.gm.shape == anatomy.points_mm.shape[1:]
        True
    """

    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    points_mm: FloatArray
    gm: FloatArray
    wm: FloatArray
    csf: FloatArray
    ventricle_mm: FloatArray
    brain_mm: FloatArray
    head_mm: FloatArray
    septum: FloatArray
    t1_detail: FloatArray


def draw_anatomy(rng: np.random.Generator, spacing_mm: Sequence[float]) -> Anatomy:
    """Draw the anatomy of one case: size, tilt, shape, ventricle width and atrophy.

    Source: random affine and smooth deformation of `Atlas`; ventricles widen along their distance map.

    Args:
        rng: random generator.
        spacing_mm: voxel size in mm.

    Raises:
        OptionalImportError: when nilearn is not installed.

    Example:
        >>> draw_anatomy(np.random.default_rng(0), (4, 4, 6)).spacing_mm
        (4.0, 4.0, 6.0)
    """
    spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    atlas = load_atlas(max(1, round(spacing[2])))
    points_mm, affine = _draw_grid(rng, spacing)
    widening_mm, atrophy = float(rng.uniform(0.0, 4.5)), float(rng.uniform(1.0, 1.8))
    ventricle_mm = atlas.ventricle_mm.sample(points_mm)
    shift_mm = _widening(points_mm, ventricle_mm, widening_mm)
    points_mm = points_mm - shift_mm * _outward(ventricle_mm, spacing)
    ventricle_mm = ventricle_mm - shift_mm - 0.3
    brain_mm = atlas.brain_mm.sample(points_mm)
    gm, wm, csf = _tissue_fractions(atlas, points_mm, brain_mm, atrophy)
    septum = _septum(points_mm, ventricle_mm, spacing)
    ramp_mm = max(1.0, 0.8 * min(spacing))
    ventricle = np.clip(0.5 - ventricle_mm / ramp_mm, 0, 1) * (1 - septum)
    gm, wm, csf = gm * (1 - ventricle), wm * (1 - ventricle), csf * (1 - ventricle) + ventricle
    return Anatomy(
        spacing_mm=spacing,
        affine=affine,
        points_mm=points_mm,
        gm=gm,
        wm=wm,
        csf=csf,
        ventricle_mm=ventricle_mm,
        brain_mm=brain_mm,
        head_mm=atlas.head_mm.sample(points_mm),
        septum=septum,
        t1_detail=atlas.t1_detail.sample(points_mm),
    )


def _draw_grid(
    rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> tuple[FloatArray, NDArray[np.float64]]:
    """MNI position of every voxel, and the affine of a scan whose slices follow the tilted head."""
    scale = rng.uniform(0.95, 1.05) * rng.uniform(0.97, 1.03, size=3)
    residual = Rotation.from_euler("xyz", rng.uniform(-3, 3, size=3), degrees=True).as_matrix()
    tilt = Rotation.from_euler("xyz", rng.uniform((-8, -3, -3), (8, 3, 3)), degrees=True).as_matrix()
    low_mm, high_mm = _HEAD_LOW_MM * scale, _HEAD_HIGH_MM * scale
    shape = tuple(int(n) for n in np.ceil((high_mm - low_mm) / spacing_mm) + 1)
    axes = [low + step * np.arange(n) for low, step, n in zip(low_mm, spacing_mm, shape, strict=True)]
    frame_mm = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    points_mm = np.tensordot((residual / scale[:, None]).astype(np.float32), frame_mm, axes=1)
    for axis in range(3):
        points_mm[axis] += 1.6 * smooth_noise(rng, shape, spacing_mm, 35.0)
    affine = np.eye(4)
    affine[:3, :3] = tilt * np.asarray(spacing_mm)
    affine[:3, 3] = tilt @ low_mm + rng.uniform(-12, 12, size=3)
    return points_mm, affine


def _widening(points_mm: FloatArray, ventricle_mm: FloatArray, widening_mm: float) -> FloatArray:
    """Outward shift in mm, fading into the brain; a decay length above the shift keeps the warp one-to-one."""
    above_thalamus = 1 / (1 + np.exp(-(points_mm[2] - 1) / 3))
    shift = widening_mm * above_thalamus * np.exp(-np.maximum(ventricle_mm, 0) / 14)
    return np.asarray(shift, dtype=np.float32)


def _outward(ventricle_mm: FloatArray, spacing_mm: tuple[float, float, float]) -> FloatArray:
    smooth = ndimage.gaussian_filter(ventricle_mm, [1.5 / s for s in spacing_mm])
    return np.stack(np.gradient(smooth, *spacing_mm)).astype(np.float32)


def _tissue_fractions(
    atlas: Atlas, points_mm: FloatArray, brain_mm: FloatArray, atrophy: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fractions sharpened by squaring, for the atlas is a blurred mean of many heads."""
    inside = np.clip(0.5 - brain_mm / 2, 0, 1)
    gm, wm = atlas.gm.sample(points_mm) * inside, atlas.wm.sample(points_mm) * inside
    parts = gm**2, wm**2, atrophy * np.clip(inside - gm - wm, 0, 1) ** 2
    total = np.maximum(sum(parts), 1e-6)
    sharp_gm, sharp_wm, sharp_csf = (np.asarray(inside * part / total, dtype=np.float32) for part in parts)
    return sharp_gm, sharp_wm, sharp_csf


def _septum(points_mm: FloatArray, ventricle_mm: FloatArray, spacing_mm: tuple[float, float, float]) -> FloatArray:
    """Thin sheet on the midline between the lateral ventricles; widening would otherwise erase it."""
    x, y, z = points_mm
    width_mm = max(0.9, 0.5 * spacing_mm[0])
    between = (y > -22) & (y < 26) & (z > 3) & (z < 25) & (ventricle_mm < 2)
    return np.asarray(0.9 / width_mm * np.exp(-((x / width_mm) ** 2)) * between, dtype=np.float32)
