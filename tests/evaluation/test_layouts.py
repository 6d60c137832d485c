"""Each layout from its folders to its tables, and what is said where it is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from monai_instance_loss.data.layouts import LAYOUTS
from monai_instance_loss.evaluation import evaluate as evaluation
from monai_instance_loss.evaluation import outputs
from monai_instance_loss.evaluation.arguments import make_parser
from monai_instance_loss.evaluation.command import main
from monai_instance_loss.evaluation.pairing import pair_files


def evaluate(*words: object) -> int:
    return main(["evaluate", "--workers", "1", *map(str, words)])


@pytest.fixture
def no_pictures(monkeypatch):
    """Tables alone, as drawing takes seconds."""
    for name in ("chart_drawings", "key_drawings"):
        monkeypatch.setattr(outputs, name, lambda *_: [])


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "cases.csv", newline="") as file:
        return list(csv.DictReader(file))


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


BRATS = "BraTS-GLI-00001-000"


@pytest.mark.parametrize(
    ("reference", "case", "predictions"),
    [
        (
            "sub-01/ses-2/anat/sub-01_ses-2_label-lesion_mask.nii.gz",
            "sub-01_ses-2",
            ["sub-01_ses-2.nii.gz", "sub-01/ses-2/anat/sub-01_ses-2_desc-net_mask.nii.gz", "sub-01_ses-2_mask.nii"],
        ),
        (
            f"{BRATS}/{BRATS}-seg.nii.gz",
            BRATS,
            [f"{BRATS}.nii.gz", f"{BRATS}-seg.nii.gz", f"{BRATS}/{BRATS}-seg.nii"],
        ),
        ("P1/T2/P1_T2_MASK.nii.gz", "P1_T2", ["P1_T2.nii.gz", "P1_T2_MASK.nii.gz", "P1/T2/P1_T2_MASK.nii.gz"]),
    ],
)
def test_predictions_are_called_as_the_case_or_as_in_the_layout(tmp_path, reference, case, predictions):
    ref = touch(tmp_path / "ref", reference)
    for number, name in enumerate(predictions):
        net = touch(tmp_path / f"net{number}", name)
        ((files,), failures) = pair_files(ref, {"net": net})
        assert (files.case, files.reference, files.predictions) == (case, ref / reference, {"net": net / name})
        assert failures == []


def test_what_has_no_partner_is_told_in_every_layout(tmp_path):
    ref = touch(tmp_path / "ref", f"{BRATS}/{BRATS}-seg.nii.gz", f"{BRATS}/{BRATS}-t2f.nii.gz")
    other = "BraTS-GLI-00002-000"
    net = touch(tmp_path / "net", f"{other}/{other}-seg.nii.gz", f"{other}/{other}-t2f.nii.gz")
    ((files,), failures) = pair_files(ref, {"net": net})
    assert (files.predictions, files.image) == ({}, ref / f"{BRATS}/{BRATS}-t2f.nii.gz")
    assert [(failure.case, failure.missing) for failure in failures] == [
        (BRATS, True), (f"{other}/{other}-seg.nii.gz", True),
    ]  # fmt: skip


def test_probability_maps_of_bids(tmp_path):
    ref = touch(tmp_path / "ref", "sub-1/anat/sub-1_mask.nii")
    net = touch(tmp_path / "net", "sub-1/anat/sub-1_mask.nii", "sub-1/anat/sub-1_probseg.nii")
    ((files,), failures) = pair_files(ref, {"net": net}, net)
    assert files.probability == net / "sub-1/anat/sub-1_probseg.nii"
    assert failures == []


def nnunet(root: Path, save, mask) -> Path:
    """Two cases of the labels 1 and 2, of which the prediction finds the first; 3 is not scored."""
    (root / "imagesTs").mkdir(parents=True)
    labels = {"background": 0, "edema": 1, "core": 2, "ignore": 3}
    (root / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}))
    for case in ("a", "b"):
        y = mask((0, 0, 0)) + mask((4, 4, 2), value=2) + mask((5, 0, 0), value=3)
        save(root / "labelsTs" / f"{case}.nii.gz", y)
        save(root / "imagesTs" / f"{case}_0000.nii.gz", y.astype(np.float32))
        save(root / "net" / f"{case}.nii.gz", mask((0, 0, 0), (5, 0, 0)))
    return root


def test_nnunet_gives_a_table_a_class_and_their_mean(tmp_path, save, mask, capsys):
    root, out = nnunet(tmp_path / "Dataset001", save, mask), tmp_path / "out"
    assert evaluate("--ref", root / "labelsTs", "--pred", root / "net", "--out", out) == 0
    output = capsys.readouterr()
    assert output.err.startswith(
        "layout nnunet (labelsTr/<case>.nii.gz beside dataset.json, labels edema, core): 2 cases in "
        f"{root / 'labelsTs'}\n"
    )
    assert [(row["case"], row["label"], row["dice"]) for row in rows(out)] == [
        ("a", "edema", "1"), ("a", "core", "0"), ("b", "edema", "1"), ("b", "core", "0"),
    ]  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["labels"] == {"edema": [1], "core": [2]}
    assert summary["settings"]["ignore_label"] == 3
    dice = {name: table["models"]["net"]["scores"]["dice"]["mean"] for name, table in summary["labels"].items()}
    assert dice == {"edema": 1, "core": 0}
    assert summary["mean_over_labels"]["net"]["dice"] == 0.5
    # of `core` nothing was predicted
    assert summary["mean_over_labels"]["net"]["precision"] == 1
    assert summary["pairs"] == {"cases": 2, "scored": {"net": 2}, "failed": 0}
    for line in ("net, edema: 2 cases, Dice 1.000", "net, core: 2 cases, Dice 0.000", "mean of the labels: Dice 0.500"):
        assert line in output.out
    page = (out / "report.html").read_text()
    assert "net, edema" in page
    assert "net, core: lesion F1 0.000; 1 of 1 lesions missed" in page
    assert "No scan was given" not in page


@pytest.mark.usefixtures("no_pictures")
def test_regions_and_a_label_that_is_nowhere(tmp_path, save, mask, capsys):
    root, out = nnunet(tmp_path / "Dataset001", save, mask), tmp_path / "out"
    words = ["--ref", root / "labelsTs", "--pred", root / "net", "--out", out, "--label", "all=1,2"]
    assert evaluate(*words) == 0
    # one voxel of two: 2 * 1 / (1 + 2)
    assert [row["dice"] for row in rows(out)] == ["0.6666667"] * 2
    assert json.loads((out / "summary.json").read_text())["models"]["net"]["cases"] == 2
    assert evaluate(*words, "--label", 5) == 1
    assert (
        "NOT SCORED label 5: Expected the label 5 to be in some mask, but got the labels 1, 2"
        in capsys.readouterr().err
    )
    assert [(row["label"], row["dice"]) for row in rows(out)] == [("all", "0.6666667"), ("5", "")] * 2
    assert evaluate(*words, "--label", 5, "--skip-missing") == 0
    assert evaluate(*words, "--label", "tumour") == 2
    assert "a number, NAME=1,2 or a name of edema, core, but got 'tumour'" in capsys.readouterr().err
    assert evaluate(*words, "--label", 2, "--prob", root / "net") == 2
    assert "Expected one label with probability maps" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pictures")
def test_a_map_of_labels_without_a_label_names_them(tmp_path, folders, save, mask, capsys):
    ref, pred, out = folders
    save(ref / "b.nii.gz", mask((2, 2, 2)) + mask((3, 3, 3), value=4))
    assert evaluate("--ref", ref, "--pred", pred, "--out", out) == 1
    assert "It is a map of the labels 1, 4. Say which to score: --label N for each" in capsys.readouterr().err
    assert [row["case"] for row in rows(out)] == ["a"]


@pytest.mark.usefixtures("no_pictures")
def test_white_masks_are_told_in_one_line(folders, save, mask, capsys):
    ref, pred, out = folders
    for folder in (ref, pred):
        for name in "ab":
            save(folder / f"{name}.nii.gz", mask((2, 2, 2), value=255))
    assert evaluate("--ref", ref, "--pred", pred, "--out", out) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning"))
    assert line == f"warning: 255 is read as 1 in 4 masks of 0 and 255, of which the first is {ref / 'a.nii.gz'}."
    assert [row["dice"] for row in rows(out)] == ["1", "1"]


@pytest.mark.usefixtures("no_pictures")
def test_a_csv_file_names_files_itself(folders, save, mask, capsys):
    ref, _, out = folders
    table = ref.parent / "pairs.csv"
    table.write_text(
        "case,prediction,reference,probability,group\n"
        "one,net/a.nii.gz,ref/a.nii.gz,,Utrecht\n"
        "two,net/b.nii.gz,ref/b.nii.gz,net/b.nii.gz,GE3T\n"
        "three,,ref/b.nii.gz,,\n"
    )
    assert evaluate("--ref", table, "--out", out) == 1
    assert f"NOT SCORED three (prediction): Expected one prediction of three in {table}, but got none" in (
        capsys.readouterr().err
    )
    assert [(row["model"], row["case"], row["group"], row["dice"]) for row in rows(out)] == [
        ("prediction", "one", "Utrecht", "0.4"), ("prediction", "two", "GE3T", "1"),
    ]  # fmt: skip
    assert json.loads((out / "summary.json").read_text())["froc"]["cases"] == 1
    assert evaluate("--ref", table, "--out", out, "--label", 1, "--label", 2) == 2
    assert "Expected one label with probability maps" in capsys.readouterr().err
    assert evaluate("--ref", ref, "--out", out) == 2
    assert "Expected folders of predictions (--pred), or a column prediction in" in capsys.readouterr().err


def test_wrong_layouts_and_missing_labels(folders, tmp_path, capsys):
    ref, pred, out = folders
    for words, message in (
        (
            ["--ref", ref, "--layout", "brats"],
            "in the layout brats (`<case>/BraTS-*-seg.nii.gz`), but got none. Its fi",
        ),
        (["--ref", tmp_path / "none"], "Expected an existing folder, but got"),
        (["--ref", touch(tmp_path / "empty", "a.txt")], "empty to hold references ("),
    ):
        assert evaluate(*words, "--pred", pred, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.usefixtures("no_pictures")
def test_a_subset_costs_no_exit_code(folders, save, mask, capsys):
    ref, pred, out = folders
    save(ref / "c.nii.gz", mask((1, 1, 1)))
    save(pred / "d.nii.gz", mask((1, 1, 1)))
    words = ["--ref", ref, "--pred", pred, "--out", out]
    assert evaluate(*words) == 1
    assert evaluate(*words, "--cases", "[ab]") == 0
    output = capsys.readouterr()
    assert "net: 2 cases, Dice 0.700" in output.out
    assert evaluate(*words, "--skip-missing") == 0
    output = capsys.readouterr()
    assert "net: 2 of 3 cases, Dice 0.700" in output.out
    assert f"skipped c (net): Expected one prediction of c in {pred}, but got none." in output.err
    assert "skipped d.nii.gz (net): Expected a reference of" in output.err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pairs"] == {"cases": 3, "scored": {"net": 2}, "failed": 0}
    assert [failure["case"] for failure in summary["skipped"]] == ["c", "d.nii.gz"]
    assert "<p>net: 2 cases." in (out / "report.html").read_text()
    assert evaluate(*words, "--cases", "z") == 2
    assert "Expected `z` to be the name of a case" in capsys.readouterr().err
    # grids that differ are a fault
    save(pred / "b.nii.gz", mask((2, 2, 2)), np.diag([1.0, 1, 1, 1]))
    assert evaluate(*words, "--skip-missing") == 1
    assert "NOT SCORED b (net): Expected the volumes of one case to share one grid" in capsys.readouterr().err
    assert [row["case"] for row in rows(out)] == ["a"]


def test_a_label_in_no_class_and_a_result_that_is_lost_are_told(tmp_path, save, mask, monkeypatch, capsys, no_pictures):
    root, out = nnunet(tmp_path / "Dataset001", save, mask), tmp_path / "out"
    save(root / "net/a.nii.gz", mask((0, 0, 0), value=7))
    run_cases = evaluation.run_cases
    # as if another host had written it to a folder of its own
    monkeypatch.setattr(evaluation, "run_cases", lambda cases, *args, **more: run_cases(cases[:1], *args, **more))
    assert evaluate("--ref", root / "labelsTs", "--pred", root / "net", "--out", out) == 1
    errors = capsys.readouterr().err
    assert "warning: The labels 7 are in masks and in no class; they are read as background." in errors
    assert f"NOT SCORED b: Expected the result of b in {out}, but got none. Is it one folder for all hosts?" in errors


def test_the_command_knows_every_layout():
    words = ["evaluate", "--ref", "a", "--out", "b", "--layout"]
    assert [make_parser().parse_args([*words, name]).layout for name in LAYOUTS] == list(LAYOUTS)
