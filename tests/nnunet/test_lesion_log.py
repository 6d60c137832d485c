"""The table and the plot of lesions by epoch."""

from __future__ import annotations

from math import nan

import numpy as np
from matplotlib import rc_context
from PIL import Image

from monai_instance_loss.nnunet import log_epoch


def row(score: float) -> dict[str, float]:
    return {"lesion_f1": score, "found": 3.0, "missed": 1.0, "false": 2.0}


def test_a_row_an_epoch_and_a_plot(tmp_path):
    log_epoch(tmp_path, 0, row(nan))
    rows = log_epoch(tmp_path, 1, row(2 / 3))
    assert [each["lesion_f1"] for each in rows] == ["", "0.6667"]
    assert (tmp_path / "progress_lesions.csv").read_text().splitlines() == [
        "epoch,lesion_f1,found,missed,false",
        "0,,3,1,2",
        "1,0.6667,3,1,2",
    ]
    with Image.open(tmp_path / "progress_lesions.png") as image:
        assert image.size == (800, 800)
    assert {path.name for path in tmp_path.iterdir()} == {"progress_lesions.csv", "progress_lesions.png"}


def test_the_plot_looks_the_same_whatever_nnunets_own_plot_has_set(tmp_path):
    pictures = []
    # seaborn's font_scale=2.5, which nnU-Net sets and leaves
    for settings in ({}, {"font.size": 30, "axes.labelsize": 30, "xtick.labelsize": 28}):
        with rc_context(settings):
            log_epoch(tmp_path, 0, row(0.5))
        with Image.open(tmp_path / "progress_lesions.png") as image:
            pictures.append(np.asarray(image))
    np.testing.assert_array_equal(*pictures)


def test_a_training_that_continues_drops_what_came_after_its_checkpoint(tmp_path):
    for epoch in range(4):
        log_epoch(tmp_path, epoch, row(epoch / 10))
    assert [each["lesion_f1"] for each in log_epoch(tmp_path, 2, row(0.9))] == ["0.0000", "0.1000", "0.9000"]


def test_a_new_training_in_the_same_folder_begins_anew(tmp_path):
    for epoch in range(2):
        log_epoch(tmp_path, epoch, row(0.5))
    assert [each["epoch"] for each in log_epoch(tmp_path, 0, row(0.1))] == ["0"]
