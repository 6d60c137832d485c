"""Faulty files, made on the spot: each is named with its fault, and everything else is kept."""

from __future__ import annotations

import csv
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

from monai_instance_loss.evaluation.command import main

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
from monai_instance_loss.evaluation.case import score_files
from monai_instance_loss.evaluation.pairing import CaseFiles
torch.set_num_threads(1)
root, names = Path(sys.argv[1]), sys.argv[2:]
fine = root / "fine.nii.gz"

def kilobytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

before = kilobytes("VmSize")
for _ in range(2):
    assert score_files(CaseFiles("fine", fine, {"net": fine}, fine)).scores[0].dice == 1
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
        messages[f"{name} {role}"] = [failure.message for failure in score_files(files).failures]
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


SMALL = (6, 6, 4)


def small(**fields: object) -> bytes:
    mask = np.zeros(SMALL, np.uint8)
    mask[1, 2, 3] = 1
    return whole(mask, **fields)


def of_value(value: float) -> bytes:
    return whole(np.full(SMALL, value, np.float32))


def sloped() -> bytes:
    mask = np.zeros(SMALL, np.int16)
    mask[1, 2, 3] = 32767
    return whole(mask, scl_slope=1 / 32767, scl_inter=0)


# the prediction of a case, and what must be said of it
FAULTY: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "to be a readable NIfTI file, but got: "),
    "text": (b"no volume", "to be a readable NIfTI file, but got: "),
    "cut": (small()[:-30], "to be a readable NIfTI file, but got: "),
    "checksum": (small()[:-6] + bytes(6), "to be a readable NIfTI file, but got: CRC check failed"),
    "short": (packed(header_of(SMALL), bytes(7)), "but got: it ends before its 144 voxels do"),
    "huge": (tiny_file_of_a_huge_volume(), "too few for a volume of shape (2000, 2000, 2000)"),
    "behind": (small() + zeros(1), "to end with its voxels, but got more than 65536 bytes behind them"),
    "nan": (of_value(np.nan), "to hold 0 and 1 only, but got nan at voxel (0, 0, 0), 144 such voxels"),
    "soft": (of_value(0.5), "to hold 0 and 1 only, but got 0.5 at"),
    "three": (of_value(3), "to hold 0 and 1 only, but got 3.0 at"),
    "flat": (whole(np.zeros((6, 6), np.uint8)), "to have 3 axes, but got shape (6, 6)"),
    "none": (whole(np.zeros((6, 0, 4), np.uint8)), "to have 3 axes, but got shape (6, 0, 4)"),
    "shape": (whole(np.zeros((6, 6, 5), np.uint8)), "to have the shape of "),
    "moved": (small(srow_x=(1, 0, 0, 50)), "to share one grid, but got "),
    "micron": (small(xyzt_units=3), "to be in mm, but got micron"),
    "pixdim": (small(pixdim=(1, 2, 1, 1, 0, 0, 0, 0)), "to state one voxel size, but got"),
    "type": (small(datatype=3), "to be a readable NIfTI file, but got: data code 3 not recognized"),
    "offset": (small(vox_offset=np.inf), "to be a readable NIfTI file, but got: cannot convert float infinity"),
}
# what is odd and scored all the same, with the mask of the reference
ODD: dict[str, bytes] = {
    "²": small(),
    "$\\foo{$": small(),
    "=1+1": small(),
    os.fsdecode(b"p\xff"): small(),
    "slope": sloped(),
    "qform": small(qform_code=1, qoffset_x=2),
}


@pytest.fixture
def faulty_folders(tmp_path) -> tuple[Path, Path, Path]:
    ref, pred = tmp_path / "ref", tmp_path / "net"
    ref.mkdir()
    pred.mkdir()
    for name, content in {"fine": small(), **{name: content for name, (content, _) in FAULTY.items()}, **ODD}.items():
        (ref / f"{name}.nii.gz").write_bytes(small())
        (pred / f"{name}.nii.gz").write_bytes(content)
    for name in ("reference", "missing", "twice", "gone"):
        (ref / f"{name}.nii.gz").write_bytes(small()[:-30] if name == "reference" else small())
    (pred / "reference.nii.gz").write_bytes(small())
    (pred / "twice.nii.gz").write_bytes(small())
    (pred / "twice.nii").write_bytes(gzip.decompress(small()))
    (pred / "gone.nii.gz").symlink_to("nowhere.nii.gz")
    return ref, pred, tmp_path / "out"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_faulty_file_is_named_and_everything_else_is_kept(faulty_folders, capsys, monkeypatch):
    ref, pred, out = faulty_folders

    def no_ink(*arguments: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("monai_instance_loss.evaluation.drawing.agreement_figure", no_ink)
    options = {"--ref": ref, "--pred": pred, "--out": out, "--workers": 2}
    assert main(["evaluate", *(str(word) for option in options.items() for word in option)]) == 1
    errors = capsys.readouterr().err.splitlines()
    said = {line.removeprefix("NOT SCORED ").split(" (net)")[0].split(":")[0]: line for line in errors}
    for name, (_, message) in FAULTY.items():
        assert str(pred / f"{name}.nii.gz") in said[name]
        assert message in said[name]
    assert f"Expected {ref / 'reference.nii.gz'} to be a readable NIfTI file" in said["reference"]
    assert f"Expected one prediction of missing in {pred}, but got none." in said["missing"]
    assert f"but got {pred / 'twice.nii'}, {pred / 'twice.nii.gz'}." in said["twice"]
    assert f"Expected {pred / 'gone.nii.gz'} to be a readable NIfTI file, but got: [Errno 2]" in said["gone"]
    # the sform is the identity, the qform 2 mm away
    assert f"warning: {pred / 'qform.nii.gz'}: qform and sform put a voxel 2 mm apart; the sform is used." in errors
    (not_drawn,) = (line for line in errors if line.startswith("NOT DRAWN"))
    assert not_drawn.startswith("NOT DRAWN Bland-Altman plots")
    assert not_drawn.endswith(": RuntimeError: no ink")
    # and the layout, a warning and a figure
    assert len(errors) == len(FAULTY) + 4 + 3
    with open(out / "cases.csv", newline="", encoding="utf-8") as file:
        scored = {row["case"]: row["dice"] for row in csv.DictReader(file)}
    assert scored == dict.fromkeys(["fine", "²", "$\\foo{$", "'=1+1", "p\\udcff", "slope", "qform"], "1")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pairs"] == {"cases": len(FAULTY) + len(ODD) + 5, "scored": {"net": 7}, "failed": len(FAULTY) + 4}
    assert len(summary["warnings"]) == 1
    page = (out / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == 1
    assert "Not drawn: Bland-Altman plots of the number of lesions and of their volume (RuntimeError: no ink)" in page
