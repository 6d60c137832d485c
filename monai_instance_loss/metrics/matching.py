"""Which instances of a prediction and of a ground truth find each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from monai_instance_loss.instances import Instances, label_instances
from monai_instance_loss.instances.spacing import batch_spacing
from monai_instance_loss.metrics.assignment import ASSIGNMENTS, assign
from monai_instance_loss.metrics.criteria import CRITERIA, candidate_pairs, center_distances
from monai_instance_loss.metrics.overlaps import MEASURES, OverlapTable
from monai_instance_loss.metrics.strata import Groups, group_instances

__all__ = ["InstanceCounts", "Matching", "match_by_touch", "match_instances"]


class InstanceCounts(NamedTuple):
    """Numbers of instances, one tensor a field, all of one shape, (B, C) from ``match_by_touch``.

    Source: ours. One prediction may find several true instances and several predictions one, so that ``detected`` and
    ``matched``, the true positives of either side, differ in general. With one partner each they are equal.

    Attributes:
        detected: true instances that a prediction touches, or matches in another way.
        missed: true instances that no prediction touches.
        matched: predicted instances that touch a true instance.
        false: predicted instances that touch none.
    """

    detected: torch.Tensor
    missed: torch.Tensor
    matched: torch.Tensor
    false: torch.Tensor


@dataclass(frozen=True)
class Matching:
    """When a predicted instance matches a true one; two instances match, or do not, with nothing in between.

    Source: ``"touch"`` with ``"many"``, the default, is the WMH Segmentation Challenge (Kuijf et al. 2019,
    doi:10.1109/TMI.2019.2905770); ``"iou"`` above 0.5 is panoptic quality (Kirillov et al., CVPR 2019); the rest ours.
    Differentiable: nothing.

    Args:
        criterion: what makes a pair a candidate.

            - ``"touch"``: the two share a voxel.
            - ``"iou"``, ``"dice"``, ``"ior"``: their intersection over union, Dice score, or intersection over the
              true instance (the reference) is above ``threshold``.
            - ``"pred_center"``: the centre of mass of the predicted instance, rounded to a voxel, lies in the true one.
            - ``"true_center"``: the centre of mass of the true instance, so rounded, lies in the predicted one. Halves
              are rounded up. Such a pair need not share a voxel.
            - ``"center_distance"``: the two centres of mass are less than ``threshold`` mm apart. Such a pair need not
              share a voxel.
        threshold: for the three overlaps, in [0, 1); for ``"center_distance"``, in mm and above 0. A pair exactly at
            it does not match.
        assignment: which candidates match. The score of a pair is its ``criterion`` where that is an overlap, the
            nearness of the centres for ``"center_distance"``, and its IoU elsewhere.

            - ``"many"``: all of them, so that an instance may match several.
            - ``"many_to_one"``: the best pair of each predicted instance, the lower true id of equal ones, so that
              several predicted instances may match a true one.
            - ``"first_choice"``: of those, the best of each true instance, and all of equally good ones, as in the
              VALDO challenge. No second choice is made: an instance may be left alone though another is near.
            - ``"greedy"``: one partner each; the best score first, equal scores in order of true and predicted id.
            - ``"optimal"``: one partner each, with the largest total score (to 1e-9 a pair), and the more pairs where
              totals are equal; a pair's nearness is 1 - distance / ``threshold``.
            - ``"max_cardinality"``: one partner each, as many pairs as possible, with the largest total score of those.
        dilation_mm: for ``"touch"``: a predicted instance also touches a true one when one of its voxels, outside every
            true instance, has a voxel of it within this distance and of no true one nearer; of equally near ones scipy
            decides. 0 grows nothing.
        inclusive: whether a pair exactly at the threshold, which may be 1 then, matches too.

    Raises:
        TypeError: ``threshold`` or ``dilation_mm`` is not a number.
        ValueError: an option is unknown, out of range, or has no meaning for the criterion.

    Example:
        >>> Matching("iou", threshold=0.5, assignment="greedy").assignment
        'greedy'
    """

    criterion: str = "touch"
    threshold: float | None = None
    assignment: str = "many"
    dilation_mm: float = 0.0
    inclusive: bool = False

    def __post_init__(self) -> None:
        for name, options in (("criterion", CRITERIA), ("assignment", ASSIGNMENTS)):
            value = getattr(self, name)
            if value not in options:
                raise ValueError(f"Expected `{name}` to be one of {list(options)}, but got {value!r}.")
        if self.criterion in MEASURES:
            _check_number("threshold", self.threshold)
            if not (0 <= self.threshold < 1 or (self.inclusive and self.threshold == 1)):  # type: ignore[operator]
                end = "]" if self.inclusive else ")"
                raise ValueError(f"Expected `threshold` to be in [0, 1{end}, but got {self.threshold}.")
        elif self.criterion == "center_distance":
            _check_number("threshold", self.threshold)
            if not 0 < self.threshold < math.inf:  # type: ignore[operator]
                raise ValueError(f"Expected `threshold` to be a distance above 0 mm, but got {self.threshold}.")
        elif self.threshold is not None:
            raise ValueError(
                f"Expected `threshold` to be None for the criterion {self.criterion!r}, but got {self.threshold!r}."
            )
        if self.inclusive and self.threshold is None:
            raise ValueError(f"Expected `inclusive` to be False for the criterion {self.criterion!r}, but got True.")
        _check_number("dilation_mm", self.dilation_mm)
        if not 0 <= self.dilation_mm < math.inf:
            raise ValueError(f"Expected `dilation_mm` to be 0 or more and finite, but got {self.dilation_mm}.")
        if self.dilation_mm and self.criterion != "touch":
            raise ValueError(
                f"Expected `dilation_mm` to be 0 for the criterion {self.criterion!r}, but got {self.dilation_mm}."
            )

    @property
    def in_mm(self) -> str | None:
        """What asks for the size of a voxel, ``"center_distance"`` or ``"dilation_mm"``; None for nothing."""
        if self.criterion == "center_distance":
            return self.criterion
        return "dilation_mm" if self.dilation_mm else None


def match_instances(
    true: Instances,
    pred: Instances,
    matching: Matching | None = None,
    spacing_mm: Sequence[float] | torch.Tensor | None = None,
) -> OverlapTable:
    """List the pairs of a true and a predicted instance that match; 0 pairs or more.

    Source: ours; ``Matching`` names those of the rules. One pass over the foreground and then work on pairs.
    Differentiable: nothing.

    Args:
        true: true instances of a batch.
        pred: predicted instances of the same batch.
        matching: what a match is; None is ``Matching()``, by touch.
        spacing_mm: size of a voxel along each spatial axis in mm, or a tensor (B, spatial dims) of those of each
            sample; needed with ``dilation_mm`` and ``"center_distance"``.

    Returns:
        The pairs that match, the sizes of all instances, and which of them share a voxel with several of the others.

    Raises:
        TypeError: ``spacing_mm`` is no sequence.
        ValueError: the shapes differ, or ``spacing_mm`` is needed and not given, or not one positive number an axis.
        ImportError: the matching needs scipy, which is not installed.

    Example:
        >>> y, y_pred = torch.tensor([[[[1, 1, 0, 1]]]]), torch.tensor([[[[0, 1, 1, 1]]]])
        >>> pairs = match_instances(label_instances(y), label_instances(y_pred))
        >>> list(zip(pairs.true_id.tolist(), pairs.pred_id.tolist(), pairs.shared.tolist()))
        [(1, 1, 1), (2, 1, 1)]
    """
    matching = Matching() if matching is None else matching
    table = list_candidates(true, pred, matching, spacing_mm)
    by_distance = matching.criterion == "center_distance"
    distance = center_distances(true, pred, table, batch_spacing(spacing_mm, true.shape)) if by_distance else None
    return choose_pairs(table, matching, distance)


def list_candidates(
    true: Instances,
    pred: Instances,
    matching: Matching,
    spacing_mm: Sequence[float] | torch.Tensor | None = None,
) -> OverlapTable:
    """The pairs that may match by the criterion; the arguments and errors are those of ``match_instances``."""
    spacing = None
    if matching.in_mm is not None:
        if spacing_mm is None:
            raise ValueError(f"Expected `spacing_mm` to be given for `{matching.in_mm}`, but got None.")
        spacing = batch_spacing(spacing_mm, true.shape)
    threshold = matching.threshold or 0.0
    return candidate_pairs(true, pred, matching.criterion, threshold, matching.dilation_mm, spacing, matching.inclusive)


def choose_pairs(table: OverlapTable, matching: Matching, distance: torch.Tensor | None = None) -> OverlapTable:
    """Those of the candidates that match by the assignment; ``distance`` (P,) in mm is for ``"center_distance"``.

    Raises:
        ValueError: there is no ``distance`` for ``"center_distance"``.
        ImportError: the assignment needs scipy, which is not installed.
    """
    if matching.criterion != "center_distance":
        score = table.measure(matching.criterion if matching.criterion in MEASURES else "iou")
    elif distance is None:
        raise ValueError("Expected `distance` to be given for `center_distance`, but got None.")
    else:
        # the distances themselves where only their order counts: a quotient would make unequal ones equal
        ordered = matching.assignment in ("many_to_one", "first_choice", "greedy")
        score = -distance if ordered else 1 - distance / (matching.threshold or 1.0)
    return assign(table, score, matching.assignment)


def match_by_touch(y_pred: torch.Tensor, y: torch.Tensor, connectivity: int | None = None) -> InstanceCounts:
    """Count found and missed true instances and matched and false predicted ones; each count is 0 or more.

    Source: the lesion detection of the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770).
    A true instance is detected when it shares at least one voxel with the prediction; a predicted instance is false
    when it shares none with the ground truth. Differentiable: nothing.

    Args:
        y_pred: prediction (B, C, H, W) or (B, C, H, W, D), any dtype; everything that is not zero is foreground.
        y: ground truth of the same shape.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity, which the challenge uses.

    Returns:
        int64 (B, C) counts of instances.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: the shapes differ or are not 4D or 5D, a mask is not finite, or ``connectivity`` is out of range.

    Example:
        >>> import torch
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]
        >>> [count.item() for count in match_by_touch(y_pred, y)]
        [2, 1, 1, 1]
    """
    pred, true = label_instances(y_pred, connectivity), label_instances(y, connectivity)
    if pred.shape != true.shape:
        raise ValueError(
            f"Expected `y` to have the shape of `y_pred`, {tuple(y_pred.shape)}, but got {tuple(y.shape)}."
        )
    return count_pairs(match_instances(true, pred), group_instances(true), group_instances(pred))


def count_pairs(pairs: OverlapTable, true: Groups, pred: Groups) -> InstanceCounts:
    """How many true and predicted instances of each group are in a pair, and how many are not."""
    detected, matched = pairs.found()
    return InstanceCounts(true.count(detected), true.count(~detected), pred.count(matched), pred.count(~matched))


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")
