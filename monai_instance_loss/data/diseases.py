"""Diseases of the synthetic cases."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DISEASES", "Disease", "FocalLaw", "get_disease"]


@dataclass(frozen=True)
class FocalLaw:
    """How many separate lesions a case has, how large they are, and where they lie.

    Source: plausible values, not measurements.

    Args:
        n_lesions: fewest and most lesions of a case, each number equally likely.
        free_share: share of the cases without any lesion, 0 to 1, apart from those that draw the number 0.
        volume_mm3: smallest and largest volume in mm3; its logarithm is uniform.
        least_tissue: share of grey and white matter that a voxel of a lesion has at least, 0 to 1.
        irregularity: 0 for balls, 1 for the ragged shapes of white matter disease.
        ring_share: share of the lesions of ``ring_mm3`` or more that are rings, 0 to 1.
        ring_mm3: volume in mm3 from which a lesion can be a ring.

    Example:
        >>> DISEASES["metastases"].focal.volume_mm3
        (20.0, 5000.0)
    """

    n_lesions: tuple[int, int]
    free_share: float
    volume_mm3: tuple[float, float]
    least_tissue: float
    irregularity: float
    ring_share: float
    ring_mm3: float


@dataclass(frozen=True)
class Disease:
    """What the lesions of a synthetic case are like, with white matter as the unit of signal.

    Source: plausible values, not measurements. "microbleeds": small round spots among many vessels and dots that look
    alike; scans of susceptibility show them dark, so the FLAIR volume stands for such a scan with its signal inverted.
    "metastases": well-defined strong lesions of all sizes, some of the larger ones rings with a dark core.

    Args:
        name: what the generator's ``disease`` is called.
        contrast: signal of the smallest lesions over white matter on FLAIR, and what the largest have on top.
        focal: law of separate lesions; None for white matter disease, with its own law and an infarct now and then.
        n_lookalikes: fewest and most dots and streaks as bright as the lesions, beyond what every case has.

    Example:
        >>> DISEASES["microbleeds"].focal.n_lesions
        (1, 10)
    """

    name: str
    contrast: tuple[float, float]
    focal: FocalLaw | None
    n_lookalikes: tuple[int, int]


DISEASES: dict[str, Disease] = {
    disease.name: disease
    for disease in (
        Disease("wmh", contrast=(0.27, 0.42), focal=None, n_lookalikes=(0, 0)),
        Disease(
            "microbleeds",
            contrast=(0.36, 0.14),
            focal=FocalLaw(
                n_lesions=(1, 10),
                free_share=1 / 3,
                # 2 to 30 voxels of 2 x 2 x 3 mm, and up to the 10 mm across that the definition sets
                volume_mm3=(24.0, 360.0),
                least_tissue=0.8,
                irregularity=0.3,
                ring_share=0.0,
                ring_mm3=float("inf"),
            ),
            n_lookalikes=(40, 80),
        ),
        Disease(
            "metastases",
            contrast=(0.50, 0.30),
            focal=FocalLaw(
                n_lesions=(0, 8),
                free_share=0.0,
                volume_mm3=(20.0, 5000.0),
                least_tissue=0.6,
                irregularity=0.4,
                ring_share=1 / 3,
                ring_mm3=800.0,
            ),
            n_lookalikes=(0, 0),
        ),
    )
}


def get_disease(name: str) -> Disease:
    """Return a disease of the generator.

    Args:
        name: one of ``DISEASES``.

    Raises:
        ValueError: when the disease is unknown.

    Example:
        >>> get_disease("microbleeds").name
        'microbleeds'
    """
    if name not in DISEASES:
        raise ValueError(f"Expected `disease` to be one of {sorted(DISEASES)}, but got {name!r}.")
    return DISEASES[name]
