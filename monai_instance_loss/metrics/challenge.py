"""The five scores of the WMH Segmentation Challenge, of one case and averaged over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.utils import MetricReduction

from monai_instance_loss._optional import import_extra
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.inputs import prepare_masks
from monai_instance_loss.metrics.matching import match_by_touch
from monai_instance_loss.metrics.names import checked_names
from monai_instance_loss.metrics.reduction import POOLED, check_reduction, reduce_scores
from monai_instance_loss.metrics.spacing import sample_spacing

__all__ = ["WMHChallengeMetric", "wmh_challenge_scores"]

binary_erosion = import_extra("scipy.ndimage", "binary_erosion")
KDTree = import_extra("scipy.spatial", "KDTree")

_NAMES = ("dsc", "h95", "avd", "recall", "f1")
_OTHER_PATHOLOGY = 2


def wmh_challenge_scores(
    y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: Sequence[float] | None = None
) -> dict[str, float]:
    """Score one case as the WMH Segmentation Challenge does: Dice, distance, volume difference and lesions found.

    Source: Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770, and the rules of the challenge's public scorer
    (``evaluation.py`` of github.com/hjkuijf/wmhchallenge). Differentiable: nothing.

    Convention: voxels of other pathology, label 2, are taken out of both masks. Lesions are connected over faces, edges
    and corners (26 neighbours). The border of a mask, between which the distances are, is looked for in each x-y slice:
    a voxel is on it when one of its eight neighbours in the slice is background; the rim of the image is not
    background. Distances are those of voxel centres.

    | case | dsc | h95 | avd | recall | f1 |
    |---|---|---|---|---|---|
    | no prediction | 0 | NaN | 100 | 0 | 0 |
    | no lesion, some prediction | 0 | NaN | NaN | 1 | 0 |
    | neither | NaN | NaN | NaN | 1 | 1 |

    The scorer stops with an error instead where there is no lesion; the last two rows keep its rules where they say
    something. ``h95`` is NaN too where a mask fills its slices and so has no border.

    Args:
        y_pred: the binarised prediction (1, 1, X, Y, Z), any dtype, values 0 and 1.
        y: the ground truth of the same shape: 0 background, 1 white matter hyperintensity, 2 other pathology.
        spacing_mm: voxel size along x, y and z in mm; None takes it from the affine of ``y`` or ``y_pred``, if that
            is a MetaTensor.

    Returns:
        ``dsc``, Dice in [0, 1]; ``h95``, the larger of the two directed 95th percentiles of border distances, in mm;
        ``avd``, absolute volume difference in percent of the true volume; ``recall``, the part of the lesions that a
        predicted voxel touches, and ``f1``, the harmonic mean of that and of the part of the predicted lesions that
        touch a true one, both in [0, 1].

    Raises:
        TypeError: a mask is not a tensor, or ``spacing_mm`` no sequence.
        ValueError: the shapes differ or are not (1, 1, X, Y, Z), labels are not in {0, 1} and {0, 1, 2}, or the voxel
            size is unknown or not positive.
        OptionalImportError: scipy is not installed.

    Example:
        >>> import torch
        >>> y = torch.zeros(1, 1, 4, 4, 2)
        >>> y[..., 0, 0, 0] = y[..., 3, 3, 1] = 1
        >>> y_pred = torch.zeros_like(y)
        >>> y_pred[..., 0, 0, 0] = 1
        >>> {name: round(score, 3) for name, score in wmh_challenge_scores(y_pred, y, (1, 1, 3)).items()}
        {'dsc': 0.667, 'h95': 4.936, 'avd': 50.0, 'recall': 0.5, 'f1': 0.667}
    """
    (scores,) = _score_cases(y_pred, y, spacing_mm, samples=1)
    return scores


class WMHChallengeMetric(BufferedMetric):
    """Scores of the WMH Segmentation Challenge over cases: dsc, recall, f1 in [0, 1], h95 in mm, avd in percent.

    Source: Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770; each case is scored by ``wmh_challenge_scores``, whose
    conventions hold: label 2 of ``y``, other pathology, is taken out of both masks.

    Called with ``y_pred``, values 0 and 1, and ``y``, values 0, 1 and 2, (B, 1, X, Y, Z) of any dtype or lists of such
    samples without B, it buffers and returns float32 (B, 1, 5), all scores in the order of ``dsc``, ``h95``, ``avd``,
    ``recall``, ``f1``. A batch of 0 adds nothing; NaN scores are left out of every reduction, and where nothing is left
    the result is NaN. Differentiable: nothing.

    Args:
        metric_name: ``"dsc"``, ``"h95"``, ``"avd"``, ``"recall"`` or ``"f1"``, or a sequence of these, for which
            ``aggregate`` returns a list.
        reduction: one of MONAI's reductions; there is only one channel.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts the scores that
            are not NaN.
        spacing_mm: voxel size along x, y and z in mm, of all cases; None takes that of each sample from the affine of
            ``y`` or ``y_pred``, one of which then has to be a MetaTensor.

    Raises:
        TypeError: ``spacing_mm`` is no sequence; (on call) a mask is not a tensor.
        ValueError: ``metric_name`` or ``reduction`` is unknown, or ``spacing_mm`` is not three positive numbers; (on
            call) the shapes differ or are not (B, 1, X, Y, Z), labels are not in {0, 1} and {0, 1, 2}, or the voxel
            size is unknown or not positive.
        OptionalImportError: (on call) scipy is not installed.

    Example:
        >>> import torch
        >>> y = torch.eye(4)[None, None, :, :, None]
        >>> metric = WMHChallengeMetric(metric_name=["dsc", "h95"], spacing_mm=(1, 1, 3))
        >>> _ = metric(y, y)
        >>> metric.aggregate()
        [tensor([1.]), tensor([0.])]
    """

    def __init__(
        self,
        metric_name: str | Sequence[str] = _NAMES,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        *,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.metric_name = checked_names(metric_name, {name: name for name in _NAMES}.get, _NAMES)
        self.reduction = _checked_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.spacing_mm = checked_spacing(spacing_mm, 3)

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Any:
        """Average what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The reduced score, or ``(score, not_nans)`` with ``get_not_nans``. Where the metric was given a sequence of
            names, a list of these in the same order.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        single = isinstance(self.metric_name, str)
        names = [self.metric_name] if single else self.metric_name
        reduction = _checked_reduction(self.reduction if reduction is None else reduction)
        columns = [_NAMES.index(name) for name in names]
        reduced = reduce_scores(self._rows(), lambda rows: [rows[..., i].clone() for i in columns], reduction)
        results = [pair if self.get_not_nans else pair[0] for pair in reduced]
        return results[0] if single else results

    def _rows_of_nothing(self) -> torch.Tensor:
        return torch.zeros(0, 1, len(_NAMES))

    def _compute_tensor(self, y_pred: torch.Tensor, y: Any = None) -> torch.Tensor:
        scores = _score_cases(y_pred, y, self.spacing_mm)
        rows = [[case[name] for name in _NAMES] for case in scores]
        return torch.tensor(rows, dtype=torch.float32, device=y_pred.device).view(-1, 1, len(_NAMES))


