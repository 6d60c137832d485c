"""The scores of one case."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_instance_loss.evaluation.header import Header, check_same_grid, read_header
from monai_instance_loss.evaluation.lesion_rows import lesion_rows
from monai_instance_loss.evaluation.loading import Volume, read_mask, read_probability
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure
from monai_instance_loss.evaluation.prediction import read_prediction
from monai_instance_loss.instances import label_instances
from monai_instance_loss.metrics.challenge import wmh_challenge_scores
from monai_instance_loss.metrics.froc import InstanceFROC
from monai_instance_loss.metrics.panoptic_quality import PanopticQualityMetric

__all__ = ["CaseResult", "CaseScores", "lesion_rows", "score_case", "score_masks"]


@dataclass(frozen=True)
class CaseScores:
    """What a model scored on a case; NaN where there is nothing to score.

    Attributes:
        model: name of the model.
        case: name of the case.
        dice: Dice of all voxels, 0..1.
        h95_mm: 95th percentile of the distances between borders, the larger of both directions, in mm.
        avd_percent: absolute difference of the volumes in percent of the reference's.
        recall: part of the reference's lesions that a prediction touches, 0..1; NaN without such lesions.
        precision: part of the predicted lesions that touch one of the reference, 0..1; NaN without predicted lesions.
        f1: their harmonic mean, 0 where only one side has lesions; NaN without any lesion.
        pq: panoptic quality at an IoU above 0.5, 0..1; NaN without any lesion.
        n_true: number of lesions of the reference.
        n_pred: number of predicted lesions.
        n_missed: lesions of the reference that no prediction touches.
        n_false: predicted lesions that touch none of the reference.
        volume_true_ml: volume of the reference in ml.
        volume_pred_ml: volume of the prediction in ml, without voxels that are not scored.
        ignored_ml: volume of the voxels that are not scored, in ml.
    """

    model: str
    case: str
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


@dataclass
class CaseResult:
    """Everything that is kept of a case.

    Attributes:
        case: its name.
        scores: those of each model that could be scored.
        lesions: one row a lesion of either side and model, see ``score_masks``.
        froc: the rows of ``InstanceFROC``, None without a probability map.
        failures: what could not be scored, and why.
        remarks: what is odd about files that were scored.
    """

    case: str
    scores: list[CaseScores] = field(default_factory=list)
    lesions: list[dict[str, Any]] = field(default_factory=list)
    froc: NDArray[np.float32] | None = None
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def score_case(files: CaseFiles, ignore_label: int | None = None) -> CaseResult:
    """Read the masks of a case and score each model; what is wrong with one model's files leaves the others alone.

    Source: see ``score_masks`` and ``InstanceFROC``.

    Args:
        files: from ``pair_files``.
        ignore_label: as in ``read_mask``, for the reference.

    Example:
        >>> missing = CaseFiles("a", Path("nowhere.nii"), {"net": Path("nowhere.nii")})
        >>> score_case(missing).failures[0].message
        "Expected nowhere.nii to be a readable NIfTI file, but got: [Errno 2] No such file or directory: 'nowhere.nii'"
    """
    result = CaseResult(files.case)
    first = next(iter(files.predictions), None)
    reference: Volume | None = None
    masks: dict[str, Header] = {}
    probability: Header | None = None
    # all headers before any voxel, so that a grid that is wrong costs no memory
    with _failures_kept(result, None):
        header = read_header(files.reference)
        for model, path in files.predictions.items():
            with _failures_kept(result, model):
                masks[model] = _read_header_like(header, path)
        if files.probability is not None:
            with _failures_kept(result, first):
                probability = _read_header_like(header, files.probability)
        remarks = [known.remark for known in (header, *masks.values(), probability) if known and known.remark]
        # a map that a mask is made of is there twice
        result.remarks = list(dict.fromkeys(remarks))
        if masks or probability:
            reference = _read_reference(header, ignore_label)
    if reference is None:
        return result
    for model, mask in masks.items():
        with _failures_kept(result, model):
            prediction = read_prediction(mask, files.points.get(model)).voxels
            scores, lesions = score_masks(model, files.case, prediction, reference)
            result.scores.append(scores)
            result.lesions += lesions
    if probability is not None:
        with _failures_kept(result, first):
            result.froc = _froc_rows(probability, reference)
    result.failures.sort(key=lambda failure: [None, *files.predictions].index(failure.model))
    return result


def score_masks(
    model: str, case: str, prediction: NDArray[Any], reference: Volume
) -> tuple[CaseScores, list[dict[str, Any]]]:
    """Score a prediction and list all lesions of both sides.

    Source: ``wmh_challenge_scores``, ``PanopticQualityMetric`` and ``measure_instances``. Lesions are connected over
    faces, edges and corners; one of the reference is detected, and a predicted one matched, when they share a voxel.

    Args:
        model: name of the model.
        case: name of the case.
        prediction: (X, Y, Z), 0 and 1.
        reference: 0, 1 and, where voxels are not scored, 2; its affine is that of both.

    Returns:
        The scores, and one row a lesion: ``model``, ``case``, ``side`` (reference or prediction), ``id`` (1.. on its
        side, in raster order), ``status`` (detected, missed, matched or false), ``voxels``, ``volume_mm3``,
        ``centroid_mm_x``, ``_y``, ``_z`` (right, anterior, superior), ``box_start_0`` ... ``box_stop_2`` (voxels,
        stops exclusive), ``partners`` (ids on the other side, with spaces between) and ``overlap_voxels``.

    Example:
        >>> y = Volume(Path("y.nii"), np.array([[[1, 0, 1, 0, 0]]], np.uint8), np.diag([1.0, 1, 3, 1]))
        >>> scores, lesions = score_masks("net", "a", np.array([[[1, 0, 0, 0, 1]]], np.uint8), y)
        >>> scores.recall, scores.precision, scores.f1, scores.volume_true_ml
        (0.5, 0.5, 0.5, 0.006)
        >>> [f"{lesion['side']} {lesion['id']} {lesion['status']}" for lesion in lesions]
        ['reference 1 detected', 'reference 2 missed', 'prediction 1 matched', 'prediction 2 false']
    """
    y, ignored = _as_batch(reference.voxels), _as_batch(reference.voxels == 2)
    y_pred = _as_batch(prediction) * ~ignored
    challenge = wmh_challenge_scores(y_pred, y, reference.spacing_mm)
    quality = PanopticQualityMetric()
    # not `aggregate`, which would wait for the other ranks
    (pq,) = quality.scores(quality(y_pred, y == 1))
    true, pred = label_instances(y == 1), label_instances(y_pred)
    lesions = lesion_rows(true, pred, reference.affine)
    n_missed, n_false = (sum(row["status"] == word for row in lesions) for word in ("missed", "false"))
    voxel_ml = reference.voxel_mm3 / 1000
    scores = CaseScores(
        model=model,
        case=case,
        dice=challenge["dsc"],
        h95_mm=challenge["h95"],
        avd_percent=challenge["avd"],
        # the challenge gives 1 where there is nothing to find, which would reward cases without a lesion
        recall=challenge["recall"] if true.count else math.nan,
        precision=(pred.count - n_false) / pred.count if pred.count else math.nan,
        f1=challenge["f1"] if true.count or pred.count else math.nan,
        pq=float(pq),
        n_true=true.count,
        n_pred=pred.count,
        n_missed=n_missed,
        n_false=n_false,
        volume_true_ml=int((y == 1).sum()) * voxel_ml,
        volume_pred_ml=int(y_pred.sum()) * voxel_ml,
        ignored_ml=int(ignored.sum()) * voxel_ml,
    )
    return scores, [{"model": model, "case": case, **row} for row in lesions]


def _as_batch(voxels: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(voxels))[None, None]


@contextmanager
def _failures_kept(result: CaseResult, model: str | None) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        failure = Failure(result.case, model, str(error))
        if failure not in result.failures:
            result.failures.append(failure)


def _read_header_like(reference: Header, path: Path) -> Header:
    header = read_header(path)
    check_same_grid(reference, header)
    return header


def _read_reference(header: Header, ignore_label: int | None) -> Volume:
    try:
        return read_mask(header, ignore_label)
    except ValueError as error:
        raise ValueError(_with_hint(str(error), header.path, ignore_label)) from error


def _froc_rows(header: Header, reference: Volume) -> NDArray[np.float32]:
    froc = InstanceFROC(ignore_index=2)
    probability = read_probability(header)
    rows: NDArray[np.float32] = froc(_as_batch(probability.voxels), _as_batch(reference.voxels)).numpy()
    return rows


def _with_hint(message: str, reference: Path, ignore_label: int | None) -> str:
    twos = [f"{reference} to hold 0 and 1 only, but got {two} at" for two in ("2", "2.0")]
    if ignore_label is None and any(start in message for start in twos):
        return f"{message} Where 2 is other pathology, as in the WMH Challenge, add --ignore-label 2."
    return message
