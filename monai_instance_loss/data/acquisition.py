"""From anatomy and pathology to noisy FLAIR and T1 scans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .anatomy import Anatomy
from .lesions import Lesions
from .noise import smooth_noise
from .sites import Site

__all__ = ["acquire_flair", "acquire_t1"]

FloatArray = NDArray[np.float32]


def acquire_flair(
    rng: np.random.Generator, site: Site, anatomy: Anatomy, lesions: Lesions, confounders: FloatArray
) -> NDArray[np.int16]:
    """Turn a case into a FLAIR scan: lesions bright, fluid dark, grey matter above white matter.

    Source: plausible tissue signals; Rician noise after Gudbjartsson and Patz (1995).

    Args:
        rng: random generator.
        site: scanner.
        anatomy: anatomy of the case.
        lesions: pathology of the case.
        confounders: signal of bright non-lesions, (X, Y, Z) float32.

    Returns:
        Stored values, (X, Y, Z) int16.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> from monai_instance_loss.data.lesions import draw_lesions
        >>> from monai_instance_loss.data.sites import SITES
        >>> rng = np.random.default_rng(0)
        >>> anatomy = draw_anatomy(rng, (4, 4, 6))
        >>> lesions = draw_lesions(rng, anatomy)
        >>> acquire_flair(rng, SITES["Utrecht"], anatomy, lesions, 0 * anatomy.wm).dtype
        dtype('int16')
    """
    signal = anatomy.wm + site.gm_flair * anatomy.gm + site.csf_flair * anatomy.csf
    signal += 0.03 * anatomy.wm * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 10.0)
    signal -= 0.35 * anatomy.t1_detail
    lesion = site.lesion_gain * lesions.severity * (anatomy.wm + 0.8 * anatomy.gm)
    # A bright lining inside a lesion does not add up: the lesion is as bright as it is.
    signal += np.maximum(lesion, confounders)
    signal = _place_cavity(signal, lesions.cavity_depth, core=0.45, rim=1.75)
    signal += _extracranial(rng, anatomy, fat=1.25, marrow=0.45, muscle=0.5)
    return _scan(rng, signal, anatomy, site.flair_scale, site)


def acquire_t1(rng: np.random.Generator, site: Site, anatomy: Anatomy, lesions: Lesions) -> NDArray[np.int16]:
    """Turn a case into a T1 scan: white matter bright, fluid dark, lesions slightly dark.

    Source: tissue signals of the ICBM 152 template.

    Args:
        rng: random generator.
        site: scanner.
        anatomy: anatomy of the case.
        lesions: pathology of the case.

    Returns:
        Stored values, (X, Y, Z) int16.

    Example:
        >>> from monai_instance_loss.data.anatomy import draw_anatomy
        >>> from monai_instance_loss.data.lesions import draw_lesions
        >>> from monai_instance_loss.data.sites import SITES
        >>> rng = np.random.default_rng(0)
        >>> anatomy = draw_anatomy(rng, (4, 4, 6))
        >>> acquire_t1(rng, SITES["Utrecht"], anatomy, draw_lesions(rng, anatomy)).dtype
        dtype('int16')
    """
    signal = anatomy.wm + 0.72 * anatomy.gm + 0.28 * anatomy.csf + 0.8 * anatomy.t1_detail
    signal -= 0.32 * lesions.severity * anatomy.wm
    signal = _place_cavity(signal, lesions.cavity_depth, core=0.32, rim=0.6)
    signal += _extracranial(rng, anatomy, fat=1.3, marrow=0.55, muscle=0.5)
    return _scan(rng, signal, anatomy, site.t1_scale, site)


def _place_cavity(signal: FloatArray, depth: FloatArray, core: float, rim: float) -> FloatArray:
    """Cross-fade tissue into a bright rim, of gliosis or uptake, and the rim into a fluid-like core."""
    inside = np.clip(depth / 0.12, 0, 1)
    hollow = np.clip((depth - 0.3) / 0.2, 0, 1)
    return np.asarray(signal * (1 - inside) + inside * (rim * (1 - hollow) + core * hollow), dtype=np.float32)


def _extracranial(rng: np.random.Generator, anatomy: Anatomy, fat: float, marrow: float, muscle: float) -> FloatArray:
    """Bone with marrow, scalp, and below the skull muscle and air; zero inside the brain's surface."""
    wobble = 0.8 * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 25.0)
    depth = anatomy.head_mm + wobble
    scalp = np.clip(depth - 6.5, 0, 1) * np.clip(12.5 - depth, 0, 1)
    diploe = np.exp(-(((depth - 4.2) / 1.1) ** 2))
    inside_head = np.clip(2.5 - depth, 0, 1)
    base = np.clip(0.5 + 0.6 * smooth_noise(rng, anatomy.wm.shape, anatomy.spacing_mm, 9.0), 0.05, 1.2) * inside_head
    outside_brain = np.clip(anatomy.brain_mm - 1, 0, 1)
    below_skull = np.clip((anatomy.brain_mm - anatomy.head_mm - 4) / 3, 0, 1)
    shell = fat * scalp + marrow * diploe
    return np.asarray(outside_brain * (shell + muscle * base * below_skull), dtype=np.float32)


def _scan(
    rng: np.random.Generator, signal: FloatArray, anatomy: Anatomy, scale: float, site: Site
) -> NDArray[np.int16]:
    """Receive field, Rician noise, gain and rounding."""
    shape, spacing = signal.shape, anatomy.spacing_mm
    field = np.exp(site.bias * smooth_noise(rng, shape, spacing, 70.0))
    real = np.maximum(signal, 0) * field + site.noise * rng.standard_normal(shape, dtype=np.float32)
    magnitude = np.hypot(real, site.noise * rng.standard_normal(shape, dtype=np.float32))
    gain = scale * float(rng.uniform(0.85, 1.15))
    return np.asarray(np.clip(np.rint(magnitude * gain), 0, np.iinfo(np.int16).max), dtype=np.int16)
