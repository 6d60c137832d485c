from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_instance_loss.evaluation.case import score_files, score_masks
from monai_instance_loss.evaluation.loading import Volume
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.metrics import FalseInstancesMetric, InstanceF1Metric, MissedInstancesMetric
from monai_instance_loss.metrics.challenge import wmh_challenge_scores
from monai_instance_loss.metrics.froc import InstanceFROC
from monai_instance_loss.metrics.panoptic_quality import PanopticQualityMetric

AFFINE = np.array([[1.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 7], [0, 0, 0, 1]])


def volume(voxels: np.ndarray) -> Volume:
    return Volume(Path("y.nii"), voxels, AFFINE)


def test_by_hand(mask):
    # lesions {(0,0,0), (1,0,0)} and {(4,4,2)}, the first touched; predicted {(1,0,0)}, and {(0,5,3)}, which is false
    reference = volume(mask((0, 0, 0), (1, 0, 0), (4, 4, 2)))
    scores, lesions = score_masks("net", "a", mask((1, 0, 0), (0, 5, 3)), reference)
    assert scores.dice == pytest.approx(2 * 1 / (2 + 3))
    assert scores.avd_percent == pytest.approx(100 * 1 / 3)
    # in mm the prediction is at (1,0,0), (0,10,9), 0 and sqrt(16 + 4 + 9) from the reference: 95 % of the way between;
    # the other way it is 0, 1, sqrt(29), of which the percentile is 1 + 0.9 * (sqrt(29) - 1), which is less
    assert scores.h95_mm == pytest.approx(0.95 * math.sqrt(29))
    assert (scores.recall, scores.precision, scores.f1) == (0.5, 0.5, 0.5)
    # the one pair has IoU 1/2, which is not above 1/2
    assert scores.pq == 0
    assert (scores.n_true, scores.n_pred, scores.n_missed, scores.n_false) == (2, 2, 1, 1)
    # voxels of 6 mm3
    assert (scores.volume_true_ml, scores.volume_pred_ml, scores.ignored_ml) == pytest.approx((0.018, 0.012, 0))
    first, second, third, fourth = lesions
    assert first == {
        "model": "net", "case": "a", "side": "reference", "id": 1, "status": "detected", "voxels": 2,
        "volume_mm3": pytest.approx(12), "centroid_mm_x": pytest.approx(-9.5), "centroid_mm_y": pytest.approx(5),
        "centroid_mm_z": pytest.approx(7), "box_start_0": 0, "box_start_1": 0, "box_start_2": 0, "box_stop_0": 2,
        "box_stop_1": 1, "box_stop_2": 1, "partners": "2", "overlap_voxels": 1,
    }  # fmt: skip
    assert (second["status"], second["partners"], second["overlap_voxels"]) == ("missed", "", 0)
    assert [second[f"centroid_mm_{axis}"] for axis in "xyz"] == pytest.approx([4 - 10, 8 + 5, 6 + 7])
    # ids are in raster order: (0,5,3) before (1,0,0)
    assert (third["side"], third["id"], third["status"]) == ("prediction", 1, "false")
    assert (fourth["status"], fourth["partners"], fourth["overlap_voxels"]) == ("matched", "1", 1)


def test_partners_of_a_split_and_a_merged_lesion(mask):
    # one lesion of three voxels in a row, predicted at both ends; then the other way round
    row, ends = mask((0, 0, 0), (1, 0, 0), (2, 0, 0)), mask((0, 0, 0), (2, 0, 0))
    split, merged = score_masks("net", "a", ends, volume(row))[1], score_masks("net", "a", row, volume(ends))[1]
    assert [(lesion["partners"], lesion["overlap_voxels"]) for lesion in split] == [("1 2", 2), ("1", 1), ("1", 1)]
    assert [(lesion["partners"], lesion["overlap_voxels"]) for lesion in merged] == [("1", 1), ("1", 1), ("1 2", 2)]


def test_diagonal_voxels_are_one_lesion(mask):
    assert score_masks("net", "a", mask(), volume(mask((0, 0, 0), (1, 1, 1))))[0].n_true == 1


def test_ignored_voxels_count_on_neither_side(mask):
    reference = mask((0, 0, 0)) + mask((3, 3, 3), (4, 3, 3), value=2)
    scores, lesions = score_masks("net", "a", mask((0, 0, 0), (4, 3, 3)), volume(reference))
    assert (scores.dice, scores.n_true, scores.n_pred, scores.n_false) == (1, 1, 1, 0)
    assert (scores.volume_pred_ml, scores.ignored_ml) == pytest.approx((0.006, 0.012))
    assert [lesion["status"] for lesion in lesions] == ["detected", "matched"]