def _checked_reduction(reduction: MetricReduction | str) -> str:
    reduction = check_reduction(reduction)
    if reduction == POOLED:
        raise ValueError(f"Expected `reduction` to be one of MONAI's for scores of whole cases, but got {reduction!r}.")
    return reduction


def _score_cases(y_pred: Any, y: Any, spacing_mm: Any, samples: int | None = None) -> list[dict[str, float]]:
    """The scores of each sample of a batch (B, 1, X, Y, Z), of ``samples`` samples where that is given."""
    pred, true = prepare_masks(y_pred, y, ignore_index=_OTHER_PATHOLOGY)
    if true.ndim != 5 or true.shape[1] != 1 or samples not in (None, true.shape[0]):
        batch = "B" if samples is None else samples
        raise ValueError(f"Expected `y` to be ({batch}, 1, X, Y, Z), but got shape {tuple(true.shape)}.")
    spacings = sample_spacing(spacing_mm, y_pred, y, needed_by="h95")
    return [_score_case(pred[i : i + 1], true[i : i + 1], spacing) for i, spacing in enumerate(spacings.numpy())]


def _score_case(pred: torch.Tensor, true: torch.Tensor, spacing: np.ndarray) -> dict[str, float]:
    n_pred, n_true, n_both = (int(mask.sum()) for mask in (pred, true, pred & true))
    detected, missed, matched, false = (int(count) for count in match_by_touch(pred, true))
    recall, precision = (hit / (hit + out) if hit + out else 1.0 for hit, out in ((detected, missed), (matched, false)))
    return {
        "dsc": 2 * n_both / (n_pred + n_true) if n_pred + n_true else math.nan,
        "h95": _h95(pred[0, 0].cpu().numpy(), true[0, 0].cpu().numpy(), spacing),
        "avd": abs(n_true - n_pred) / n_true * 100 if n_true else math.nan,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


def _h95(pred: np.ndarray, true: np.ndarray, spacing: np.ndarray) -> float:
    """Larger of the two directed 95th percentiles of the distances between borders, in mm."""
    # in double precision, which MONAI's surface distances are not: 1e-5 mm in a whole brain
    pred_border, true_border = (np.argwhere(_border(mask)) * spacing for mask in (pred, true))
    if not len(pred_border) or not len(true_border):
        return math.nan
    to_true, to_pred = KDTree(true_border).query(pred_border)[0], KDTree(pred_border).query(true_border)[0]
    return float(max(np.percentile(to_true, 95), np.percentile(to_pred, 95)))


def _border(mask: np.ndarray) -> np.ndarray:
    return mask & ~binary_erosion(mask, np.ones((3, 3, 1), bool), border_value=1)
