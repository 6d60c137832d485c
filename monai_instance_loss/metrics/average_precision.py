"""Average precision and recall of instances in probability maps, over thresholds of the IoU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics.utils import ignore_background
from monai.utils import MetricReduction
from numpy.typing import NDArray

from monai_instance_loss._checks import checked_count
from monai_instance_loss.instances import label_instances
from monai_instance_loss.instances.voxels import positions
from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.inputs import checked_probability, prepare_masks
from monai_instance_loss.metrics.names import checked_names
from monai_instance_loss.metrics.overlaps import OverlapTable, overlap_table
from monai_instance_loss.metrics.reduction import check_reduction, reduce_scores

__all__ = ["InstanceAveragePrecisionMetric", "average_precision", "match_by_score"]

_NAMES = {"ap": "ap", "ar": "ar", "average_precision": "ap", "average_recall": "ar"}
# the recalls at which COCO reads the precision off
_RECALLS = np.linspace(0.0, 1.0, 101)
_TO_HALF = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


class InstanceAveragePrecisionMetric(BufferedMetric):
    """Average precision or recall of instances, the mean over thresholds of the IoU, in [0, 1]; 1 is best.

    Source: COCO (Lin et al. 2014, arXiv 1405.0312), with the thresholds 0.1 to 0.5 of nnDetection (Baumgartner et al.
    2021, doi:10.1007/978-3-030-87240-3_51; github.com/MIC-DKFZ/nnDetection 97a58f3) and, as in there, in single
    precision; on masks rather than boxes. A pair of IoU 3/10 matches at 0.3 here, but not in there, where the threshold
    is ``numpy.linspace(0.1, 0.5, 9)[4]`` and that 0.30000000000000004.

    Convention: candidates are the connected components of ``y_pred >= threshold``, and a candidate's score is its
    largest probability. From the best score down each takes the free true instance with the largest IoU, if that
    is at least the threshold of the IoU; the others are false positives. Average precision is the mean, over 101
    recalls, of the best precision at that recall or a higher one; average recall the part of the true instances that
    is found in the end. All cases are pooled.

    Called with ``y_pred``, probabilities (B, C, H, W) or (B, C, H, W, D) of any dtype, and ``y``, binary and of the
    same shape, or lists of such samples without B, it buffers and returns float32 (rows, 3 + thresholds): a row a case
    and channel (0, channel, number of true instances, zeros) and one a candidate (1, channel, score, whether it matches
    at each threshold). A batch of 0 adds nothing; a channel without true instances is NaN and left out of every
    reduction, and where nothing is left the result is NaN. Differentiable: nothing.

    Args:
        include_background: whether to score the first channel; a single channel is always scored.
        reduction: one of MONAI's or ``"pooled"``, over the channels, as all cases make one score a channel: ``"none"``
            gives (1, C), ``"mean_batch"`` (C,), and ``"pooled"`` is ``"mean"``.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts the scores that
            are not NaN.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_index: voxels where ``y`` has this value in any channel are taken out of both, in all channels.
        metric_name: ``"ap"`` or ``"ar"``, or a sequence of these, for which ``aggregate`` returns a list.
        threshold: lowest probability of a candidate's voxels, in (0, 1].
        iou_thresholds: in [0, 1], over which the score is averaged.
        max_detections: how many candidates of a case and channel count, those with the best scores.

    Raises:
        TypeError: ``max_detections`` is no integer; (on call) ``y`` is not a tensor.
        ValueError: a name or ``reduction`` is unknown, or a threshold or ``max_detections`` is out of range; (on call)
            shapes differ or are not 2D or 3D, values are not probabilities or not binary, or ``ignore_index`` is 0 or 1
            for more than one channel.

    Example:
        >>> metric = InstanceAveragePrecisionMetric(metric_name=["ap", "ar"])
        >>> y = torch.tensor([[[[1, 0, 0, 0, 1, 0, 0]]]])
        >>> y_pred = torch.tensor([[[[0.9, 0.0, 0.8, 0.0, 0.7, 0.0, 0.6]]]])  # found, false, found, false
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()  # precision 1 up to a recall of 0.5, at 51 of 101 recalls, and 2/3 from there
        [tensor([0.8350]), tensor([1.])]
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        metric_name: Sequence[str] | str = "ap",
        threshold: float = 0.1,
        iou_thresholds: Sequence[float] = _TO_HALF,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"Expected `threshold` to be in (0, 1], but got {threshold}.")
        if not len(iou_thresholds) or not all(0 <= iou <= 1 for iou in iou_thresholds):
            raise ValueError(f"Expected `iou_thresholds` to be numbers in [0, 1], but got {iou_thresholds}.")
        self.include_background = include_background
        self.reduction = check_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.connectivity = connectivity
        self.ignore_index = ignore_index
        self.metric_name = checked_names(metric_name, _NAMES.get, ["ap", "ar"])
        self.threshold = threshold
        self.iou_thresholds = tuple(map(float, iou_thresholds))
        self.max_detections = checked_count("max_detections", max_detections, 1)

    def aggregate(self, reduction: MetricReduction | str | None = None) -> Any:
        """Mean over the thresholds, from what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The score, or ``(score, not_nans)`` with ``get_not_nans``. Where the metric was given a sequence of names,
            a list of these in the same order.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        names = (self.metric_name,) if isinstance(self.metric_name, str) else self.metric_name
        curves = dict(zip(("ap", "ar"), self.at_thresholds(), strict=True))
        reduction = self.reduction if reduction is None else reduction
        reduced = [reduce_scores(curves[name][None], lambda rows: [rows.mean(-1)], reduction)[0] for name in names]
        results = [pair if self.get_not_nans else pair[0] for pair in reduced]
        return results[0] if isinstance(self.metric_name, str) else results

    def at_thresholds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Average precision and recall at each of ``iou_thresholds``, two float32 (C, thresholds).

        Raises:
            ValueError: the metric was not called before.
        """
        rows = self._rows()
        channels = int(rows[:, 1].max()) + 1 if rows.shape[0] else 0
        scores = np.full((2, channels, len(self.iou_thresholds)), np.nan)
        for channel in range(channels):
            mine = rows[rows[:, 1] == channel].cpu().numpy()
            candidates = mine[mine[:, 0] == 1]
            true = int(mine[mine[:, 0] == 0, 2].sum())
            for place in range(len(self.iou_thresholds)):
                scores[:, channel, place] = average_precision(candidates[:, 2], candidates[:, 3 + place] > 0, true)
        ap, ar = torch.from_numpy(scores).float().to(rows.device)
        return ap, ar

    def _rows_of_nothing(self) -> torch.Tensor:
        return torch.zeros(0, 3 + len(self.iou_thresholds))

    def _compute_tensor(self, y_pred: torch.Tensor, y: Any = None) -> torch.Tensor:
        probability = checked_probability("y_pred", y_pred)
        pred_mask, true_mask = prepare_masks(
            probability >= self.threshold, y, self.include_background, self.ignore_index
        )
        if not self.include_background:
            probability = ignore_background(probability, probability)[0]
        pred, true = (label_instances(mask, self.connectivity) for mask in (pred_mask, true_mask))
        position = positions(pred_mask)
        owner = pred.labels.reshape(-1)[position].long() - 1
        score = probability.new_zeros(pred.count, dtype=torch.float32)
        score.scatter_reduce_(0, owner, probability.reshape(-1)[position].float(), "amax")
        matches = match_by_score(overlap_table(true, pred), score, self.iou_thresholds).float()
        head = torch.stack([torch.ones_like(score), pred.channel.float(), score], 1)
        blocks = true_mask.shape[0] * true_mask.shape[1]
        best = [_best(score, pred.block == block, self.max_detections) for block in range(blocks)]
        found = torch.cat([head, matches], 1)[torch.cat([owner[:0], *best])]
        cases = found.new_zeros(blocks, found.shape[1])
        cases[:, 1] = torch.arange(blocks, device=found.device) % max(true_mask.shape[1], 1)
        cases[:, 2] = torch.bincount(true.block, minlength=blocks)
        return torch.cat([cases, found])


