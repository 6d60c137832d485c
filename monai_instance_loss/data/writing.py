"""Writing of synthetic data sets."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._checks import checked_count
from monai_instance_loss._folders import walk_files
from monai_instance_loss._optional import import_extra, require_extra
from monai_instance_loss._whole_file import whole_file

from .cases import WMH_NAME, find_wmh_cases
from .diseases import get_disease
from .sites import SITES, get_site
from .synthesis import WMHCase, check_spacing_mm, synthesize_wmh_case

__all__ = ["UNFINISHED_NAME", "write_wmh_dataset"]

tqdm = import_extra("tqdm", "tqdm")

UNFINISHED_NAME = ".unfinished"


def write_wmh_dataset(
    root: str | os.PathLike[str],
    *,
    cases_per_site: int = 20,
    sites: Sequence[str] = tuple(SITES),
    spacing_mm: Sequence[float] | None = None,
    seed: int = 0,
    disease: str = "wmh",
    progress: bool = True,
) -> list[dict[str, str]]:
    """Write synthetic cases in the folder layout of the WMH Segmentation Challenge.

    Source: layout of https://wmh.isi.uu.nl: ``<root>/<site>/<case>/pre/FLAIR.nii.gz``, ``pre/T1.nii.gz`` and
    ``wmh.nii.gz``. A case's voxels depend on ``seed``, its site, its number and the disease only, so a larger data set
    holds the smaller one. Every file appears whole or not at all, and ``wmh.nii.gz`` comes last; while the
    data set is unfinished, ``<root>/.unfinished`` says so.

    Args:
        root: folder to write into; made when missing.
        cases_per_site: number of cases of each site.
        sites: scanners to mimic.
        spacing_mm: voxel size in mm of all cases; each site's own when left out.
        seed: non-negative integer.
        disease: of all cases: "wmh", "microbleeds" or "metastases", see `synthesize_wmh_case`. File names stay.
        progress: show a progress bar.

    Returns:
        The cases written, as `find_wmh_cases` returns them.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of range.
        FileExistsError: when ``root`` already holds a case or an unfinished data set.
        ImportError: when the extra ``bundle`` is not installed.

    Example:
        >>> import tempfile
        >>> options = dict(cases_per_site=1, sites=("Utrecht",), spacing_mm=(4, 4, 6), progress=False)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     [case["case"] for case in write_wmh_dataset(root, **options)]
        ['Utrecht/0']
    """
    require_extra("nilearn", "scipy", "tqdm")
    checked_count("cases_per_site", cases_per_site, minimum=1)
    checked_count("seed", seed, minimum=0)
    _check_sites(sites)
    get_disease(disease)
    spacing = None if spacing_mm is None else check_spacing_mm(spacing_mm)
    folder = Path(root)
    _check_unused(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / UNFINISHED_NAME
    unfinished.touch()
    plan = [(site, number) for site in sites for number in range(cases_per_site)]
    for site, number in tqdm(plan, desc="Synthetic cases", unit="case", disable=not progress):
        case_seed = _case_seed(seed, site, number)
        case = synthesize_wmh_case(case_seed, site=site, spacing_mm=spacing, disease=disease)
        _write_case(folder / site / str(number), case)
    unfinished.unlink()
    return find_wmh_cases(folder)


def _check_sites(sites: Sequence[str]) -> None:
    if isinstance(sites, str) or not isinstance(sites, Sequence):
        raise TypeError(f"Expected `sites` to be a sequence of site names, but got {sites!r}.")
    if not sites or len(set(sites)) != len(sites):
        raise ValueError(f"Expected `sites` to be one or more different site names, but got {sites!r}.")
    for site in sites:
        get_site(site)


def _check_unused(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"Expected `root` to be a folder, but got the file {folder}.")
    if (folder / UNFINISHED_NAME).exists():
        raise FileExistsError(
            f"Expected `root` to hold no cases, but got {folder}, which holds an unfinished data set: "
            "delete the folder and run again, or wait for the process that is writing it."
        )
    files = walk_files(folder) if folder.exists() else []
    found = next((path for path in files if path.name == WMH_NAME), None)
    if found is not None:
        raise FileExistsError(f"Expected `root` to hold no cases, but got {folder}, which holds {found}.")


def _case_seed(seed: int, site: str, number: int) -> int:
    """Seed of one case; the site enters by its name, so that other sites in the data set do not matter."""
    sequence = np.random.SeedSequence(int(seed), spawn_key=(zlib.crc32(site.encode()), number))
    return int(sequence.generate_state(1, dtype=np.uint64)[0])


def _write_case(folder: Path, case: WMHCase) -> None:
    """Write the label last: the reader takes a case for complete when it is there."""
    (folder / "pre").mkdir(parents=True, exist_ok=True)
    _write_volume(folder / "pre" / "FLAIR.nii.gz", case.flair, case.affine)
    _write_volume(folder / "pre" / "T1.nii.gz", case.t1, case.affine)
    _write_volume(folder / WMH_NAME, case.wmh, case.affine)


def _write_volume(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype.type)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    with whole_file(path) as temporary:
        nib.save(image, temporary)
