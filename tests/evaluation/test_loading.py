from __future__ import annotations

import gzip
import os
import re

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.evaluation.header import check_same_grid, read_header
from monai_instance_loss.evaluation.loading import read_mask, read_probability, read_volume


def test_grid(tmp_path, save, mask):
    volume = read_volume(save(tmp_path / "a.nii.gz", mask()))
    assert volume.shape == (6, 6, 4)
    assert volume.spacing_mm == (1, 2, 3)
    assert volume.voxel_mm3 == 6
    # a shear moves no volume, but makes the second column longer: sqrt(1 + 2 * 2)
    sheared = np.diag([1.0, 2, 3, 1])
    sheared[0, 1] = 1
    volume = read_volume(save(tmp_path / "b.nii", mask(), sheared))
    assert volume.voxel_mm3 == 6
    assert volume.spacing_mm == pytest.approx((1, 5**0.5, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_mask_of_any_dtype(tmp_path, save, mask, dtype):
    volume = read_mask(save(tmp_path / "a.nii", mask((1, 2, 3), dtype=dtype)))
    assert volume.voxels.dtype == np.uint8
    np.testing.assert_array_equal(volume.voxels, mask((1, 2, 3)))


def scaled(path, stored, slope, inter=0.0, header=None):
    """Save stored numbers with their scaling: nibabel resets it when it saves an image, not when it writes a header."""
    header = header or nib.Nifti1Header()
    header.set_data_shape(stored.shape)
    header.set_data_dtype(stored.dtype)
    header.set_sform(np.eye(4), code="scanner")
    header["pixdim"][1:4] = 1
    header.set_slope_inter(slope, inter)
    header["vox_offset"], header["magic"] = header.single_vox_offset, header.single_magic
    path.write_bytes(header.binaryblock + bytes(4) + stored.tobytes(order="F"))
    return path


def test_nifti2_and_scaled_values(tmp_path, mask):
    path = scaled(tmp_path / "a.nii", mask((1, 2, 3)) * np.uint8(255), 1 / 255, header=nib.Nifti2Header())
    assert read_volume(path).voxels[1, 2, 3] == pytest.approx(1)


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.uint8, 255), (np.int16, 32767), (np.uint16, 65535), (np.int32, 2**31 - 1)]
)
def test_whole_numbers_behind_a_scaling_are_what_they_are(tmp_path, mask, dtype, top):
    # 1 / 32767 as float32, times 32767, is 1 - 9e-10; for 255 it is 1 + 6e-8, which is no probability either
    path = scaled(tmp_path / "a.nii", mask((1, 2, 3), value=top, dtype=dtype), 1 / top)
    np.testing.assert_array_equal(read_mask(path).voxels, mask((1, 2, 3)))
    assert read_probability(path).voxels[1, 2, 3] == 1
    # with an intercept: 1 - top / top = 0, and 1 + 0 / top = 1
    path = scaled(tmp_path / "b.nii", mask((1, 2, 3), value=top, dtype=dtype), -1 / top, 1)
    np.testing.assert_array_equal(read_mask(path).voxels, 1 - mask((1, 2, 3)))


def test_a_step_of_the_scaling_beside_a_whole_number_is_not_rounded(tmp_path, mask):
    path = scaled(tmp_path / "a.nii", mask((1, 2, 3), value=32766, dtype=np.int16), 1 / 32767)
    # 1 - 1 / 32767 = 0.99996948
    with pytest.raises(ValueError, match=r"to hold 0 and 1 only, but got 0\.999969\d+ at voxel \(1, 2, 3\), 1 such"):
        read_mask(path)
    # floats were scaled by whoever wrote them: nothing is rounded
    path = scaled(tmp_path / "b.nii", mask((1, 2, 3), value=32767, dtype=np.float32), 1 / 32767)
    with pytest.raises(ValueError, match=r"to hold 0 and 1 only, but got 0\.99999999\d+ at"):
        read_mask(path)