def match_by_score(touching: OverlapTable, score: torch.Tensor, iou_thresholds: Sequence[float]) -> torch.Tensor:
    """Tell which predicted instances match when the best score chooses first, bool (M, thresholds).

    Source: COCO (Lin et al. 2014, arXiv 1405.0312). Each takes the free true instance of the largest IoU that is at
    least the threshold; of equal ones the last. Differentiable: nothing.

    Args:
        touching: all pairs that share a voxel, from ``overlap_table``.
        score: (M,) of the predicted instances; of equal ones the first chooses first.
        iou_thresholds: in [0, 1]; pairs without a shared voxel do not match at 0 either.

    Example:
        >>> true, pred = (label_instances(torch.tensor([[[row]]])) for row in ([1, 1, 1], [1, 0, 1]))
        >>> match_by_score(overlap_table(true, pred), torch.tensor([0.5, 0.9]), [0.3]).tolist()
        [[False], [True]]
    """
    iou = touching.measure("iou").tolist()
    partners: dict[int, list[tuple[float, int]]] = {}
    for true, pred, overlap in zip(touching.true_id.tolist(), touching.pred_id.tolist(), iou, strict=True):
        partners.setdefault(pred - 1, []).append((overlap, true))
    matches = torch.zeros(score.numel(), len(iou_thresholds), dtype=torch.bool)
    order = [pred for pred in torch.argsort(score, descending=True, stable=True).tolist() if pred in partners]
    for place, threshold in enumerate(iou_thresholds):
        taken: set[int] = set()
        for pred in order:
            free = [pair for pair in partners[pred] if pair[0] >= threshold and pair[1] not in taken]
            if free:
                taken.add(max(free)[1])
                matches[pred, place] = True
    return matches.to(score.device)


def average_precision(score: NDArray[Any], matched: NDArray[np.bool_], true: int) -> tuple[float, float]:
    """Average precision over 101 recalls, and the last recall, both in [0, 1]; NaN without a true instance.

    Source: COCO (Lin et al. 2014, arXiv 1405.0312), in single precision as in nnDetection, as a recall that is rounded
    decides which precision is read off. Differentiable: nothing.

    Args:
        score: (M,) of the predicted instances of all cases.
        matched: bool (M,), which of them match.
        true: number of true instances.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, False]), 1)
        (1.0, 1.0)
    """
    if not true:
        return np.nan, np.nan
    if not score.size:
        return 0.0, 0.0
    hits = matched[np.argsort(-score, kind="stable")]
    found = np.cumsum(hits).astype(np.float32)
    recall = found / np.float32(true)
    precision = found / np.arange(1, hits.size + 1, dtype=np.float32)
    # the best precision at this recall or a higher one
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    place = np.searchsorted(recall, _RECALLS)
    return float(precision[place].mean()), float(recall[-1])


def _best(score: torch.Tensor, mine: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the best scores where ``mine``, in order of these."""
    own = mine.nonzero().flatten()
    return own[torch.argsort(score[own], descending=True, stable=True)[:count]]
