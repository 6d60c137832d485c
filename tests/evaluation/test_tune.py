from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest

from monai_instance_loss.evaluation import command, tune
from monai_instance_loss.evaluation.command import main
from monai_instance_loss.operating_points import OperatingPoint, choose_operating_point, conformal_operating_point

ONE_TO_ONE = {
    "criterion": "iou",
    "threshold": 0.1,
    "assignment": "max_cardinality",
    "dilation_mm": 0.0,
    "inclusive": False,
}
# voxels are 6 mm3; three lesions of one voxel and three other places
LESIONS, OTHERS = ((0, 0, 0), (2, 0, 0), (4, 0, 0)), ((0, 4, 3), (2, 4, 3), (4, 4, 3))
# as in tests/operating_points/test_choosing.py: false a case 2, 1, 0.5, 0 at 0.25, 0.45, 0.65, 0.85
VALUES = {"a": ((0.9, 0.7, 0.3), (0.8, 0.4, 0.2)), "b": ((0.9, 0.5, 0.3), (0.6, 0.4, 0.2))}


@pytest.fixture
def volumes(tmp_path, save, mask):
    """Probability maps and references of two cases, and the file to write."""
    for name, (found, others) in VALUES.items():
        probability = np.zeros((6, 6, 4), np.float32)
        for voxel, value in zip(LESIONS + OTHERS, found + others, strict=True):
            probability[voxel] = value
        save(tmp_path / "prob" / f"{name}.nii.gz", probability)
        save(tmp_path / "ref" / f"{name}.nii.gz", mask(*LESIONS))
    return tmp_path / "prob", tmp_path / "ref", tmp_path / "point.json"


def run(prob, ref, out, *more) -> int:
    return main(["tune", "--prob", str(prob), "--ref", str(ref), "--out", str(out), *map(str, more)])


GRID = ("--thresholds", 0.25, 0.45, 0.65, 0.85, "--min-volumes-mm3", 0)


def test_the_best_f1(volumes, capsys):
    assert run(*volumes, *GRID) == 0
    point = OperatingPoint.load(volumes[2])
    assert point == OperatingPoint(0.25)
    assert point.chosen["names"] == ["a", "b"]
    assert point.chosen["matching"] == ONE_TO_ONE
    assert point.chosen["command"].startswith("python -m monai_instance_loss tune --prob ")
    assert {"in_sample", "leave_one_out", "versions", "finished", "grid"} <= set(point.chosen)
    told = capsys.readouterr().out
    assert "threshold 0.25, smallest lesion 0 mm3\nin sample (2 cases): f1 0.750, sensitivity 1.000" in told
    assert f"wrote {volumes[2]}" in told
    assert sorted(os.listdir(volumes[2].parent)) == ["point.json", "prob", "ref"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--budget-false", 1), OperatingPoint(0.45)),
        (("--budget-false", 0), OperatingPoint(0.85)),
        (("--budget-missed", 1.5), OperatingPoint(0.65)),
        (("--matching", "touch"), OperatingPoint(0.25)),
        # false a case 2 at 0.25; those that reach 0.85 are one a case, and true
        (("--budget-false", 0, "--thresholds", 0.25, "--high-thresholds", 0.85), OperatingPoint(0.25, 0, 0.85)),
        # missed part 0, 1/3, 1/2, 2/3 of 2 cases: bounds 1/3, 5/9, 2/3, 7/9
        (("--alpha", 0.5), OperatingPoint(0.25)),
        (("--alpha", 0.6), OperatingPoint(0.45)),
        (("--alpha", 0.9), OperatingPoint(0.85)),
    ],
)
def test_objectives(volumes, options, expected):
    assert run(*volumes, *GRID, *options) == 0
    assert OperatingPoint.load(volumes[2]) == expected


def test_the_defaults_are_those_of_the_functions(volumes, mask):
    prob, ref, out = volumes
    cases = []
    for found, others in VALUES.values():
        probability = np.zeros((1, 6, 6, 4), np.float32)
        for voxel, value in zip(LESIONS + OTHERS, found + others, strict=True):
            probability[(0, *voxel)] = value
        cases.append((probability, mask(*LESIONS)[None]))
    for options, expected in (
        ((), choose_operating_point(cases, spacing_mm=(1, 2, 3))),
        (("--alpha", 0.7), conformal_operating_point(cases, 0.7)),
    ):
        assert run(prob, ref, out, *options) == 0
        point = OperatingPoint.load(out)
        assert point == expected
        own = {key: value for key, value in point.chosen.items() if key in expected.chosen}
        assert own == json.loads(json.dumps(dict(expected.chosen)))


