"""One synthetic case from a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._checks import checked_count

from .acquisition import acquire_flair, acquire_t1
from .anatomy import draw_anatomy
from .confounders import draw_confounders
from .diseases import get_disease
from .lesions import draw_lesions
from .sites import get_site

__all__ = ["WMHCase", "synthesize_wmh_case"]


@dataclass(frozen=True, eq=False)
class WMHCase:
    """One synthetic brain MRI with its lesions, all volumes on one grid.

    Source: made by `synthesize_wmh_case`.

    Args:
        flair: FLAIR scan, (X, Y, Z) int16; for microbleeds it stands for a susceptibility scan with inverted signal.
        t1: T1 scan, (X, Y, Z) int16.
        wmh: 0 background, 1 lesion of the disease asked for (a white matter hyperintensity by default, a microbleed or
            a metastasis with its core), 2 other pathology (of white matter disease only); (X, Y, Z) uint8.
        affine: voxel index to scanner position in mm, towards right, anterior and superior; (4, 4) float64.

    Example:
        >>> case = synthesize_wmh_case(0, spacing_mm=(4, 4, 6))
        >>> case.flair.shape == case.t1.shape == case.wmh.shape
        True
    """

    flair: NDArray[np.int16]
    t1: NDArray[np.int16]
    wmh: NDArray[np.uint8]
    affine: NDArray[np.float64]


def synthesize_wmh_case(
    seed: int, *, site: str = "Utrecht", spacing_mm: Sequence[float] | None = None, disease: str = "wmh"
) -> WMHCase:
    """Make one synthetic case; the same arguments give the same voxels.

    Source: anatomy from the ICBM 152 template inside nilearn; lesions, look-alikes and scanner effects are
    drawn. A stand-in for the WMH Segmentation Challenge data, fit for teaching and tests, not for claims
    about patients.

    Args:
        seed: non-negative integer.
        site: scanner to mimic, one of "Utrecht", "Singapore", "GE3T".
        spacing_mm: voxel size in mm; the site's own when left out.
        disease: "wmh" (white matter hyperintensities), "microbleeds" (1 to 10 of 24 to 360 mm3, among many look-alikes;
            a third of the cases has none) or "metastases" (0 to 8 of 20 to 5000 mm3, some of them rings). A seed has
            the same anatomy with each of them.

    Raises:
        TypeError: when ``seed`` or ``spacing_mm`` has the wrong type.
        ValueError: when an argument is out of range.
        OptionalImportError: when nilearn is not installed.

    Example:
        >>> case = synthesize_wmh_case(0, spacing_mm=(4, 4, 6))
        >>> case.wmh.dtype, bool((case.wmh == 1).any())
        (dtype('uint8'), True)
    """
    checked_count("seed", seed, minimum=0)
    scanner = get_site(site)
    illness = get_disease(disease)
    spacing = scanner.spacing_mm if spacing_mm is None else check_spacing_mm(spacing_mm)
    # One stream per stage, so that a change in one stage leaves the others' draws alone.
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(int(seed)).spawn(5)]
    anatomy = draw_anatomy(streams[0], spacing)
    lesions = draw_lesions(streams[1], anatomy, illness)
    confounders = draw_confounders(streams[2], anatomy, illness)
    return WMHCase(
        flair=acquire_flair(streams[3], scanner, anatomy, lesions, confounders),
        t1=acquire_t1(streams[4], scanner, anatomy, lesions),
        wmh=lesions.label,
        affine=anatomy.affine,
    )


def check_spacing_mm(value: Sequence[float]) -> tuple[float, float, float]:
    """Return ``value`` as three voxel sizes in mm that the generator can draw lesions on."""
    wanted = "Expected `spacing_mm` to be three voxel sizes between 0.8 and 8 mm"
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise TypeError(f"{wanted}, but got {value!r} ({type(value).__name__}).")
    if len(value) != 3:
        raise ValueError(f"{wanted}, but got {len(value)} values: {value!r}.")
    if not all(isinstance(v, Real) and not isinstance(v, bool) for v in value):
        raise TypeError(f"{wanted}, but got {value!r}.")
    if not all(math.isfinite(v) and 0.8 <= v <= 8 for v in value):
        raise ValueError(f"{wanted}, but got {value!r}.")
    return float(value[0]), float(value[1]), float(value[2])
