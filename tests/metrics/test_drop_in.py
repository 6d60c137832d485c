"""Metrics of MONAI in a MONAI pipeline, and ours in their place."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import monai.metrics
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, from_engine
from scipy.ndimage import label

from monai_instance_loss.metrics import ComponentMetric, drop_in

NAMES = ["PQ", "segmentation quality", "rq"]


def instances_and_classes(seed: int, spatial: tuple[int, ...], classes: int) -> torch.Tensor:
    """(2, *spatial): components of a random mask, with ids that leave gaps, and a class for each."""
    rng = np.random.default_rng(seed)
    ids, number = label(rng.random(spatial) > 0.6)
    of_instance = np.concatenate([[0], rng.integers(1, classes + 1, number)])
    return torch.from_numpy(np.stack([3 * ids, of_instance[ids]]).astype(np.int32))


def pairs(spatial: tuple[int, ...], classes: int) -> list[dict[str, torch.Tensor]]:
    """Truths, and predictions that are shifted by a voxel; the last one has no instance on either side."""
    cases = []
    for seed in range(3):
        truth = instances_and_classes(seed, spatial, classes)
        prediction = truth.clone()
        prediction[:, 1:4] = truth.roll(1, -1)[:, 1:4]
        prediction[:, -1] = 0
        cases.append({"image": prediction, "label": truth})
    return [*cases, {"image": torch.zeros_like(truth), "label": torch.zeros_like(truth)}]


def evaluated(metric_fn: Any, cases: list[dict[str, torch.Tensor]]) -> Any:
    """What a MONAI evaluator has as its key metric."""
    handler = IgniteMetricHandler(metric_fn=metric_fn, output_transform=from_engine(["pred", "label"]))
    engine = SupervisedEvaluator(
        torch.device("cpu"),
        DataLoader(Dataset(cases), batch_size=2),
        torch.nn.Identity(),
        key_val_metric={"key": handler},
    )
    engine.run()
    return engine.state.metrics["key"]


@pytest.mark.parametrize(("spatial", "classes"), [((9, 10), 1), ((9, 10), 3), ((6, 5, 7), 2)])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_panoptic_quality_by_a_change_of_import(spatial, classes, threshold):
    cases = pairs(spatial, classes)
    for options in ({"reduction": "mean"}, {"reduction": "sum", "smooth_numerator": 0.5}):
        theirs, ours = (
            evaluated(kind(classes, "pq", match_iou_threshold=threshold, **options), cases)
            for kind in (monai.metrics.PanopticQualityMetric, drop_in.PanopticQualityMetric)
        )
        assert 0 < ours < 1
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_names_reductions_and_buffer_are_monais():
    batch = [torch.stack([case[key] for case in pairs((9, 10), 2)]) for key in ("image", "label")]
    for reduction in ("none", "mean_batch", "mean_channel", "mean"):
        metrics = [
            kind(2, NAMES, reduction) for kind in (monai.metrics.PanopticQualityMetric, drop_in.PanopticQualityMetric)
        ]
        buffers = [metric(*batch) for metric in metrics]
        torch.testing.assert_close(buffers[1], buffers[0])
        theirs, ours = (metric.aggregate() for metric in metrics)
        for their, our in zip(theirs, ours, strict=True):
            torch.testing.assert_close(our, their)


def test_below_a_half_partners_are_one_to_one():
    # two true instances of 3 voxels; one prediction with 3 of the one and 2 of the other: IoU 3/5 and 2/6
    y = torch.tensor([[1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 1, 1, 0]])[None, :, None]
    y_pred = torch.tensor([[5, 5, 5, 5, 5, 0, 0], [1, 1, 1, 1, 1, 0, 0]])[None, :, None]
    for kind in (monai.metrics.PanopticQualityMetric, drop_in.PanopticQualityMetric):
        counts = kind(1, match_iou_threshold=0.2, return_confusion_matrix=True)(y_pred, y)
        torch.testing.assert_close(counts, torch.tensor([[[1.0, 0.0, 1.0, 0.6]]]))


def test_the_signature_is_monais():
    ours, theirs = (
        inspect.signature(kind) for kind in (drop_in.PanopticQualityMetric, monai.metrics.PanopticQualityMetric)
    )
    assert ours == theirs
    with pytest.raises(ValueError, match=r"Expected `y` to be \(B, 2, H, W\) or .* but got shape \(1, 1, 4, 4\)"):
        drop_in.PanopticQualityMetric(1)(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))


def test_it_is_faster():
    # 216 instances: MONAI makes a mask of each
    truth = torch.zeros(2, 36, 36, 36, dtype=torch.int32)
    corners = torch.arange(1, 36, 6)
    for k, (x, y, z) in enumerate(torch.cartesian_prod(corners, corners, corners), start=1):
        truth[0, x : x + 3, y : y + 3, z : z + 3], truth[1, x : x + 3, y : y + 3, z : z + 3] = k, 1

    def seconds(kind: Callable[..., Any]) -> float:
        metric, start = kind(1), time.process_time()
        metric(truth[None], truth[None])
        return time.process_time() - start

    seconds(drop_in.PanopticQualityMetric)
    assert 3 * seconds(drop_in.PanopticQualityMetric) < seconds(monai.metrics.PanopticQualityMetric)


@pytest.mark.filterwarnings("ignore:Voronoi computation is running on CPU")
def test_dice_by_component_by_a_change_of_one_expression():
    # MONAI has it as a flag of DiceMetric, ours wraps any metric: `DiceMetric(per_component=True)` becomes
    # `ComponentMetric(DiceMetric())`, on the same two channels
    cases = [
        {key: torch.cat([case[key][:1] == 0, case[key][:1] > 0]).float() for key in case}
        for case in pairs((9, 10), 1)[:3]
    ]
    theirs = evaluated(monai.metrics.DiceMetric(per_component=True), cases)
    ours = evaluated(ComponentMetric(monai.metrics.DiceMetric()), cases)
    assert 0.1 < ours < 0.9
    # a voxel as near to two lesions may go to either
    assert ours == pytest.approx(theirs, abs=0.03)
