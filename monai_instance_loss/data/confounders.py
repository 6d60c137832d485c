"""Bright FLAIR signal that is no lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .blobs import seed_voxels
from .diseases import DISEASES, Disease
from .noise import smooth_noise

__all__ = ["draw_confounders"]

FloatArray = NDArray[np.float32]


def draw_confounders(rng: np.random.Generator, anatomy: Anatomy, disease: Disease = DISEASES["wmh"]) -> FloatArray:
    """Draw what is bright on FLAIR without being a lesion, so that a network makes false lesions.

    Source: pitfalls named in the WMH Segmentation Challenge's annotation protocol and in the STRIVE criteria:
    ventricle lining and septum, insular and cingulate cortex, choroid plexus and vessels, pulsation and
    truncation artefacts; for microbleeds, after the rating scales for them, vessels.

    Args:
        rng: random generator.
        anatomy: anatomy of the case.
        disease: how many look-alikes there are beyond, and how bright.

    Returns:
        Signal to add to FLAIR, (X, Y, Z) float32, with white matter at 1.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> rng = np.random.default_rng(0)
        >>> bool(draw_confounders(rng, draw_anatomy(rng, (4, 4, 6))).max() > 0.3)
        True
    """
    bright = np.maximum(_lining(rng, anatomy), _bright_cortex(rng, anatomy))
    bright = np.maximum(bright, _dots(rng, anatomy))
    pulsation, truncation = _pulsation(rng, anatomy), _truncation(rng, anatomy)
    bright = np.maximum(bright, _lookalikes(rng, anatomy, disease))
    return np.asarray(bright + pulsation + truncation, dtype=np.float32)


def _lining(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    width_mm = max(0.9, 0.45 * min(anatomy.spacing_mm))
    patchy = np.clip(0.8 + 0.5 * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 14.0), 0.1, 1.7)
    line = np.exp(-(((anatomy.ventricle_mm - 0.4) / width_mm) ** 2))
    halo = 0.08 * np.exp(-np.maximum(anatomy.ventricle_mm, 0) / 5) * (anatomy.ventricle_mm > 0)
    lining = float(rng.uniform(0.3, 0.6)) * patchy * line * 0.9 / width_mm
    septum = float(rng.uniform(0.3, 0.7)) * anatomy.septum
    return np.asarray(np.maximum(lining, septum) + halo, dtype=np.float32)


def _bright_cortex(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    x, y, z = anatomy.points_mm
    insula = np.exp(-((np.abs(x) - 38) ** 2) / 60 - (y - 3) ** 2 / 300 - (z - 2) ** 2 / 150)
    cingulate = np.exp(-(x**2) / 60 - (y - 12) ** 2 / 900 - (z - 30) ** 2 / 200)
    patches = np.clip(smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 14.0) - 1.0, 0, 1)
    share = float(rng.uniform(0.12, 0.35)) * (insula + cingulate) + 0.22 * patches
    return np.asarray(share * anatomy.gm * (anatomy.brain_mm < -1), dtype=np.float32)


def _dots(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    """Vessels in the sulci and choroid plexus in the ventricles."""
    sulci = (anatomy.csf > 0.4) & (anatomy.brain_mm < -2) & (anatomy.ventricle_mm > 5)
    _, y, _ = anatomy.points_mm
    plexus = (anatomy.ventricle_mm < -1.0) & (y < -15)
    seeds = np.concatenate(
        [
            seed_voxels(rng, sulci.astype(np.float32), int(rng.integers(12, 35))),
            seed_voxels(rng, plexus.astype(np.float32), int(rng.integers(2, 6))),
        ]
    )
    radius_mm = rng.uniform(1.0, 2.0, size=len(seeds))
    heights = rng.uniform(0.6, 1.3, size=len(seeds))
    return np.asarray(_paint(anatomy, seeds, radius_mm, heights) * (1 - anatomy.wm) ** 2, dtype=np.float32)


def _lookalikes(rng: np.random.Generator, anatomy: Anatomy, disease: Disease) -> FloatArray:
    """As bright as the disease's lesions: half of them vessels cut across in sulci, half streaks through tissue."""
    n_dots, n_streaks = (int(n) // 2 for n in rng.integers(*disease.n_lookalikes, size=2, endpoint=True))
    tissue = anatomy.gm + anatomy.wm
    sulci = (anatomy.csf > 0.4) & (anatomy.brain_mm < -2) & (anatomy.ventricle_mm > 5)
    inside = (tissue > 0.8) & (anatomy.brain_mm < -6) & (anatomy.ventricle_mm > 3)
    low, high = disease.contrast[0], sum(disease.contrast)
    dots = seed_voxels(rng, sulci.astype(np.float32), n_dots)
    # Fluid is darker than white matter by about 0.7, which a dot in it makes up for.
    dot_heights = 0.7 + rng.uniform(low, high, size=len(dots))
    bright = _paint(anatomy, dots, rng.uniform(1.5, 2.5, size=len(dots)), dot_heights) * (1 - tissue)
    for start in seed_voxels(rng, inside.astype(np.float32), n_streaks):
        direction, length_mm = rng.standard_normal(3), float(rng.uniform(10, 22))
        along_mm = np.linspace(-length_mm / 2, length_mm / 2, 15)[:, None] * direction / np.linalg.norm(direction)
        line = np.unique(np.rint(start + along_mm / anatomy.spacing_mm).astype(np.int64), axis=0)
        line = line[((line >= 0) & (line < tissue.shape)).all(axis=1)]
        streak = _paint(anatomy, line, np.ones(len(line)), np.full(len(line), rng.uniform(low, high)))
        bright = np.maximum(bright, streak * tissue * (anatomy.ventricle_mm > 1))
    return np.asarray(bright, dtype=np.float32)


def _paint(
    anatomy: Anatomy, centres: NDArray[np.int64], radius_mm: NDArray[np.float64], heights: NDArray[np.float64]
) -> FloatArray:
    """Soft dots; where they overlap the brightest counts."""
    dots = np.zeros_like(anatomy.wm)
    # Below the voxel size a dot would be lost between voxel centres, as its signal is taken there.
    radii_mm = np.maximum(radius_mm[:, None], 0.6 * np.asarray(anatomy.spacing_mm))
    for centre, radius, height in zip(centres, radii_mm, heights, strict=True):
        box = tuple(slice(max(0, c - 4), min(c + 5, n)) for c, n in zip(centre, dots.shape, strict=True))
        steps = np.ogrid[tuple(slice(b.start - c, b.stop - c) for b, c in zip(box, centre, strict=True))]
        square = sum((g * s / r) ** 2 for g, s, r in zip(steps, anatomy.spacing_mm, radius, strict=True))
        dots[box] = np.maximum(dots[box], height * np.exp(-square))
    return dots


def _pulsation(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    """Unsuppressed fluid in the basal cisterns and ghost lines along the phase-encoding axis."""
    x, _, z = anatomy.points_mm
    patchy = np.clip(0.4 + 0.5 * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 8.0), 0, 1.2)
    signal = float(rng.uniform(0.2, 0.7)) * patchy * anatomy.csf * (z < -8) * (np.abs(x) < 25)
    for _ in range(int(rng.integers(2, 6))):
        at_mm, width_mm = float(rng.normal(0, 18)), max(1.0, 0.5 * anatomy.spacing_mm[0])
        first = int(rng.integers(anatomy.wm.shape[2]))
        ghost = float(rng.uniform(0.06, 0.14)) * np.exp(-(((x - at_mm) / width_mm) ** 2))
        slices = slice(first, first + int(rng.integers(1, 4)))
        signal[:, :, slices] += (ghost * (anatomy.head_mm < 8))[:, :, slices]
    return np.asarray(signal, dtype=np.float32)


def _truncation(rng: np.random.Generator, anatomy: Anatomy) -> FloatArray:
    """Gibbs ringing parallel to the skull, strongest next to it."""
    period_mm = 3.2 * max(anatomy.spacing_mm[:2])
    ringing = np.cos(2 * np.pi * anatomy.brain_mm / period_mm) * np.exp(-np.abs(anatomy.brain_mm) / 9)
    return np.asarray(float(rng.uniform(0.03, 0.09)) * ringing * (anatomy.brain_mm < 0), dtype=np.float32)