@pytest.mark.parametrize(
    ("n_pred", "n_true", "expected"),
    [
        (0, 0, {"dice": math.nan, "recall": math.nan, "precision": math.nan, "f1": math.nan, "pq": math.nan}),
        (
            0,
            1,
            {"dice": 0, "recall": 0, "precision": math.nan, "f1": 0, "pq": 0, "h95_mm": math.nan, "avd_percent": 100},
        ),
        (1, 0, {"dice": 0, "recall": math.nan, "precision": 0, "f1": 0, "pq": 0, "avd_percent": math.nan}),
    ],
)
def test_empty_sides(mask, n_pred, n_true, expected):
    pred, true = (mask((1, 1, 1)) if n else mask() for n in (n_pred, n_true))
    scores, lesions = score_masks("net", "a", pred, volume(true))
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, nan_ok=True)
    assert len(lesions) == n_pred + n_true


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_metrics(seed):
    generator = np.random.default_rng(seed)
    pred = (generator.random((14, 13, 7)) > 0.95).astype(np.uint8)
    true = (generator.random((14, 13, 7)) > 0.95).astype(np.uint8)
    true[generator.random(true.shape) > 0.9] = 2
    scores, lesions = score_masks("net", "a", pred, volume(true))
    y_pred, y = (torch.from_numpy(voxels)[None, None] for voxels in (pred, true))

    def value(metric):
        metric(y_pred, y)
        return float(metric.aggregate())

    assert scores.f1 == pytest.approx(value(InstanceF1Metric(ignore_index=2)), rel=1e-6)
    assert scores.n_missed == value(MissedInstancesMetric(ignore_index=2))
    assert scores.n_false == value(FalseInstancesMetric(ignore_index=2))
    assert 1 - scores.recall == pytest.approx(value(MissedInstancesMetric(ignore_index=2, as_rate=True)), rel=1e-5)
    assert 1 - scores.precision == pytest.approx(value(FalseInstancesMetric(ignore_index=2, as_rate=True)), rel=1e-5)
    assert scores.pq == pytest.approx(value(PanopticQualityMetric(ignore_index=2)), rel=1e-6)
    challenge = wmh_challenge_scores(y_pred, y, (1, 2, 3))
    assert (scores.dice, scores.h95_mm, scores.avd_percent) == (challenge["dsc"], challenge["h95"], challenge["avd"])
    volumes = {
        side: sum(row["volume_mm3"] for row in lesions if row["side"] == side) for side in ("reference", "prediction")
    }
    assert volumes["reference"] == pytest.approx(1000 * scores.volume_true_ml)
    assert volumes["prediction"] == pytest.approx(1000 * scores.volume_pred_ml)


def test_a_broken_prediction_leaves_the_other_models_alone(tmp_path, save, mask):
    files = CaseFiles(
        "a",
        save(tmp_path / "ref.nii", mask((1, 1, 1))),
        {
            "soft": save(tmp_path / "soft.nii", mask((1, 1, 1), value=0.999, dtype=np.float32)),
            "moved": save(tmp_path / "moved.nii", mask((1, 1, 1)), np.eye(4)),
            "fine": save(tmp_path / "fine.nii", mask((1, 1, 1))),
        },
    )
    result = score_files(files)
    assert [(scores.model, scores.f1) for scores in result.scores] == [("fine", 1)]
    assert [failure.model for failure in result.failures] == ["soft", "moved"]
    assert "soft.nii to hold 0 and 1 only, but got 0.999 at voxel (1, 1, 1)" in result.failures[0].message
    assert "share one grid" in result.failures[1].message


def test_a_map_of_labels_asks_which_to_score(tmp_path, save, mask):
    reference = save(tmp_path / "ref.nii", mask((1, 1, 1)) + mask((3, 3, 3), value=4))
    files = CaseFiles("a", reference, {"net": save(tmp_path / "net.nii", mask((1, 1, 1)))})
    (failure,) = score_files(files).failures
    assert failure.model is None
    assert "It is a map of the labels 1, 4. Say which to score: --label N for each" in failure.message
    assert score_files(files, Scoring(ignore_label=4)).failures == []
    # -4 is no label
    save(reference, mask((3, 3, 3), value=-4, dtype=np.int16))
    (failure,) = score_files(files).failures
    assert failure.message.endswith("to hold 0 and 1 only, but got -4 at voxel (3, 3, 3), 1 such voxels in all.")


def test_probability_map(tmp_path, save, mask):
    y = mask((1, 1, 1), (4, 4, 2)) + mask((0, 5, 0), value=2)
    probability = mask((1, 1, 1), value=0.9, dtype=np.float32) + mask((0, 5, 0), value=0.8, dtype=np.float32)
    probability += mask((0, 0, 3), value=0.4, dtype=np.float32)
    files = CaseFiles(
        "a", save(tmp_path / "ref.nii", y), {"net": save(tmp_path / "net.nii", mask((1, 1, 1)))},
        save(tmp_path / "prob.nii", probability),
    )  # fmt: skip
    result = score_files(files, Scoring(ignore_label=2))
    metric = InstanceFROC(ignore_index=2)
    metric(torch.from_numpy(probability)[None, None], torch.from_numpy(y)[None, None])
    again = InstanceFROC()
    again.extend(torch.from_numpy(result.froc))
    for ours, theirs in zip(again.curve(), metric.curve(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # one of two lesions at 0.9; the candidate at 0.8 is not scored, and the one at 0.4 is false
    np.testing.assert_allclose(again.curve(), [[1, 0, 0], [0.5, 0.5, 0]])


def test_a_broken_probability_map_leaves_the_masks_scored(tmp_path, save, mask):
    files = CaseFiles(
        "a", save(tmp_path / "ref.nii", mask()), {"net": save(tmp_path / "net.nii", mask())},
        save(tmp_path / "prob.nii", mask((1, 1, 1), value=5)),
    )  # fmt: skip
    result = score_files(files)
    assert (len(result.scores), result.froc) == (1, None)
    assert [failure.model for failure in result.failures] == ["net"]
    assert "prob.nii to hold probabilities in [0, 1], but got 5" in result.failures[0].message
