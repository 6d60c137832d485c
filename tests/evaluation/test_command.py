from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_instance_loss.evaluation.command import main
from monai_instance_loss.operating_points import OperatingPoint

FILES = ["cases.csv", "cases.jsonl", "lesions.csv", "report.html", "summary.json"]


def run(ref, pred, out, *more) -> int:
    return main(
        ["evaluate", "--ref", str(ref), "--pred", str(pred), "--out", str(out), "--workers", "1", *map(str, more)]
    )


def table(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_files_and_numbers(folders, capsys):
    ref, pred, out = folders
    assert run(ref, pred, out) == 0
    assert sorted(os.listdir(out)) == FILES
    first, second = table(out / "cases.csv")
    # the arithmetic of `a` is in test_case.py; `b` is perfect
    assert first["model"] == "net"
    assert [first[name] for name in ("case", "dice", "recall", "volume_true_ml")] == ["a", "0.4", "0.5", "0.018"]
    assert [second[name] for name in ("case", "dice", "h95_mm", "avd_percent", "f1")] == ["b", "1", "0", "0", "1"]
    statuses = [(row["case"], row["side"], row["status"]) for row in table(out / "lesions.csv")]
    assert statuses == [
        ("a", "reference", "detected"), ("a", "reference", "missed"), ("a", "prediction", "false"),
        ("a", "prediction", "matched"), ("b", "reference", "detected"), ("b", "prediction", "matched"),
    ]  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert summary["models"]["net"]["scores"]["dice"]["mean"] == pytest.approx(0.7)
    # volumes of 12, 6 and 6 mm3: one of two small lesions, and the larger one
    assert [(row["n_detected"], row["n_true"]) for row in summary["models"]["net"]["strata"][:2]] == [(1, 2), (1, 1)]
    assert summary["pairs"] == {"cases": 2, "scored": {"net": 2}, "failed": 0}
    assert summary["froc"] is None
    assert {"python", "torch", "monai_instance_loss"} <= set(summary["versions"])
    assert summary["command"].startswith("python -m monai_instance_loss evaluate --ref ")
    assert (out / "report.html").read_text().count('src="data:image/png;base64,') == 3
    assert "net: 2 cases, Dice 0.700" in capsys.readouterr().out


def test_the_same_twice(folders):
    ref, pred, out = folders
    contents = []
    for _ in range(2):
        run(ref, pred, out)
        summary = json.loads((out / "summary.json").read_text())
        del summary["finished"]
        contents.append((summary, (out / "cases.csv").read_text(), (out / "lesions.csv").read_text()))
    assert contents[0] == contents[1]


def test_a_failed_pair_is_told_and_the_others_go_on(folders, save, mask, capsys):
    ref, pred, out = folders
    save(ref / "c.nii.gz", mask((1, 1, 1)))
    save(pred / "c.nii.gz", mask((1, 1, 1), value=0.999, dtype=np.float32))
    save(ref / "d.nii.gz", mask((1, 1, 1)))
    assert run(ref, pred, out) == 1
    errors = capsys.readouterr().err
    assert f"NOT SCORED c (net): Expected {pred / 'c.nii.gz'} to hold 0 and 1 only, but got 0.999 at" in errors
    assert f"NOT SCORED d (net): Expected one prediction of d in {pred}, but got none." in errors
    assert [row["case"] for row in table(out / "cases.csv")] == ["a", "b"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["pairs"] == {"cases": 4, "scored": {"net": 2}, "failed": 2}
    assert {failure["case"] for failure in summary["failures"]} == {"c", "d"}
    assert "Not scored: 2" in (out / "report.html").read_text()


def test_nothing_is_written_when_nothing_is_scored(folders, save, mask, capsys):
    ref, pred, out = folders
    for name in "ab":
        (pred / f"{name}.nii.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    assert run(ref, pred, out) == 1
    assert os.listdir(out) == []
    assert "no pair could be scored; nothing was written" in capsys.readouterr().err


def test_a_package_of_unknown_version_costs_no_scores(folders, monkeypatch):
    version = importlib.metadata.version

    def unknown_to_pip(package):
        if package == "nibabel":
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", unknown_to_pip)
    assert run(*folders) == 0
    assert json.loads((folders[2] / "summary.json").read_text())["versions"]["nibabel"] == "unknown"


def test_models_side_by_side(folders, save, mask, tmp_path):
    ref, pred, out = folders
    save(tmp_path / "other" / "a.nii.gz", mask((0, 0, 0), (1, 0, 0), (4, 4, 2)))
    save(tmp_path / "third" / "b.nii.gz", mask())
    compare = ["--compare", f"other={tmp_path / 'other'}", "--compare", f"third={tmp_path / 'third'}"]
    assert run(ref, f"first={pred}", out, *compare) == 1  # other has no b, third no a
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary["models"]) == ["first", "other", "third"]
    first, second = summary["comparisons"]
    assert (first["model"], first["against"], first["cases"]) == ("other", "first", 1)
    assert first["scores"]["dice"]["difference"] == pytest.approx(1 - 0.4)
    assert (second["cases"], second["scores"]["dice"]["difference"]) == (1, -1)
    # the empty prediction has no distance to compare
    assert (second["scores"]["h95_mm"]["n"], second["scores"]["h95_mm"]["difference"]) == (0, None)
    assert "other minus first, on 1 cases scored for both" in (out / "report.html").read_text()


def test_challenge_layout_with_scans_and_maps(tmp_path, save):
    ref, pred, prob, out = (tmp_path / name for name in ("ref", "net", "prob", "out"))
    generator = np.random.default_rng(0)
    truth, guess = (generator.random((2, 9, 9, 5)) > 0.93).astype(np.uint8)
    save(ref / "Utrecht/0/wmh.nii.gz", np.where(generator.random(truth.shape) > 0.9, np.uint8(2), truth))
    save(ref / "Utrecht/0/pre/FLAIR.nii.gz", generator.random(truth.shape).astype(np.float32))
    save(pred / "Utrecht/0.nii.gz", guess)
    save(prob / "Utrecht/0.nii.gz", guess.astype(np.float32))
    assert run(ref, pred, out, "--ignore-label", 2, "--prob", prob, "--strata-mm3", 10, 50) == 0
    assert [row["case"] for row in table(out / "cases.csv")] == ["Utrecht/0"]
    summary = json.loads((out / "summary.json").read_text())
    lesions, froc = summary["models"]["net"]["lesions"], summary["froc"]
    # the maps are the masks: one threshold, at which they find what the masks find
    assert froc["curve_fp_per_case"][0] == pytest.approx(lesions["n_false"])
    assert froc["curve_sensitivity"][0] == pytest.approx(lesions["sensitivity"]["value"])
    assert [row["to_mm3"] for row in summary["models"]["net"]["strata"]] == [10, 50, None]
    page = (out / "report.html").read_text()
    assert "FROC curve" in page
    assert "No scan was given" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--compare", "x=nowhere"],
            "Expected `--compare` to be NAME=DIR of a folder, but got 'x=nowhere', and no",
        ),
        (["--compare", "folder"], "Expected `--compare` to be NAME=DIR, but got 'folder'"),
        (["--compare", "net=."], "Expected models to have different names, but got 'net' twice"),
        (["--ignore-label", "1"], "expected neither 0 \\(background\\) nor 1 \\(lesion\\), but got 1"),
        (["--ignore-label", "two"], "argument --ignore-label: invalid"),
        (["--workers", "0"], "expected 1 or more, but got 0"),
        (["--seed", "-1"], "expected 0 or more, but got -1"),
    ],
)
def test_wrong_arguments(folders, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        run(*folders, *arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not folders[2].exists()


@pytest.mark.parametrize(("value", "model"), [("runs/lr=0.1/pred", "pred"), ("b=net", "b=net")])
def test_a_path_that_exists_is_a_path(folders, monkeypatch, value, model):
    ref, pred, out = folders
    monkeypatch.chdir(pred.parent)
    shutil.copytree(pred, value)
    assert run(ref, value, out) == 0
    assert {row["model"] for row in table(out / "cases.csv")} == {model}


def test_a_path_that_does_not_exist(folders, monkeypatch, capsys):
    ref, pred, out = folders
    monkeypatch.chdir(pred.parent)
    os.makedirs("lr=0.1/other")
    for option, value, message in (
        ("--pred", "lr=0.1/pred", "`--pred` to be NAME=DIR of a folder, but got 'lr=0.1/pred', and no 0.1/pred."),
        ("--compare", "lr=0.1/other", "`--compare` to be NAME=DIR, but got 'lr=0.1/other'."),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", "--ref", str(ref), "--pred", str(pred), "--out", str(out), option, value])
        assert message in capsys.readouterr().err


def test_edges_that_do_not_rise(folders, capsys):
    assert run(*folders, "--strata-mm3", 100, 10) == 2
    assert "to be increasing positive finite numbers, but got (100.0, 10.0)" in capsys.readouterr().err


def test_missing_folders(folders, capsys):
    ref, pred, out = folders
    assert run(ref, pred.parent / "nowhere", out) == 2
    assert f"error: Expected an existing folder, but got {pred.parent / 'nowhere'}." in capsys.readouterr().err
    assert not out.exists()


def test_out_that_cannot_be_written(folders, capsys):
    ref, pred, out = folders
    out.touch()
    assert run(ref, pred, out) == 2
    assert f"error: Expected a folder that can be written to, but got {out}: " in capsys.readouterr().err
    # the kernel's own folders refuse even root
    assert run(ref, pred, "/proc/results") == 2
    assert "can be written to, but got /proc/results: " in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_results(folders, capsys, monkeypatch):
    ref, pred, out = folders
    run(ref, pred, out)
    before = {name: (out / name).read_bytes() for name in FILES}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(ref, pred, out) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in FILES} == before
    # what was scored is not lost
    assert sorted(os.listdir(out)) == sorted([*FILES, "cases.partial-0.jsonl"])


def test_missing_extra(folders, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    assert run(*folders) == 2
    message = (
        'Expected the extra `bundle` to be installed, but got no matplotlib: run `pip install "monai_instance_loss'
    )
    assert message in capsys.readouterr().err


def test_help_as_a_module():
    command = [sys.executable, "-m", "monai_instance_loss", "evaluate", "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout
    for word in (
        "--pred",
        "--ref",
        "--out",
        "--compare",
        "--prob",
        "<site>/<case>/wmh.nii.gz",
        "exit code",
        "torchrun",
    ):
        assert word in shown


@pytest.fixture
def probabilities(folders, save):
    """Maps of the model of `folders`, and a point that makes its masks of them: other lesions reach 0.2 and 0.5."""
    _, pred, out = folders
    point = out.with_name("point.json")
    OperatingPoint(0.3, high_threshold=0.6).save(point)
    for name in "ab":
        probability = 0.9 * nib.load(pred / f"{name}.nii.gz").get_fdata(dtype=np.float32)
        probability[0, 3, 0], probability[5, 0, 3] = 0.2, 0.5
        save(pred.with_name("prob") / f"{name}.nii.gz", probability)
    return pred.with_name("prob"), point


def test_masks_are_made_by_an_operating_point(folders, probabilities):
    ref, pred, out = folders
    prob, point = probabilities
    made = ["evaluate", "--ref", str(ref), "--prob", str(prob), "--operating-point", str(point), "--workers", "1"]
    assert main([*made, "--out", str(out), "--compare", f"net={pred}"]) == 0
    by_point, by_mask = ([row for row in table(out / "cases.csv") if row["model"] == name] for name in ("prob", "net"))
    assert len(by_mask) == 2
    assert [{**row, "model": ""} for row in by_point] == [{**row, "model": ""} for row in by_mask]
    summary = json.loads((out / "summary.json").read_text())
    settings = summary["settings"]["operating_point"]
    assert (settings["threshold"], settings["high_threshold"]) == (0.3, 0.6)
    assert summary["froc"] is not None
    # the pictures of the worst cases are of these masks, too
    assert "Not drawn" not in (out / "report.html").read_text()


def test_a_map_at_fault_is_told_once(folders, probabilities, save, mask, capsys):
    ref, pred, out = folders
    prob, point = probabilities
    save(prob / "a.nii.gz", mask((1, 1, 1), value=1.5, dtype=np.float32))
    (prob / "b.nii.gz").unlink()
    arguments = ["evaluate", "--ref", ref, "--prob", prob, "--operating-point", point, "--out", out, "--workers", 1]
    assert main([*map(str, arguments), "--compare", f"net={pred}"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert (
        len([line for line in errors if line.startswith("NOT SCORED a (prob): ") and "in [0, 1], but got 1.5" in line])
        == 1
    )
    assert len([line for line in errors if line.startswith("NOT SCORED b (prob): Expected one prediction of b")]) == 1
    assert [(row["case"], row["model"]) for row in table(out / "cases.csv")] == [("a", "net"), ("b", "net")]


def test_a_wrong_operating_point(folders, probabilities, capsys):
    ref, pred, out = folders
    prob, point = probabilities
    point.write_text("{}")
    arguments = ["evaluate", "--ref", ref, "--prob", prob, "--operating-point", point, "--out", out]
    assert main(list(map(str, arguments))) == 2
    assert f"error: Expected {point} to hold `threshold` and no others than" in capsys.readouterr().err
    point.unlink()
    assert main(list(map(str, arguments))) == 2
    assert "point.json" in capsys.readouterr().err
    for wrong in (
        ["--pred", str(pred), "--prob", str(prob), "--operating-point", str(point)],
        ["--operating-point", str(point)],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["evaluate", "--ref", str(ref), "--out", str(out), *wrong])
        assert "Expected `--prob` and no `--pred` with `--operating-point`, but got" in capsys.readouterr().err
    assert main(["evaluate", "--ref", str(ref), "--out", str(out)]) == 2
    assert "error: Expected folders of predictions (--pred), or a column prediction in" in capsys.readouterr().err
    assert not out.exists()


def test_help_waits_for_no_torch():
    code = (
        "import sys\n"
        "from monai_instance_loss.evaluation.command import main\n"
        "try:\n    main(['evaluate', '--help'])\n"
        "except SystemExit:\n    pass\n"
        "sys.exit(' '.join({'torch', 'monai', 'numpy', 'matplotlib', 'tqdm'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment)
    assert shown.stderr == "\n"


def test_the_package_gives_its_names_on_first_use():
    import monai_instance_loss
    from monai_instance_loss.instances import Instances, label_instances

    assert monai_instance_loss.label_instances is label_instances
    assert monai_instance_loss.Instances is Instances
    assert set(monai_instance_loss.__all__) <= set(dir(monai_instance_loss))
    with pytest.raises(AttributeError, match=r"'monai_instance_loss' has no attribute 'no_such_name'"):
        monai_instance_loss.no_such_name  # noqa: B018


def test_the_console_script_is_the_command():
    path = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(path.read_text())["project"]["scripts"] == {
        "monai-instance-loss": "monai_instance_loss.evaluation.command:main"
    }