def test_odd_values_are_counted_over_all_chunks(tmp_path, save, monkeypatch):
    monkeypatch.setattr("monai_instance_loss.evaluation.loading._CHUNK", 7)
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    assert (read_volume(save(tmp_path / "a.nii.gz", voxels)).voxels == voxels).all()
    # 2 is the first in raster order, though not in the file, whose first axis runs fastest
    with pytest.raises(ValueError, match=r"got 2 at voxel \(0, 0, 2\), 58 such voxels in all"):
        read_mask(tmp_path / "a.nii.gz")


def test_qform_and_sform_that_disagree_are_told(tmp_path, mask):
    def remark(qform, codes=(1, 1)):
        image = nib.Nifti1Image(mask(), np.diag([1.0, 1, 3, 1]))
        image.set_sform(image.affine, code=codes[0])
        image.set_qform(qform, code=codes[1])
        nib.save(image, tmp_path / "a.nii")
        return read_header(tmp_path / "a.nii").remark

    same, moved = np.diag([1.0, 1, 3, 1]), np.diag([1.0, 1, 3, 1])
    assert remark(same) == ""
    moved[2, 3] = 0.5  # half of the smallest voxel size, 1 mm
    assert remark(moved) == ""
    moved[2, 3] = 0.75
    assert remark(moved) == f"{tmp_path / 'a.nii'}: qform and sform put a voxel 0.75 mm apart; the sform is used."
    assert remark(moved, codes=(1, 0)) == remark(moved, codes=(0, 1)) == ""
    # turned by 180 degrees about z: the corner at (5, 5) of 6 x 6 voxels goes to (-5, -5), 10 * sqrt(2) mm away
    assert "14.1 mm apart" in remark(np.diag([-1.0, -1, 3, 1]))


def test_a_qform_that_cannot_be_read_is_told(tmp_path, mask):
    image = nib.Nifti1Image(mask(), np.eye(4))
    image.set_qform(np.eye(4), code=1)
    raw = bytearray(image.to_bytes())
    # quatern_b, a float32 at byte 256: a rotation has at most 1
    raw[256:260] = np.float32(7).tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    assert re.search(r"a.nii: the qform cannot be read .*; the sform is used", read_header(tmp_path / "a.nii").remark)


def test_ignored_label(tmp_path, save, mask):
    voxels = mask((0, 0, 0)) + mask((1, 1, 1), value=7)
    path = save(tmp_path / "a.nii", voxels)
    read = read_mask(path, ignore_label=7).voxels
    assert (read[0, 0, 0], read[1, 1, 1], int(read.sum())) == (1, 2, 3)
    with pytest.raises(ValueError, match=r"a.nii to hold 0 and 1 only, but got 7 at voxel \(1, 1, 1\), 1 such"):
        read_mask(path)
    with pytest.raises(ValueError, match=r"to hold 0, 1 and 2 only, but got 7 at"):
        read_mask(path, ignore_label=2)


@pytest.mark.parametrize(("value", "shown"), [(0.999, "0.999"), (np.nan, "nan"), (-1, "-1.0"), (np.inf, "inf")])
def test_odd_values_are_named_with_their_file_and_place(tmp_path, save, mask, value, shown):
    path = save(tmp_path / "a.nii.gz", mask((1, 2, 3), (5, 5, 0), value=value, dtype=np.float32))
    message = f"Expected {path} to hold 0 and 1 only, but got {shown} at voxel (1, 2, 3), 2 such voxels in all."
    with pytest.raises(ValueError, match=re.escape(message)):
        read_mask(path)


@pytest.mark.parametrize(("value", "shown"), [(1.5, "1.5"), (np.nan, "nan"), (-0.25, "-0.25")])
def test_odd_probabilities(tmp_path, save, mask, value, shown):
    path = save(tmp_path / "a.nii", mask((1, 2, 3), value=value, dtype=np.float32))
    with pytest.raises(ValueError, match=rf"a.nii to hold probabilities in \[0, 1\], but got {shown} at voxel"):
        read_probability(path)


def test_probabilities_are_kept_as_they_are(tmp_path, save, mask):
    path = save(tmp_path / "a.nii", mask((1, 2, 3), value=0.25, dtype=np.float32))
    assert read_probability(path).voxels[1, 2, 3] == 0.25


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 2), (4, 5, 6, 1)])
def test_three_axes_only(tmp_path, save, shape):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=re.escape(f"a.nii to have 3 axes, but got shape {shape}.")):
        read_volume(path)


