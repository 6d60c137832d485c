"""A picture of each of the worst cases, with missed and false lesions marked. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_instance_loss.evaluation.case import CaseScores, class_masks, read_side
from monai_instance_loss.evaluation.header import check_same_grid, read_header
from monai_instance_loss.evaluation.lesion_drawing import draw_lesions
from monai_instance_loss.evaluation.lesion_slice import axial_slice
from monai_instance_loss.evaluation.lesion_volume import lesion_volume
from monai_instance_loss.evaluation.lesion_zoom import zoom_on_errors
from monai_instance_loss.evaluation.loading import Volume, read_volume
from monai_instance_loss.evaluation.pairing import CaseFiles
from monai_instance_loss.evaluation.prediction import mask_of
from monai_instance_loss.evaluation.scoring import Scoring

__all__ = ["key_image", "worst_cases"]


def worst_cases(scores: Sequence[CaseScores], count: int = 6) -> list[CaseScores]:
    """The cases with the lowest lesion F1, of equals the one with most missed and false lesions; none without any.

    Source: ours.

    Args:
        scores: of one model.
        count: how many at most.

    Example:
        >>> worst_cases([])
        []
    """
    wrong = [case for case in scores if case.n_missed or case.n_false]
    return sorted(wrong, key=lambda case: (case.f1, -case.n_missed - case.n_false, case.case))[:count]


def key_image(files: CaseFiles, model: str, scoring: Scoring | None = None, label: str = "") -> tuple[Any, str]:
    """Draw the slice with most missed and false lesions, and the largest of them from near in three planes.

    Source: ``most_informative_slice``, ``zoom_on_errors`` and ``draw_lesions``.

    Args:
        files: of a case that was scored.
        model: whose prediction to draw.
        scoring: as in ``score_files``.
        label: the class to draw; empty where masks are binary.

    Returns:
        A ``matplotlib.figure.Figure``, and a remark where the scan could not be drawn, else an empty text.

    Raises:
        ValueError: a mask cannot be read any more.
    """
    scoring = Scoring() if scoring is None else scoring
    path, point = files.predictions[model], files.points.get(model)
    reference, prediction = (
        dict(class_masks(volume, scoring))[label]
        for volume in (
            read_side(files.reference, scoring, scoring.ignore_label),
            read_side(path, scoring) if point is None else mask_of(path, point),
        )
    )
    image, remark = _image_of(files, reference)
    affine = torch.from_numpy(reference.affine)
    scan, y_pred, y = (
        MetaTensor(torch.from_numpy(np.ascontiguousarray(voxels))[None], affine=affine)
        for voxels in (image, prediction.voxels, reference.voxels)
    )
    volume = lesion_volume(files.case, scan, y_pred, y, ignore_index=2)
    shown = axial_slice(volume)
    name = "FLAIR" if files.image is not None and "FLAIR" in files.image.name.upper() else ""
    figure = draw_lesions([shown], zoom_on_errors(volume, shown), name)
    return figure, remark


def _image_of(files: CaseFiles, reference: Volume) -> tuple[Any, str]:
    if files.image is None:
        remark = "No scan was given, or not one for this case (--image)."
    else:
        try:
            header = read_header(files.image)
            check_same_grid(reference, header)
            voxels = read_volume(header, np.float32).voxels
            return np.nan_to_num(voxels, copy=False, nan=0.0, posinf=0.0, neginf=0.0), ""
        except ValueError as error:
            remark = f"The scan is not drawn. {error}"
    return np.zeros(reference.shape, np.float32), remark
