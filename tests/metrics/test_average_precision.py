from __future__ import annotations

import json
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics import InstanceAveragePrecisionMetric, overlap_table
from monai_instance_loss.metrics.average_precision import average_precision, match_by_score

DATA = Path(__file__).parents[1] / "evaluation" / "data"


def test_numbers_are_those_of_nndetection():
    stored = json.loads((DATA / "preset_nndetection.json").read_text())
    module = runpy.run_path(str(DATA / "preset_cases.py"))
    cases = module["cases"]()
    assert stored["checksum"] == module["checksum"](cases)
    pairs = list(zip(module["probabilities"](cases), cases, strict=True))
    kinds = [slice(kind, None, len(module["KINDS"])) for kind in range(len(module["KINDS"]))]
    for group, expected in zip([slice(None), *kinds], stored["values"], strict=True):
        # as nnDetection has them: 0.3 is 0.30000000000000004 there, above an IoU of 3/10
        metric = InstanceAveragePrecisionMetric(iou_thresholds=np.linspace(0.1, 0.5, 9).tolist())
        for probability, case in pairs[group]:
            metric(torch.from_numpy(probability)[None, None], torch.from_numpy(case.y > 0)[None, None])
        found = torch.cat(metric.at_thresholds(), 1)[0].numpy()
        np.testing.assert_allclose(found, np.array(expected, np.float64), atol=1e-6, rtol=0)


def test_precision_by_hand():
    # by score: found, false, found, and one of four true instances is missed in the end
    score, matched = np.array([0.4, 0.9, 0.8, 0.5]), np.array([True, True, False, True])
    # precision 1 at recalls up to 1/4 (26 of 101), 3/4 up to 3/4 (50), as it is higher than 2/3, and 0 beyond
    ap, ar = average_precision(score, matched, 4)
    assert ap == pytest.approx((26 * 1 + 50 * 0.75) / 101)
    assert ar == 0.75
    assert average_precision(np.zeros(0), np.zeros(0, bool), 2) == (0, 0)
    assert all(math.isnan(value) for value in average_precision(score, matched, 0))


def test_the_best_score_chooses_first_among_free_lesions():
    # lesions of 4 and 1 voxels; prediction 1 is on lesion 1, prediction 2 on both
    maps = ([1, 1, 1, 1, 0, 1], [1, 1, 0, 1, 1, 1])
    table = overlap_table(*(label_instances(torch.tensor([[[row]]])) for row in maps))
    # IoUs: 2/4 of (1, 1), 1/6 of (1, 2), 1/3 of (2, 2)
    assert match_by_score(table, torch.tensor([0.5, 0.9]), [0.1, 0.4]).tolist() == [[True, True], [True, False]]
    # a second one for lesion 1, which is taken
    maps = ([1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 0])
    table = overlap_table(*(label_instances(torch.tensor([[[row]]])) for row in maps))
    assert match_by_score(table, torch.tensor([0.5, 0.9]), [0.1]).tolist() == [[False], [True]]


def test_only_the_best_candidates_of_a_case_count():
    y = torch.tensor([[[[1, 0, 1, 0, 1.0]]]]).expand(2, 1, 1, 5)
    y_pred = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1) * y
    metric = InstanceAveragePrecisionMetric(metric_name=("ar", "ap"), max_detections=2)
    metric(y_pred, y)
    # 2 of 3 in each case
    recall, precision = metric.aggregate()
    assert recall.item() == pytest.approx(2 / 3)
    # recalls 0, 0.01, ... 0.66
    assert precision.item() == pytest.approx(67 / 101)


def test_channels_are_scored_by_themselves():
    y = torch.zeros(1, 2, 1, 3)
    y[:, 0, :, 0] = y[:, 1, :, 2] = 1
    y_pred = torch.zeros_like(y)
    y_pred[:, 0, :, 0] = 0.7
    metric = InstanceAveragePrecisionMetric(reduction="none")
    metric(y_pred, y)
    assert metric.aggregate().tolist() == [[1, 0]]
    assert metric.aggregate("mean").item() == 0.5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": 0}, ValueError, r"Expected `threshold` to be in \(0, 1\], but got 0"),
        ({"iou_thresholds": ()}, ValueError, r"Expected `iou_thresholds` to be numbers in \[0, 1\], but got \(\)"),
        (
            {"iou_thresholds": (0.5, 1.5)},
            ValueError,
            r"`iou_thresholds` to be numbers in \[0, 1\], but got \(0.5, 1.5\)",
        ),
        ({"max_detections": 0}, ValueError, "Expected `max_detections` to be 1 or more, but got 0"),
        ({"max_detections": 2.0}, TypeError, "Expected `max_detections` to be an integer, but got 2.0"),
        ({"metric_name": "auc"}, ValueError, "metric_name"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        InstanceAveragePrecisionMetric(**options)
