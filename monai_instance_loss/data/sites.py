"""Scanners of the synthetic sites."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SITES", "Site", "get_site"]


@dataclass(frozen=True)
class Site:
    """Scanner of one site: voxel size, contrast and noise, with white matter as the unit of signal.

    Source: voxel sizes of the WMH Segmentation Challenge (https://wmh.isi.uu.nl); contrasts are plausible
    values, not measurements.

    Args:
        name: folder name of the site.
        spacing_mm: voxel size in mm.
        gm_flair: grey matter signal on FLAIR.
        csf_flair: fluid signal on FLAIR.
        lesion_gain: factor on the FLAIR contrast of lesions.
        flair_scale: stored FLAIR value of white matter.
        t1_scale: stored T1 value of white matter.
        noise: standard deviation of the noise in each channel of the complex signal.
        bias: standard deviation of the logarithm of the receive field.

    Example:
        >>> SITES["Utrecht"].spacing_mm
        (0.96, 0.95, 3.0)
    """

    name: str
    spacing_mm: tuple[float, float, float]
    gm_flair: float
    csf_flair: float
    lesion_gain: float
    flair_scale: float
    t1_scale: float
    noise: float
    bias: float


SITES: dict[str, Site] = {
    site.name: site
    for site in (
        Site("Utrecht", (0.96, 0.95, 3.0), 1.22, 0.28, 1.00, 620.0, 900.0, 0.045, 0.07),
        Site("Singapore", (1.0, 1.0, 3.0), 1.27, 0.22, 1.12, 240.0, 340.0, 0.035, 0.09),
        Site("GE3T", (0.98, 1.2, 3.0), 1.17, 0.34, 0.92, 1450.0, 2300.0, 0.050, 0.05),
    )
}


def get_site(name: str) -> Site:
    """Return the scanner of a site.

    Args:
        name: one of ``SITES``.

    Raises:
        ValueError: when the site is unknown.

    Example:
        >>> get_site("GE3T").name
        'GE3T'
    """
    if name not in SITES:
        raise ValueError(f"Expected `site` to be one of {sorted(SITES)}, but got {name!r}.")
    return SITES[name]
