"""An unmodified nnU-Net from its commands: plan, preprocess, two short epochs, predict, and our evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import monai_instance_loss
from monai_instance_loss.data import wmh_cases, write_nnunet_dataset

SHORT = """
from monai_instance_loss.nnunet.trainers.lesion_trainers import nnUNetTrainerInstanceLoss


class nnUNetTrainerInstanceLossShort(nnUNetTrainerInstanceLoss):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 2, 2, 1
"""
NAME = "nnUNetTrainerInstanceLossShort"


@pytest.mark.slow
def test_plan_preprocess_train_predict_and_evaluate(tmp_path):
    pytest.importorskip("nnunetv2")
    package = Path(monai_instance_loss.__file__).parents[1]
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "short_trainers.py").write_text(SHORT)
    environment = {
        **os.environ,
        "PYTHONPATH": str(package),
        "nnUNet_raw": str(tmp_path / "raw"),
        "nnUNet_preprocessed": str(tmp_path / "preprocessed"),
        "nnUNet_results": str(tmp_path / "results"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
    }

    def run(*command: str) -> str:
        if command[0].startswith("nnUNet"):
            command = (str(Path(sys.executable).with_name(command[0])), *command[1:])
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    folder = run(sys.executable, "-m", "monai_instance_loss.nnunet").strip()
    environment["nnUNet_extTrainer"] = os.pathsep.join([folder, str(tmp_path / "trainers")])
    cases = wmh_cases(tmp_path / "wmh", cases_per_site=1, spacing_mm=(4, 4, 6), progress=False)
    raw = write_nnunet_dataset(tmp_path / "raw", cases[:2], test_cases=cases[2:])
    run("nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "1", "-npfp", "1")
    # the planner wants a process, the trainer can do without
    environment["nnUNet_n_proc_DA"] = "0"
    log = run("nnUNetv2_train", "1", "3d_fullres", "all", "-tr", NAME, "-device", "cpu")
    assert log.count("Lesion F1") == 2
    results = tmp_path / "results" / raw.name / f"{NAME}__nnUNetPlans__3d_fullres" / "fold_all"
    rows = (results / "progress_lesions.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1"]
    assert (results / "progress_lesions.png").is_file()
    where = ("-d", "1", "-c", "3d_fullres", "-f", "all", "-tr", NAME, "-device", "cpu")
    run(
        "nnUNetv2_predict",
        "-i",
        f"{raw}/imagesTs",
        "-o",
        "predicted",
        *where,
        "--disable_tta",
        "-npp",
        "1",
        "-nps",
        "1",
    )
    folders = ("--pred", "predicted", "--ref", f"{raw}/labelsTs", "--out", "evaluation")
    evaluate = (sys.executable, "-m", "monai_instance_loss", "evaluate", *folders, "--ignore-label", "2")
    run(*evaluate, "--workers", "1")
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert not summary["failures"]
    assert "Utrecht_0" in (tmp_path / "evaluation" / "cases.csv").read_text()
