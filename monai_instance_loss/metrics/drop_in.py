"""Metrics with the very signatures of MONAI's own, for pipelines that have those: a change of import is all."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from monai import metrics

from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.metrics.panoptic_quality import PanopticQualityMetric as _PanopticQualityMetric

__all__ = ["PanopticQualityMetric"]


class PanopticQualityMetric(metrics.PanopticQualityMetric):
    """MONAI's ``PanopticQualityMetric`` at the cost of one pass over the voxels, in [0, 1], 1 being best.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019; arguments, input, buffer and ``aggregate`` are those of
    ``monai.metrics.PanopticQualityMetric``, which explains them, ``smooth_numerator`` included. For masks that are to
    be labelled, bins of volume and exact scores there is ``monai_instance_loss.metrics.PanopticQualityMetric``. Units:
    none. Differentiable: nothing.

    Called with ``y_pred`` and ``y``, whole numbers (B, 2, H, W) or (B, 2, H, W, D): ids of instances, and classes from
    0, the background, to ``num_classes``. It buffers and returns TP, FP, FN and the sum of the IoUs, float32
    (B, num_classes, 4).

    Convention: below a ``match_iou_threshold`` of 0.5 the pairs above it are chosen that have the largest total IoU;
    MONAI chooses among all pairs and then drops those below it, which can leave fewer.

    Raises:
        TypeError: (on call) ``y_pred`` or ``y`` is not a tensor.
        ValueError: (on call) shapes differ, are not 2D or 3D, or have not two channels; ids are not whole.

    Example:
        >>> metric = PanopticQualityMetric(num_classes=1, metric_name=["pq", "sq", "rq"], reduction="mean")
        >>> y = torch.tensor([[[1, 1, 1, 0, 2, 0, 0]], [[1, 1, 1, 0, 1, 0, 0]]])[None]
        >>> y_pred = torch.tensor([[[1, 1, 0, 0, 0, 0, 2]], [[1, 1, 0, 0, 0, 0, 1]]])[None]
        >>> _ = metric(y_pred, y)  # one pair of IoU 2/3, one miss, one false
        >>> [round(score.item(), 4) for score in metric.aggregate()]
        [0.3333, 0.6667, 0.5]
    """

    @wraps(metrics.PanopticQualityMetric.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assignment = "greedy" if self.match_iou_threshold >= 0.5 else "optimal"
        matching = Matching("iou", float(self.match_iou_threshold), assignment)
        self._counts = _PanopticQualityMetric(is_instances=True, matching=matching)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for name, side in (("y_pred", y_pred), ("y", y)):
            if not isinstance(side, torch.Tensor):
                raise TypeError(f"Expected `{name}` to be a tensor, but got {type(side).__name__}.")
            if side.ndim not in (4, 5) or side.shape[1] != 2:
                raise ValueError(
                    f"Expected `{name}` to be (B, 2, H, W) or (B, 2, H, W, D), but got shape {tuple(side.shape)}."
                )
        return self._counts._compute_tensor(self._by_class(y_pred), self._by_class(y)).float()

    def _by_class(self, side: torch.Tensor) -> torch.Tensor:
        """Ids of instances (B, num_classes, *spatial), 0 where the class is another."""
        classes = torch.arange(1, self.num_classes + 1, device=side.device).view(1, -1, *[1] * (side.ndim - 2))
        return torch.where(side[:, 1:] == classes, side[:, :1], 0)
