from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.evaluation.case import CaseScores

# scripts for environments of their own
collect_ignore_glob = ["data/*.py"]

# voxels of 1 x 2 x 3 = 6 mm3
AFFINE = np.array([[1.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1]])
SHAPE = (6, 6, 4)


def _mask(*voxels: tuple[int, int, int], value: float = 1, dtype: Any = np.uint8) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype)
    for voxel in voxels:
        mask[voxel] = value
    return mask


def _save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def _scores(case: str, **values: Any) -> CaseScores:
    nothing: dict[str, Any] = {
        "model": "net", "dice": 0.5, "h95_mm": 1.0, "avd_percent": 10.0, "recall": 0.5, "precision": 0.5, "f1": 0.5,
        "pq": 0.5, "n_true": 0, "n_pred": 0, "n_missed": 0, "n_false": 0, "volume_true_ml": 0.0, "volume_pred_ml": 0.0,
        "ignored_ml": 0.0,
    }  # fmt: skip
    return CaseScores(case=case, **(nothing | values))


@pytest.fixture(scope="session")
def mask() -> Callable[..., np.ndarray]:
    return _mask


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return _save


@pytest.fixture(scope="session")
def scores() -> Callable[..., CaseScores]:
    return _scores


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A reference, predictions of it and where results go: two cases, of 2 and 1 lesions."""
    ref, pred = tmp_path / "ref", tmp_path / "net"
    _save(ref / "a.nii.gz", _mask((0, 0, 0), (1, 0, 0), (4, 4, 2)))
    _save(pred / "a.nii.gz", _mask((1, 0, 0), (0, 5, 3)))
    _save(ref / "b.nii.gz", _mask((2, 2, 2)))
    _save(pred / "b.nii.gz", _mask((2, 2, 2)))
    return ref, pred, tmp_path / "out"