def test_volumes_in_mm3_come_from_the_header(volumes):
    # all are 6 mm3, and a millionth less is kept
    assert run(*volumes, "--thresholds", 0.25, "--min-volumes-mm3", 6) == 0
    assert OperatingPoint.load(volumes[2]).chosen["in_sample"]["sensitivity"] == 1
    volumes[2].unlink()
    assert run(*volumes, "--thresholds", 0.25, "--min-volumes-mm3", 6.1) == 2
    assert not volumes[2].exists()


def test_ignored_voxels(volumes, save, mask):
    prob, ref, out = volumes
    for name in VALUES:
        voxels = mask(*LESIONS)
        for voxel in OTHERS:
            voxels[voxel] = 2
        save(ref / f"{name}.nii.gz", voxels)
    assert run(prob, ref, out, *GRID, "--ignore-label", 2) == 0
    assert OperatingPoint.load(out).chosen["in_sample"]["false"] == 0
    assert OperatingPoint.load(out).chosen["ignore_index"] == 2


def test_what_has_no_partner_is_told_and_left_out(volumes, save, mask, capsys):
    prob, ref, out = volumes
    save(ref / "c.nii.gz", mask((1, 1, 1)))
    save(prob / "d.nii.gz", mask((1, 1, 1)))
    assert run(prob, ref, out, *GRID) == 0
    errors = capsys.readouterr().err
    assert f"NOT USED c: Expected one prediction of c in {prob}, but got none." in errors
    assert f"NOT USED d.nii.gz: Expected a reference of {prob / 'd.nii.gz'} in {ref}, but got none." in errors
    assert OperatingPoint.load(out).chosen["names"] == ["a", "b"]


def test_the_layout_of_the_challenge(volumes, tmp_path):
    prob, ref, out = volumes
    for name in VALUES:
        (tmp_path / "training" / "Utrecht" / name).mkdir(parents=True)
        shutil.copy(ref / f"{name}.nii.gz", tmp_path / "training" / "Utrecht" / name / "wmh.nii.gz")
    assert run(prob, tmp_path / "training", out, *GRID) == 0
    assert OperatingPoint.load(out).chosen["names"] == ["Utrecht/a", "Utrecht/b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--budget-false", 0, "--thresholds", 0.25, 0.45), "Expected `budget_false` to be met by a point of the grid"),
        (("--budget-false", -1), "Expected `budget_false` to be finite and 0 or more, but got -1.0"),
        (("--budget-missed", "nan"), "Expected `budget_missed` to be finite and 0 or more, but got nan"),
        (("--alpha", 0.3), "Expected `alpha` to be 1 / (cases + 1) = 0.3333 or more for 2 cases, but got 0.3"),
        (("--alpha", 1.5), "Expected `alpha` to be in (0, 1), but got 1.5"),
        (("--alpha", 0.5, "--matching", "iou"), 'Expected `matching` to be "touch" or "ior" with "many"'),
        (("--alpha", 0.5, "--high-thresholds", 0.9), "Expected `high_thresholds` to be none with `alpha`"),
        (("--alpha", 0.5, "--min-volumes-mm3", 0, 6), "Expected `min_volumes_mm3` to be one number with `alpha`"),
        (("--thresholds", 0.5, 1.5), "Expected `threshold` to be in (0, 1], but got 1.5"),
        (("--min-volumes-mm3", -3), "Expected `min_volume_mm3` to be finite and 0 or more, but got -3.0"),
    ],
)
def test_options_that_cannot_be_met(volumes, capsys, options, message):
    volumes[2].write_text("what was there")
    assert run(*volumes, *GRID, *options) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert volumes[2].read_text() == "what was there"
    assert sorted(os.listdir(volumes[2].parent)) == ["point.json", "prob", "ref"]


