"""The scores of one case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss.evaluation.header import Header, check_same_grid, read_header
from monai_instance_loss.evaluation.lesion_rows import lesion_rows
from monai_instance_loss.evaluation.loading import Volume, read_labels, read_mask, read_probability
from monai_instance_loss.evaluation.odd_values import IGNORED, LabelMapError
from monai_instance_loss.evaluation.pairing import CaseFiles, Failure
from monai_instance_loss.evaluation.prediction import mask_of
from monai_instance_loss.evaluation.scores import CaseScores, as_batch, score_masks
from monai_instance_loss.evaluation.scoring import Scoring
from monai_instance_loss.metrics.froc import InstanceFROC

__all__ = ["CaseResult", "CaseScores", "class_masks", "lesion_rows", "read_side", "score_files", "score_masks"]


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
        white: files of 0 and 255, which is read as 1.
        labels: those found in label maps, in increasing order.
    """

    case: str
    scores: list[CaseScores] = field(default_factory=list)
    lesions: list[dict[str, Any]] = field(default_factory=list)
    froc: NDArray[np.float32] | None = None
    failures: list[Failure] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    white: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


def score_files(files: CaseFiles, scoring: Scoring | None = None) -> CaseResult:
    """Read the masks of a case and score each model; what is wrong with one model's files leaves the others alone.

    Source: see ``score_masks`` and ``InstanceFROC``.

    Args:
        files: from ``pair_files``.
        scoring: what is scored, and how; None is ``Scoring()``.

    Example:
        >>> missing = CaseFiles("a", Path("nowhere.nii"), {"net": Path("nowhere.nii")})
        >>> score_files(missing).failures[0].message
        "Expected nowhere.nii to be a readable NIfTI file, but got: [Errno 2] No such file or directory: 'nowhere.nii'"
    """
    scoring = Scoring() if scoring is None else scoring
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
            reference = read_side(header, scoring, scoring.ignore_label)
            _note_labels(result, reference, scoring)
    if reference is None:
        return result
    for model, mask in masks.items():
        with _failures_kept(result, model):
            point = files.points.get(model)
            prediction = read_side(mask, scoring) if point is None else mask_of(mask, point)
            _note_labels(result, prediction, scoring)
            _score_classes(result, files, model, prediction, reference, scoring)
    if probability is not None:
        with _failures_kept(result, first):
            ((_, mask_of_class),) = class_masks(reference, scoring)
            result.froc = _froc_rows(probability, mask_of_class, scoring)
    result.failures.sort(key=lambda failure: [None, *files.predictions].index(failure.model))
    return result


def read_side(file: Path | Header, scoring: Scoring, ignore_label: int | None = None) -> Volume:
    """A mask or, where there are classes, a map of labels.

    Raises:
        ValueError: as ``read_mask`` and ``read_labels``.
    """
    if scoring.regions:
        return read_labels(file, ignore_label)
    try:
        return read_mask(file, ignore_label)
    except LabelMapError as error:
        labels = ", ".join(map(str, error.labels))
        raise ValueError(
            f"{error} It is a map of the labels {labels}. Say which to score: --label N for each, or several as one "
            "with --label NAME=1,2. --ignore-label N leaves voxels of the reference out, as the WMH Challenge does "
            "with 2."
        ) from error


def class_masks(volume: Volume, scoring: Scoring) -> Iterator[tuple[str, Volume]]:
    """The name and the mask (0, 1 and, where a voxel is not scored, 2) of each class; of a binary mask itself.

    Example:
        >>> from monai_instance_loss.evaluation.scoring import Region
        >>> labels = Volume(Path("y.nii"), np.array([[[0, 1, 4, IGNORED]]], np.uint16), np.eye(4))
        >>> for name, mask in class_masks(labels, Scoring(regions=(Region("WT", (1, 4)), Region("ET", (4,))))):
        ...     print(name, mask.voxels.tolist())
        WT [[[0, 1, 1, 2]]]
        ET [[[0, 0, 1, 2]]]
    """
    if not scoring.regions:
        yield "", volume
    for region in scoring.regions:
        mask = np.isin(volume.voxels, region.values).astype(np.uint8)
        mask[volume.voxels == IGNORED] = 2
        yield region.name, replace(volume, voxels=mask)


def _score_classes(
    result: CaseResult, files: CaseFiles, model: str, prediction: Volume, reference: Volume, scoring: Scoring
) -> None:
    both = zip(class_masks(prediction, scoring), class_masks(reference, scoring), strict=True)
    for (name, y_pred), (_, y) in both:
        scores, lesions = score_masks(model, files.case, y_pred.voxels, y, scoring)
        result.scores.append(replace(scores, label=name, group=files.group))
        result.lesions += [{"label": name, **row} for row in lesions]


def _note_labels(result: CaseResult, volume: Volume, scoring: Scoring) -> None:
    if scoring.regions:
        result.labels = sorted({*result.labels, *volume.labels})
    elif volume.labels:
        result.white.append(str(volume.path))


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


def _froc_rows(header: Header, reference: Volume, scoring: Scoring) -> NDArray[np.float32]:
    froc = InstanceFROC(ignore_index=2, connectivity=scoring.connectivity)
    probability = read_probability(header)
    rows: NDArray[np.float32] = froc(as_batch(probability.voxels), as_batch(reference.voxels)).numpy()
    return rows
