"""panoptica, and a restatement of a protocol that has no public scorer."""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from preset_cases import KINDS, Case, probabilities

Rows = tuple[list[str], dict[str, list[list[Any]]]]


def panoptica(checkout: Path | None, made: list[Case]) -> Rows:
    """One to one matching above or at an IoU of 0.5, and areas under the curves over thresholds in steps of 0.1."""
    from panoptica import (
        ConnectedComponentsInstanceApproximator,
        InputType,
        NaiveThresholdMatching,
        Panoptica_Evaluator,
    )
    from panoptica.metrics import Metric

    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(),
        instance_metrics=[Metric.IOU, Metric.DSC],
        global_metrics=[Metric.DSC],
    )
    columns = ["n_ref_instances", "n_pred_instances", "tp", "fp", "fn", "prec", "rec"]
    columns += ["rq", "sq", "pq", "sq_dsc", "pq_dsc", "global_bin_dsc"]
    areas = ["rq", "sq", "pq", "sq_dsc", "pq_dsc"]
    rows = []
    for case in made:
        masks = (case.y_pred > 0).astype(np.uint8), (case.y > 0).astype(np.uint8)
        result = evaluator.evaluate(*masks, verbose=False)["ungrouped"]
        row = []
        for column in columns:
            try:
                row.append(getattr(result, column))
            except ZeroDivisionError:
                row.append(None)
        curve = evaluator.evaluate_autc(*masks, threshold_step_size=0.1, verbose=False)["ungrouped"]
        rows.append(row + [curve.get_autc(area) for area in areas])
    return columns + [f"autc_{area}" for area in areas], {"panoptica": rows}


def nndetection(checkout: Path, made: list[Case]) -> Rows:
    """Average precision and recall at IoUs of 0.1 to 0.5: of all cases, and of those of each kind, by masks' IoUs."""
    from scipy import ndimage

    # the files that match and score, without the package, which needs its CUDA extension
    folder = checkout / "nndet/evaluator"
    sys.modules["nndet.evaluator"] = types.SimpleNamespace(**runpy.run_path(str(folder / "abstract.py")))
    sys.modules["loguru"] = types.SimpleNamespace(logger=types.SimpleNamespace(warning=print, info=print))
    matching, coco = (runpy.run_path(str(folder / f"detection/{part}.py")) for part in ("matching", "coco"))
    metric = coco["COCOMetric"](["lesion"], iou_list=(), max_detection=(100,), per_class=False, verbose=False)

    def iou(preds: np.ndarray, trues: np.ndarray) -> np.ndarray:
        return np.array([[np.sum(a & b) / np.sum(a | b) for b in trues] for a in preds])

    results = []
    for case, probability in zip(made, probabilities(made), strict=True):
        sides = []
        for volume in (probability, case.y):
            labels, count = ndimage.label(volume > 0, np.ones((3, 3, 3)))
            sides.append(np.array([labels == index for index in range(1, count + 1)]).reshape(count, *volume.shape))
        pred, true = sides
        scores = np.array([probability[mask].max() for mask in pred])
        classes = [np.zeros(len(side)) for side in sides]
        arguments = [pred], classes[:1], [scores], [true], classes[1:], [np.zeros(len(true))]
        results += matching["matching_batch"](iou, metric.iou_thresholds, *arguments)
    rows = []
    for group in (slice(None), *(slice(kind, None, len(KINDS)) for kind in range(len(KINDS)))):
        found = metric.compute_statistics(results[group])
        # -1 is where there is nothing to find
        precision, recall = found["precision"][:, :, 0, 0].mean(1), found["recall"][:, 0, 0]
        rows.append([float("nan") if value < 0 else float(value) for value in (*precision, *recall)])
    thresholds = [f"{threshold:.2f}" for threshold in metric.iou_thresholds]
    return [f"{name}_{value}" for name in ("AP", "AR") for value in thresholds], {"nndetection": rows}


def bicc(checkout: Path | None, made: list[Case]) -> Rows:
    """A restatement of the paper's protocol with networkx, as no scorer of its authors is public."""
    import networkx as nx
    from scipy import ndimage

    rows = []
    for case in made:
        (true, n_true), (pred, n_pred) = (
            ndimage.label(volume > 0, np.ones((3, 3, 3))) for volume in (case.y, case.y_pred)
        )
        graph = nx.Graph()
        for i in range(1, n_true + 1):
            for j in np.unique(pred[(true == i) & (pred > 0)]):
                iou = np.count_nonzero((true == i) & (pred == j)) / np.count_nonzero((true == i) | (pred == j))
                if iou > 0.1:
                    graph.add_edge(f"true {i}", f"pred {j}", weight=iou)
        tp = len(nx.max_weight_matching(graph, maxcardinality=True))
        fp, fn = n_pred - tp, n_true - tp
        rates = [tp / n_true, tp / n_pred if n_pred else None, 2 * tp / (n_true + n_pred)] if n_true else [None] * 3
        rows.append([tp, fp, fn, *rates, None if n_true else n_pred])
    columns = ["tp", "fp", "fn", "sensitivity", "precision", "f1", "false_positives_negative_scan"]
    return columns, {"bicc": rows}
