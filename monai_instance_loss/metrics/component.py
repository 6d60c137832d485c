"""Any MONAI metric by lesion: scored within the Voronoi cell of each true instance, then averaged."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.metrics import CumulativeIterationMetric, IterationMetric
from monai.utils import MetricReduction

from monai_instance_loss.instances import Instances, label_instances, merge_boxes
from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.instances.voronoi import nearest_instance
from monai_instance_loss.instances.voxels import positions, voxel_coordinates
from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.inputs import prepare_masks
from monai_instance_loss.metrics.reduction import check_reduction, reduce_scores
from monai_instance_loss.metrics.spacing import sample_spacing
from monai_instance_loss.metrics.strata import checked_edges, group_instances

__all__ = ["ComponentMetric", "score_components"]


class ComponentMetric(BufferedMetric):
    """A metric of each true instance within its Voronoi cell, averaged; the range is that of the wrapped metric.

    Source: CC-Metrics (Jaus et al., arXiv 2410.18684; MONAI issue 8733). A voxel is in the cell of the true instance
    that it is nearest to, in mm where the voxel size is known, so that every prediction counts against one lesion; a
    tie goes to the first one in raster order, so that a flip of the image moves ties. With ``DiceMetric()`` and cubic
    voxels it is MONAI's ``DiceMetric(per_component=True)``, which takes two channels and scores the second, as the
    default of ``include_background`` does, but for ties, which MONAI leaves to scipy.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype, or lists of such samples
    without B, it buffers and returns float32 (B, C, 2), with bins of volume (B, C, bins, 2): the sum of the scores of
    the components, and how many went into it. A sample's channel without true instances is NaN, whatever is predicted;
    so is a bin that it has none in. NaN is left out of every reduction, and where nothing is left the result is NaN. A
    batch of 0 adds nothing. Differentiable: nothing.

    Args:
        metric: a metric of MONAI, or one like it, that looks at foreground voxels only and gives one number for one
            channel of one sample, such as ``DiceMetric``, ``MeanIoU``, ``HausdorffDistanceMetric``,
            ``SurfaceDistanceMetric`` and ``SurfaceDiceMetric``. It is given masks (1, 1, *box), float32 0 and 1, and
            the voxel size if its ``_compute_tensor`` takes ``spacing``. Its own buffer and reduction are not used.
        include_background: whether to score the first channel; a single channel is always scored.
        reduction: one of MONAI's reduces the means over the components of each sample and channel, the "patient" mode
            of CC-Metrics. ``"pooled"`` weighs every component the same whichever sample it is in, its "overall" mode,
            and then averages over the channels.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts the scores that
            are not NaN.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_index: voxels where ``y`` has this value in any channel are taken out of both masks, in all channels.
        missed_score: score of a component whose cell holds no prediction, as CC-Metrics gives distances, for which the
            wrapped metric would say infinity; ``None`` asks the wrapped metric.
        volume_edges_mm3: increasing edges between bins of instance volume in mm3, of area in mm2 for 2D images: bin k
            averages over components with volumes in [edge k - 1, edge k), and bins are the last dimension of results.
        spacing_mm: voxel size along each spatial axis in mm, for all samples; None takes that of each sample from the
            affine of ``y`` or ``y_pred``. If neither is a MetaTensor, cells and distances are measured in voxels.

    Raises:
        TypeError: ``metric`` is no ``CumulativeIterationMetric``, ``volume_edges_mm3`` or ``spacing_mm`` no sequence;
            (on call) a mask is not a tensor.
        ValueError: ``reduction`` is unknown, ``missed_score`` is NaN, edges or spacing are not positive finite numbers
            or edges do not increase; (on call) shapes differ or are not 2D or 3D, values are not binary, no spacing is
            known where bins need one, ``ignore_index`` is 0 or 1 for more than one channel, or the wrapped metric gives
            more than one number.

    Example:
        >>> import torch
        >>> from monai.metrics import DiceMetric
        >>> metric = ComponentMetric(DiceMetric())
        >>> y = torch.tensor([[[[1, 1, 0, 0, 0, 0, 1]]]])
        >>> y_pred = torch.tensor([[[[1, 1, 0, 0, 1, 1, 1]]]])  # 1 in the cell of the first, 2/4 in that of the second
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.7500])
    """

    def __init__(
        self,
        metric: CumulativeIterationMetric,
        include_background: bool = False,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        missed_score: float | None = None,
        volume_edges_mm3: Sequence[float] | None = None,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(metric, CumulativeIterationMetric):
            raise TypeError(f"Expected `metric` to be a CumulativeIterationMetric, but got {type(metric).__name__}.")
        if missed_score is not None and math.isnan(missed_score):
            raise ValueError(f"Expected `missed_score` to be None or a number, but got {missed_score}.")
        self.metric = metric
        self.include_background = include_background
        self.reduction = check_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.connectivity = connectivity
        self.ignore_index = ignore_index
        self.missed_score = missed_score
        self.volume_edges_mm3 = checked_edges(volume_edges_mm3)
        self.spacing_mm = checked_spacing(spacing_mm)

    def aggregate(
        self, reduction: MetricReduction | str | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Average what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The score, shaped as MONAI shapes it, or ``(score, not_nans)`` with ``get_not_nans``.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        reduction = self.reduction if reduction is None else reduction
        ((value, not_nans),) = reduce_scores(self._rows(), lambda rows: [rows[..., 0] / rows[..., 1]], reduction)
        return (value, not_nans) if self.get_not_nans else value

    def _rows_of_nothing(self, channels: int = 0) -> torch.Tensor:
        bins = () if self.volume_edges_mm3 is None else (len(self.volume_edges_mm3) + 1,)
        return torch.zeros(0, channels, *bins, 2)

    def _compute_tensor(self, y_pred: torch.Tensor, y: Any = None) -> torch.Tensor:
        pred, true = prepare_masks(y_pred, y, self.include_background, self.ignore_index)
        measured = self.spacing_mm is not None or isinstance(y, MetaTensor) or isinstance(y_pred, MetaTensor)
        spacing = None
        if measured or self.volume_edges_mm3 is not None:
            spacing = sample_spacing(self.spacing_mm, y_pred, y, needed_by="volume_edges_mm3")
        rows = [self._rows_of_nothing(true.shape[1])]
        for sample in range(len(true)):
            own = slice(sample, sample + 1)
            rows.append(self._score_sample(pred[own], true[own], None if spacing is None else spacing[own]))
        return torch.cat(rows).to(true.device)

    def _score_sample(self, pred: torch.Tensor, true: torch.Tensor, spacing: torch.Tensor | None) -> torch.Tensor:
        """Sum and number of the scores of one sample, float32 (1, C, ..., 2)."""
        instances = label_instances(true, self.connectivity)
        spacing_mm = None if spacing is None else spacing[0].tolist()
        scores = score_components(self.metric, pred, instances, spacing_mm, self.missed_score)
        voxels = torch.bincount(instances.labels.flatten(), minlength=instances.count + 1)[1:]
        groups = group_instances(instances, voxels, self.volume_edges_mm3, spacing)
        scored = ~scores.isnan()
        index, numbers = groups.index.cpu()[scored], torch.stack([scores, torch.ones_like(scores)], 1)[scored]
        # not `groups.sum`, which has no room for an infinite distance
        table = torch.zeros(groups.shape.numel(), 2).index_put_((index,), numbers, accumulate=True)
        return table.view(*groups.shape, 2)


def score_components(
    metric: IterationMetric,
    y_pred: torch.Tensor,
    instances: Instances,
    spacing_mm: Sequence[float] | None = None,
    missed_score: float | None = None,
) -> torch.Tensor:
    """Score the prediction within the Voronoi cell of each true instance; the range is that of the metric.

    Source: CC-Metrics (Jaus et al., arXiv 2410.18684). Masks are cut to the cell and then cropped to the box around the
    foreground in it. That changes no number of a metric of foreground voxels: they count as inside the image whatever
    lies around them, distances between them stay, and MONAI's borders take the rim of an image for background, as the
    cut does. Differentiable: nothing.

    Args:
        metric: one of foreground voxels that gives one number for masks (1, 1, *box); nothing is buffered in it.
        y_pred: bool (B, C, *spatial).
        instances: the N true instances of the same batch.
        spacing_mm: voxel size along each spatial axis in mm; None measures in voxels.
        missed_score: the score where a cell holds no prediction; None asks the metric.

    Returns:
        float32 (N,), on the CPU.

    Raises:
        ValueError: the metric gives more than one number, or ``spacing_mm`` is not one positive number a spatial axis.

    Example:
        >>> import torch
        >>> from monai.metrics import DiceMetric
        >>> instances = label_instances(torch.tensor([[[[1, 1, 0, 0, 0, 1]]]]))
        >>> score_components(DiceMetric(), torch.tensor([[[[1, 1, 0, 0, 0, 0]]]]) > 0, instances)
        tensor([1., 0.])
    """
    cells = nearest_instance(instances, spacing_mm)
    position = positions((instances.labels > 0) | (y_pred & (cells > 0)))
    owner = cells.reshape(-1)[position].long() - 1
    coordinates = torch.stack(voxel_coordinates(position, instances.shape[2:]), 1)
    low, high = merge_boxes(coordinates, coordinates, owner, instances.count)
    predicted = torch.bincount(owner[y_pred.reshape(-1)[position]], minlength=instances.count)
    options = {"spacing": list(spacing_mm)} if spacing_mm is not None and _takes_spacing(metric) else {}
    blocks = zip(instances.sample.tolist(), instances.channel.tolist(), strict=True)
    scores = []
    for index, (block, start, stop, hits) in enumerate(
        zip(blocks, low.tolist(), (high + 1).tolist(), predicted.tolist(), strict=True)
    ):
        if hits == 0 and missed_score is not None:
            scores.append(missed_score)
            continue
        box = (*block, *map(slice, start, stop))
        true = instances.labels[box] == index + 1
        pred = y_pred[box] & (cells[box] == index + 1)
        scores.append(_score_one(metric, pred.float()[None, None], true.float()[None, None], options))
    return torch.tensor(scores, dtype=torch.float32)


def _score_one(metric: IterationMetric, y_pred: torch.Tensor, y: torch.Tensor, options: dict[str, Any]) -> float:
    # the call of the base that does not buffer
    score = IterationMetric.__call__(metric, y_pred, y, **options)
    if not isinstance(score, torch.Tensor) or score.numel() != 1:
        got = f"shape {tuple(score.shape)}" if isinstance(score, torch.Tensor) else type(score).__name__
        raise ValueError(
            f"Expected `metric` to give one number for one channel of one sample, but {metric} gave {got}."
        )
    return float(score)


def _takes_spacing(metric: IterationMetric) -> bool:
    parameters = inspect.signature(metric._compute_tensor).parameters
    return "spacing" in parameters or any(option.kind is option.VAR_KEYWORD for option in parameters.values())
