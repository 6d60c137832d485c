"""Found, missed and false instances of cases at many operating points, each volume labelled once a threshold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from numpy.typing import NDArray

from monai_instance_loss._checks import check_channel_first
from monai_instance_loss._ignored import ignored_voxels
from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.metrics.count_scores import canonical_name, score_counts
from monai_instance_loss.metrics.inputs import checked_probability, prepare_masks
from monai_instance_loss.metrics.matching import Matching, choose_pairs, list_candidates
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.spacing import image_spacing
from monai_instance_loss.operating_points.applying import Grown
from monai_instance_loss.operating_points.point import OperatingPoint

__all__ = ["Tally", "point_grid", "tally_points"]


@dataclass(frozen=True, eq=False)
class Tally:
    """Numbers of instances of each case at each operating point.

    Attributes:
        points: the P operating points.
        counts: int64 (cases, P, 4), in the order of ``InstanceCounts``: detected, missed, matched, false.
    """

    points: tuple[OperatingPoint, ...]
    counts: torch.Tensor

    def score(self, name: str) -> NDArray[np.float64]:
        """A score of ``InstanceConfusionMatrixMetric``, (cases, P); NaN where there is nothing to score."""
        return score_counts(self.counts.double(), canonical_name(name) or name).double().numpy()

    @property
    def lesions(self) -> NDArray[np.int64]:
        """How many true instances each case has, (cases,)."""
        counts: NDArray[np.int64] = self.counts[:, 0, :2].sum(-1).numpy()
        return counts


def point_grid(
    thresholds: Sequence[float],
    min_volumes_mm3: Sequence[float] = (0.0,),
    high_thresholds: Sequence[float] = (),
    connectivity: int | None = None,
) -> tuple[OperatingPoint, ...]:
    """Every operating point of these values: without a high threshold, and with each one above its threshold.

    Raises:
        TypeError, ValueError: a value is none of an ``OperatingPoint``, or there is no threshold or no volume.

    Example:
        >>> len(point_grid((0.3, 0.5), (0, 10), high_thresholds=(0.5, 0.7)))
        10
    """
    for name, values in (("thresholds", thresholds), ("min_volumes_mm3", min_volumes_mm3)):
        if not len(values):
            raise ValueError(f"Expected `{name}` to hold a number, but got none.")
    return tuple(
        OperatingPoint(low, volume, high, connectivity)
        for low, volume, high in product(thresholds, min_volumes_mm3, (None, *high_thresholds))
        if high is None or high > low
    )


def tally_points(
    cases: Iterable[tuple[Any, Any]],
    points: Sequence[OperatingPoint],
    matching: Matching,
    spacing_mm: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tally:
    """Count instances that are found, missed and false, at each operating point; the numbers are 0 or more.

    Source: ours. They are those of ``InstanceConfusionMatrixMetric`` on the masks of ``apply_operating_point``, but
    each volume is labelled once a threshold, and matched once for all points that keep the same instances. One case at
    a time is held in memory. Differentiable: nothing.

    Args:
        cases: ``(y_pred, y)`` of each case, arrays or tensors (1, H, W) or (1, H, W, D): probabilities in [0, 1], and
            the ground truth of values 0, 1 and ``ignore_index``.
        points: the operating points, all of one connectivity.
        matching: when a prediction matches a true instance.
        spacing_mm: size of a voxel along each spatial axis in mm, where a volume or the matching asks for it; None
            takes that of each case from the affine of a MetaTensor.
        ignore_index: value in ``y`` of voxels that are not scored.

    Raises:
        TypeError: a case holds no arrays.
        ValueError: points differ in their connectivity, shapes differ or are others, a value is no probability or not
            binary, or no voxel size is known where one is needed; of a case, the message says which.

    Example:
        >>> y_pred, y = torch.tensor([[[0.9, 0.0, 0.4, 0.0, 0.6]]]), torch.tensor([[[1, 0, 1, 0, 0]]])
        >>> tally_points([(y_pred, y)], point_grid((0.3, 0.5)), Matching()).counts.tolist()
        [[[2, 0, 2, 1], [1, 1, 1, 1]]]
    """
    if len({point.connectivity for point in points}) != 1:
        raise ValueError("Expected `points` to be one or more of one connectivity, but got none or several.")
    rows = []
    for number, (y_pred, y) in enumerate(cases, 1):
        try:
            rows.append(_count_case(y_pred, y, points, matching, spacing_mm, ignore_index))
        except (TypeError, ValueError) as error:
            raise type(error)(f"Case {number}: {error}") from error
    return Tally(tuple(points), torch.stack(rows) if rows else torch.zeros(0, len(points), 4, dtype=torch.int64))


def _count_case(
    y_pred: Any,
    y: Any,
    points: Sequence[OperatingPoint],
    matching: Matching,
    spacing_mm: Sequence[float] | None,
    ignore_index: int | None,
) -> torch.Tensor:
    """int64 (P, 4)."""
    for name, value in (("y_pred", y_pred), ("y", y)):
        check_channel_first(name, value)
        if len(value) != 1:
            raise ValueError(f"Expected `{name}` to have one channel, but got shape {tuple(value.shape)}.")
    spacing = None
    if matching.dilation_mm or any(point.min_volume_mm3 for point in points):
        spacing = image_spacing(spacing_mm, [y, y_pred], "min_volumes_mm3", "y")
    voxel_mm3 = 1.0 if spacing is None else float(spacing.prod())
    probability, truth = (convert_to_tensor(value, track_meta=False)[None] for value in (y_pred, y))
    probability = checked_probability("y_pred", probability)
    ignored = ignored_voxels(truth, ignore_index)
    _, mask = prepare_masks(torch.zeros_like(probability, dtype=torch.bool), truth, ignore_index=ignore_index)
    true = label_instances(mask, points[0].connectivity)
    counts = torch.zeros(len(points), 4, dtype=torch.int64)
    for threshold in dict.fromkeys(point.threshold for point in points):
        members = [index for index, point in enumerate(points) if point.threshold == threshold]
        grown = Grown.of(probability, points[members[0]])
        pred, parent = _scored(grown, ignored, points[members[0]].connectivity)
        table = list_candidates(true, pred, matching, spacing)
        kept = [grown.kept(points[index], voxel_mm3)[parent] for index in members]
        counts[members] = _count_kept(table, kept, matching)
    return counts


def _scored(grown: Grown, ignored: torch.Tensor | None, connectivity: int | None) -> tuple[Instances, torch.Tensor]:
    """The instances without ignored voxels, which may cut them, and the row (N,) of the whole one of each."""
    if ignored is None or not bool(ignored.any()):
        return grown.instances, torch.arange(grown.instances.count, device=grown.owner.device)
    whole = grown.instances.labels
    left = label_instances((whole > 0) & ~ignored, connectivity)
    ids = left.labels.reshape(-1)[grown.position].long()
    parent = torch.zeros(left.count, dtype=torch.int64, device=ids.device)
    parent[ids[ids > 0] - 1] = grown.owner[ids > 0]
    return left, parent


def _count_kept(table: OverlapTable, kept: Sequence[torch.Tensor], matching: Matching) -> torch.Tensor:
    """int64 (len(kept), 4): counts where only some predicted instances, bool (N,) each, are kept."""
    known: dict[bytes, tuple[int, int]] = {}
    rows = []
    for keep in kept:
        pairs = keep[table.pred_id - 1]
        key = pairs.cpu().numpy().tobytes()
        if key not in known:
            detected, matched = choose_pairs(table.select(pairs), matching).found()
            known[key] = int(detected.sum()), int(matched.sum())
        detected_count, matched_count = known[key]
        missed = table.true_voxels.numel() - detected_count
        rows.append((detected_count, missed, matched_count, int(keep.sum()) - matched_count))
    return torch.tensor(rows, dtype=torch.int64)