def test_folders_without_cases_in_common(volumes, save, mask, capsys, tmp_path):
    prob, ref, out = volumes
    for name in VALUES:
        save(tmp_path / "other" / f"x{name}.nii.gz", mask((1, 1, 1)))
    assert run(prob, tmp_path / "other", out) == 2
    assert f"Expected {prob} and {tmp_path / 'other'} to have two cases or more in common, but got none." in (
        capsys.readouterr().err
    )
    (ref / "b.nii.gz").unlink()
    assert run(prob, ref, out) == 2
    assert "to have two cases or more in common, but got a." in capsys.readouterr().err
    assert run(tmp_path / "nowhere", ref, out) == 2
    assert f"error: Expected an existing folder, but got {tmp_path / 'nowhere'}." in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("folder", "value", "message"),
    [
        ("prob", 1.5, "to hold probabilities in [0, 1], but got 1.5 at voxel (1, 1, 1)"),
        ("prob", -0.1, "to hold probabilities in [0, 1], but got -0.1 at voxel (1, 1, 1)"),
        ("prob", np.nan, "to hold probabilities in [0, 1], but got nan at voxel (1, 1, 1)"),
        ("ref", 2, "to hold 0 and 1 only, but got 2.0 at voxel (1, 1, 1)"),
        ("ref", np.nan, "to hold 0 and 1 only, but got nan at voxel (1, 1, 1)"),
    ],
)
def test_a_file_that_is_at_fault_is_named(volumes, save, mask, capsys, folder, value, message):
    path = volumes[2].parent / folder / "b.nii.gz"
    save(path, mask((1, 1, 1), value=value, dtype=np.float32))
    assert run(*volumes, *GRID) == 2
    assert f"error: Expected {path} {message}" in capsys.readouterr().err
    assert not volumes[2].exists()


def test_another_grid_is_refused_before_any_voxel_is_read(volumes, save, capsys):
    prob, ref, out = volumes
    # this one would be refused too, but for its values
    save(prob / "a.nii.gz", np.full((6, 6, 4), 7, np.float32))
    save(prob / "b.nii.gz", np.zeros((6, 6, 5), np.float32))
    assert run(prob, ref, out) == 2
    assert f"Expected {prob / 'b.nii.gz'} to have the shape of {ref / 'b.nii.gz'}" in capsys.readouterr().err


def test_no_lesion_at_all_or_none_found(volumes, save, mask, capsys):
    prob, ref, out = volumes
    for name in VALUES:
        save(ref / f"{name}.nii.gz", mask())
    assert run(prob, ref, out) == 2
    assert "error: Expected two or more of 2 cases to have a lesion, but got 0." in capsys.readouterr().err
    for name in VALUES:
        save(ref / f"{name}.nii.gz", mask((5, 5, 0)))
    assert run(prob, ref, out) == 2
    assert "error: Expected the predictions to find a lesion at some point of the grid" in capsys.readouterr().err
    assert not out.exists()


def test_out_that_cannot_be_written(volumes, capsys):
    prob, ref, out = volumes
    for path in (out.parent / "no" / "point.json", out.parent):
        assert run(prob, ref, path) == 2
        assert f"error: Expected `out` to be a file in an existing folder, but got {path}." in capsys.readouterr().err
    # the kernel's own folders refuse even root
    assert run(prob, ref, "/proc/point.json") == 2
    assert "can be written to, but got /proc: " in capsys.readouterr().err


def test_wrong_arguments(volumes, capsys):
    for options, message in (
        (("--budget-false", 1, "--alpha", 0.1), "argument --alpha: not allowed with argument --budget-false"),
        (("--ignore-label", 1), "expected neither 0 (background) nor 1 (lesion), but got 1"),
        (("--matching", "dice"), "argument --matching: invalid choice: 'dice'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*volumes, *options)
        assert message in capsys.readouterr().err


def test_the_same_twice(volumes):
    contents = []
    for _ in range(2):
        run(*volumes)
        values = json.loads(volumes[2].read_text())
        del values["chosen"]["finished"]
        contents.append(values)
    assert contents[0] == contents[1]


def test_a_signal_leaves_no_file(volumes, capsys, monkeypatch):
    died = []
    monkeypatch.setattr(command, "die_of", died.append)
    monkeypatch.setattr(tune, "read_mask", lambda *arguments: signal.raise_signal(signal.SIGTERM))
    run(*volumes)
    assert died == [signal.SIGTERM]
    assert f"error: stopped by SIGTERM; every file in {volumes[2].parent} is whole." in capsys.readouterr().err
    assert sorted(os.listdir(volumes[2].parent)) == ["prob", "ref"]