def test_real_numbers_only(tmp_path, save):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.complex64))
    with pytest.raises(ValueError, match=r"a.nii to hold real numbers, but got dtype complex64"):
        read_volume(path)


def test_unreadable_files(tmp_path, save, mask):
    whole = save(tmp_path / "whole.nii.gz", mask((1, 1, 1))).read_bytes()
    flipped = bytearray(whole)
    flipped[-6] ^= 0xFF  # in the checksum: the voxels can still be unpacked
    plain = gzip.decompress(whole)
    contents = {
        "empty.nii": b"",
        "empty.nii.gz": b"",
        "text.nii": b"no volume",
        "text.nii.gz": b"no volume",
        "not_packed.nii.gz": plain,
        "packed.nii": whole,
        "cut.nii.gz": whole[:60],
        "cut.nii": plain[:-20],
        "header_only.nii": plain[:200],
        "checksum.nii.gz": bytes(flipped),
        # xyzt_units, a code that stands for nothing, and magic of a header whose voxels are in another file
        "units.nii": plain[:123] + b"\x07" + plain[124:],
        "pair.nii": plain[:344] + b"ni1\0" + plain[348:],
        # vox_offset, a float32 at byte 108
        "offset.nii": plain[:108] + np.float32(np.inf).tobytes() + plain[112:],
        "no_offset.nii": plain[:108] + np.float32(np.nan).tobytes() + plain[112:],
        # datatype, an int16 at byte 70
        "datatype.nii": plain[:70] + b"\x03\0" + plain[72:],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"Expected .*{name} to be a readable NIfTI file, but got: "):
            read_volume(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(ValueError, match=r"pipe.nii to be a readable NIfTI file, but got: no regular file"):
        read_volume(tmp_path / "pipe.nii")
    with pytest.raises(ValueError, match=r"nowhere.nii to be a readable NIfTI file, but got: .*No such file"):
        read_volume(tmp_path / "nowhere.nii")


def test_voxel_size_is_known_and_in_mm(tmp_path, mask):
    image = nib.Nifti1Image(mask(), np.diag([1, 1, 3, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "unit.nii")
    with pytest.raises(ValueError, match=r"unit.nii to be in mm, but got micron"):
        read_volume(tmp_path / "unit.nii")
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    # pixdim[1], a float32 at byte 80 of the header
    raw[80:84] = np.float32(2).tobytes()
    (tmp_path / "two.nii").write_bytes(raw)
    with pytest.raises(
        ValueError, match=r"two.nii to state one voxel size, but got \(1.0, 1.0, 3.0\) mm .*\(2.0, 1.0, 3.0\) mm"
    ):
        read_volume(tmp_path / "two.nii")
    # srow_x, four float32 at byte 280
    raw[280:296] = np.zeros(4, np.float32).tobytes()
    (tmp_path / "flat.nii").write_bytes(raw)
    with pytest.raises(ValueError, match=r"affine of .*flat.nii to give voxels a size, but got \[\[0.0, 0.0"):
        read_volume(tmp_path / "flat.nii")


def test_same_grid(tmp_path, save, mask):
    first = read_volume(save(tmp_path / "a.nii", mask()))
    shifted = first.affine.copy()
    shifted[0, 3] += 0.05  # voxels are 1 mm long there: a twentieth
    check_same_grid(first, read_volume(save(tmp_path / "near.nii", mask(), shifted)))
    shifted[0, 3] += 0.2
    with pytest.raises(ValueError, match=r"share one grid, but got .*a.nii .* and .*far.nii with shape"):
        check_same_grid(first, read_volume(save(tmp_path / "far.nii", mask(), shifted)))
    with pytest.raises(ValueError, match=r"b.nii to have the shape of .*a.nii, \(6, 6, 4\), but got \(6, 6, 5\)"):
        check_same_grid(first, read_volume(save(tmp_path / "b.nii", np.zeros((6, 6, 5), np.uint8))))
