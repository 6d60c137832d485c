"""Faulty files, made on the spot: each is named with its fault, and everything else is kept."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SIDE = 96
MEBIBYTE = 2**20


def header_of(shape: tuple[int, ...], dtype: type = np.uint8) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_sform(np.eye(4), code="scanner")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header


def packed(header: nib.Nifti1Header, voxels: bytes) -> bytes:
    return gzip.compress(header.binaryblock + bytes(4) + voxels, 1)


def zeros(mebibytes: int) -> bytes:
    """Packed zeros: a gzip file may have several parts, which are unpacked one after the other."""
    return gzip.compress(bytes(MEBIBYTE), 1) * mebibytes


def cube(*voxels: tuple[int, int, int], dtype: type = np.uint8, value: float = 1) -> np.ndarray:
    mask = np.zeros((SIDE,) * 3, dtype)
    for voxel in voxels:
        mask[voxel] = value
    return mask


def whole(mask: np.ndarray, **fields: object) -> bytes:
    header = header_of(mask.shape, mask.dtype.type)
    for name, value in fields.items():
        header[name] = value
    return packed(header, mask.tobytes(order="F"))


def tiny_file_of_a_huge_volume() -> bytes:
    return packed(header_of((2000, 2000, 2000)), b"")


def zeros_behind() -> bytes:
    return whole(cube((1, 1, 1))) + zeros(4096)


def zeros_before() -> bytes:
    header = header_of((SIDE,) * 3)
    header["vox_offset"] = 2**32
    return gzip.compress(header.binaryblock) + zeros(4096) + gzip.compress(cube().tobytes())


def complex_numbers() -> bytes:
    return whole(cube(dtype=np.complex128))


def four_axes() -> bytes:
    return packed(header_of((SIDE, SIDE, SIDE, 100)), b"") + zeros(85)


def all_odd() -> bytes:
    return whole(np.full((SIDE,) * 3, 2.5))


LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "huge": (tiny_file_of_a_huge_volume, "too few for a volume of shape (2000, 2000, 2000)"),
    "behind": (zeros_behind, "to end with its voxels, but got more than 65536 bytes behind them"),
    "before": (zeros_before, "to begin its voxels within 67108864 bytes, but got a vox_offset of 4294967296"),
    "complex": (complex_numbers, "to hold real numbers, but got dtype complex128"),
    "4d": (four_axes, "to have 3 axes, but got shape (96, 96, 96, 100)"),
    "odd": (all_odd, "but got 2.5 at voxel (0, 0, 0), 884736 such voxels"),
}

UNDER_A_LIMIT = """
import json, resource, sys
from pathlib import Path
import torch
from monai_instance_loss.evaluation.case import score_case
from monai_instance_loss.evaluation.pairing import CaseFiles
torch.set_num_threads(1)
root, names = Path(sys.argv[1]), sys.argv[2:]
fine = root / "fine.nii.gz"

def kilobytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

before = kilobytes("VmSize")
for _ in range(2):
    assert score_case(CaseFiles("fine", fine, {"net": fine}, fine)).scores[0].dice == 1
# what the healthy case took, and half of that again
limit = int(before + 1.5 * (kilobytes("VmPeak") - before)) * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
messages = {}
for name in names:
    path = root / f"{name}.nii.gz"
    for role, files in {
        "mask": CaseFiles(name, fine, {"net": path}),
        "reference": CaseFiles(name, path, {"net": fine}),
        "both": CaseFiles(name, path, {"net": path}),
        "map": CaseFiles(name, fine, {"net": fine}, path),
    }.items():
        messages[f"{name} {role}"] = [failure.message for failure in score_case(files).failures]
print(json.dumps(messages))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from Linux' /proc")
def test_no_faulty_file_takes_more_memory_than_a_healthy_case(tmp_path):
    (tmp_path / "fine.nii.gz").write_bytes(whole(cube((1, 1, 1), (40, 40, 40))))
    for name, (content, _) in LARGE.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(content())
    command = [sys.executable, "-W", "ignore", "-c", UNDER_A_LIMIT, str(tmp_path), *LARGE]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    for case, (message,) in json.loads(done.stdout).items():
        name = case.split()[0]
        assert f"Expected {tmp_path / name}.nii.gz " in message
        assert LARGE[name][1] in message, case
