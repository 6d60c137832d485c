"""What a prediction scores on a case."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss.evaluation.lesion_rows import lesion_rows
from monai_instance_loss.evaluation.loading import Volume
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.metrics.challenge import wmh_challenge_scores
from monai_instance_loss.metrics.matching import match_instances
from monai_instance_loss.metrics.panoptic_quality import PanopticQualityMetric
from monai_instance_loss.transforms.filtering import FilterInstances

__all__ = ["CaseScores", "as_batch", "score_masks"]


@dataclass(frozen=True)
class CaseScores:
    """What a model scored on a case; NaN where there is nothing to score.

    Attributes:
        model: name of the model.
        case: name of the case.
        label: name of the class; empty where masks are binary.
        group: what the case belongs to, such as a site; empty where that is not known.
        dice: Dice of all voxels, 0..1.
        h95_mm: 95th percentile of the distances between borders, the larger of both directions, in mm.
        avd_percent: absolute difference of the volumes in percent of the reference's.
        recall: part of the reference's lesions that are detected, 0..1; NaN without such lesions.
        precision: part of the predicted lesions that match one of the reference, 0..1; NaN without predicted lesions.
        f1: their harmonic mean, 0 where only one side has lesions; NaN without any lesion.
        pq: panoptic quality at an IoU above 0.5, 0..1; NaN without any lesion.
        n_true: number of lesions of the reference.
        n_pred: number of predicted lesions.
        n_missed: lesions of the reference that are not detected.
        n_false: predicted lesions that match none of the reference.
        volume_true_ml: volume of the reference in ml.
        volume_pred_ml: volume of the prediction in ml, without voxels that are not scored.
        ignored_ml: volume of the voxels that are not scored, in ml.
    """

    model: str
    case: str
    label: str = field(default="", kw_only=True)
    group: str = field(default="", kw_only=True)
    dice: float
    h95_mm: float
    avd_percent: float
    recall: float
    precision: float
    f1: float
    pq: float
    n_true: int
    n_pred: int
    n_missed: int
    n_false: int
    volume_true_ml: float
    volume_pred_ml: float
    ignored_ml: float


def score_masks(
    model: str, case: str, prediction: NDArray[Any], reference: Volume, scoring: Scoring | None = None
) -> tuple[CaseScores, list[dict[str, Any]]]:
    """Score a prediction and list all lesions of both sides.

    Source: ``wmh_challenge_scores``, ``match_instances``, ``PanopticQualityMetric`` and ``measure_instances``. Lesions
    are connected over faces, edges and corners, and one of the reference is detected, and a predicted one matched, when
    they share a voxel, if ``scoring`` says nothing else. Panoptic quality always is at an IoU above 0.5.

    Args:
        model: name of the model.
        case: name of the case.
        prediction: (X, Y, Z), 0 and 1.
        reference: 0, 1 and, where voxels are not scored, 2; its affine is that of both.
        scoring: matching, connectivity, smallest lesion and empty masks; None is ``Scoring()``.

    Returns:
        The scores, and one row a lesion: ``model``, ``case``, ``side`` (reference or prediction), ``id`` (1.. on its
        side, in raster order), ``status`` (detected, missed, matched or false), ``voxels``, ``volume_mm3``,
        ``centroid_mm_x``, ``_y``, ``_z`` (right, anterior, superior), ``box_start_0`` ... ``box_stop_2`` (voxels,
        stops exclusive), ``partners`` (ids on the other side, with spaces between) and ``overlap_voxels``.

    Example:
        >>> from pathlib import Path
        >>> y = Volume(Path("y.nii"), np.array([[[1, 0, 1, 0, 0]]], np.uint8), np.diag([1.0, 1, 3, 1]))
        >>> scores, lesions = score_masks("net", "a", np.array([[[1, 0, 0, 0, 1]]], np.uint8), y)
        >>> scores.recall, scores.precision, scores.f1, scores.volume_true_ml
        (0.5, 0.5, 0.5, 0.006)
        >>> [f"{lesion['side']} {lesion['id']} {lesion['status']}" for lesion in lesions]
        ['reference 1 detected', 'reference 2 missed', 'prediction 1 matched', 'prediction 2 false']
    """
    scoring = Scoring() if scoring is None else scoring
    ignored = as_batch(reference.voxels == 2)
    y = _without_small(as_batch(reference.voxels == 1), scoring)
    y_pred = _without_small(as_batch(prediction) * ~ignored, scoring)
    true, pred = (label_instances(mask, scoring.connectivity) for mask in (y, y_pred))
    pairs = match_instances(true, pred, scoring.matching, reference.spacing_mm)
    n_detected, n_matched = (int(found.sum()) for found in pairs.found())
    challenge = wmh_challenge_scores(y_pred, y, reference.spacing_mm)
    rates = _rates(n_detected, true.count, n_matched, pred.count)
    rates |= {"dice": challenge["dsc"], "pq": _panoptic_quality(true, pred)}
    if not (true.count or pred.count or scoring.empty == "exclude"):
        rates = dict.fromkeys(rates, float(scoring.empty == "one"))
    voxel_ml = reference.voxel_mm3 / 1000
    scores = CaseScores(
        model=model,
        case=case,
        dice=rates["dice"],
        h95_mm=challenge["h95"],
        avd_percent=challenge["avd"],
        recall=rates["recall"],
        precision=rates["precision"],
        f1=rates["f1"],
        pq=rates["pq"],
        n_true=true.count,
        n_pred=pred.count,
        n_missed=true.count - n_detected,
        n_false=pred.count - n_matched,
        volume_true_ml=int(y.sum()) * voxel_ml,
        volume_pred_ml=int(y_pred.sum()) * voxel_ml,
        ignored_ml=int(ignored.sum()) * voxel_ml,
    )
    lesions = lesion_rows(true, pred, reference.affine, pairs)
    return scores, [{"model": model, "case": case, **row} for row in lesions]


def as_batch(voxels: NDArray[Any]) -> torch.Tensor:
    """(1, 1, X, Y, Z) of (X, Y, Z)."""
    return torch.from_numpy(np.ascontiguousarray(voxels))[None, None]


def _rates(n_detected: int, n_true: int, n_matched: int, n_pred: int) -> dict[str, float]:
    """Recall, precision and F1, NaN where there is nothing to find, predicted or both."""
    recall = n_detected / n_true if n_true else math.nan
    precision = n_matched / n_pred if n_pred else math.nan
    f1 = math.nan
    if n_true or n_pred:
        f1 = 2 * precision * recall / (precision + recall) if n_detected and n_matched else 0.0
    return {"recall": recall, "precision": precision, "f1": f1}


def _panoptic_quality(true: Instances, pred: Instances) -> float:
    quality = PanopticQualityMetric(is_instances=True)
    # not `aggregate`, which would wait for the other ranks
    (value,) = quality.scores(quality(pred.labels, true.labels))
    return float(value)


def _without_small(mask: torch.Tensor, scoring: Scoring) -> torch.Tensor:
    if scoring.min_size < 2:
        return mask
    kept: torch.Tensor = FilterInstances(min_voxels=scoring.min_size, connectivity=scoring.connectivity)(mask[0])[None]
    return kept
