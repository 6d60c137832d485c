"""The operating point with the best F1, or the one that a budget of false or missed lesions allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_instance_loss._checks import checked_number
from monai_instance_loss._versions import installed_versions
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.operating_points.counting import Tally, point_grid, tally_points
from monai_instance_loss.operating_points.point import OperatingPoint

__all__ = ["ONE_TO_ONE", "case_means", "choose_operating_point", "told"]

_SCORES = ("f1", "sensitivity", "precision", "missed", "false")
# means that differ by less come from rounding, and are equal
_DIGITS = 9
ONE_TO_ONE = Matching("iou", threshold=0.1, assignment="max_cardinality")
_THRESHOLDS = tuple(step / 20 for step in range(1, 20))
_VOLUMES_MM3 = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)


def choose_operating_point(
    cases: Iterable[tuple[Any, Any]],
    *,
    budget_false: float | None = None,
    budget_missed: float | None = None,
    matching: Matching | None = None,
    thresholds: Sequence[float] = _THRESHOLDS,
    min_volumes_mm3: Sequence[float] = _VOLUMES_MM3,
    high_thresholds: Sequence[float] = (),
    connectivity: int | None = None,
    spacing_mm: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> OperatingPoint:
    """The point of a grid with the best F1 on validation cases, or with the best score that a budget allows.

    Source: ours; the default matching is that of BiCC (Bouteille et al. 2026). By touch, a mask of one piece that
    covers everything finds every lesion, so no point is chosen by touch unless ``matching`` asks for it. Scores are
    means over cases, and a case without a score (F1 without any lesion on either side) is left out, as in the metrics.
    Ties go to fewer false or missed lesions where there is a budget, and then to the plainer point: no high threshold,
    the smaller volume, the threshold nearest to 0.5. The order of the cases does not matter. Differentiable: nothing.

    A score on the cases that a point was chosen by is too good. Beside it, ``chosen["leave_one_out"]`` has the
    cross-validated one: each case is scored at the point that is chosen by all others. Where others keep to the budget
    at no point of the grid, that is the point closest to it.

    Args:
        cases: ``(y_pred, y)`` of each validation case, arrays or tensors (1, H, W) or (1, H, W, D): probabilities in
            [0, 1], and the ground truth of values 0, 1 and ``ignore_index``. One case at a time is held in memory.
        budget_false: most false lesions a case, on average; the point with the best sensitivity is chosen.
        budget_missed: most missed lesions a case, on average; the point with the fewest false lesions is chosen.
        matching: when a prediction matches a lesion; None is one-to-one, IoU above 0.1, as many pairs as possible.
        thresholds: the thresholds of the grid, in (0, 1].
        min_volumes_mm3: the smallest volumes kept of the grid, in mm3 (mm2 in 2D); (0,) needs no voxel size.
        high_thresholds: the high thresholds of the grid; with none there is no hysteresis.
        connectivity: as in ``OperatingPoint``.
        spacing_mm: size of a voxel along each spatial axis in mm; None reads the affine of MetaTensors.
        ignore_index: value in ``y`` of voxels that are not scored.

    Returns:
        The point; ``chosen`` tells objective, budget, matching, grid, number of cases and lesions, versions, and the
        mean scores ``in_sample`` and ``leave_one_out``: F1, sensitivity, precision, missed and false lesions a case.

    Raises:
        TypeError: a case holds no arrays, or an option is of another type.
        ValueError: both budgets are given, a budget is negative or not met at any point, fewer than two cases have a
            lesion, nothing is found at any point; or as in ``tally_points``.

    Example:
        >>> import numpy as np
        >>> y = np.array([[[1, 0, 0, 0, 1]]])
        >>> cases = [(np.array([[[0.9, 0.0, 0.4, 0.0, low]]]), y) for low in (0.6, 0.5)]
        >>> point = choose_operating_point(cases, thresholds=(0.3, 0.5, 0.7), min_volumes_mm3=(0,))
        >>> point.threshold, point.chosen["in_sample"]["f1"], point.chosen["leave_one_out"]["f1"]
        (0.5, 1.0, 1.0)
    """
    objective = _Objective(budget_false, budget_missed)
    matching = ONE_TO_ONE if matching is None else matching
    points = point_grid(thresholds, min_volumes_mm3, high_thresholds, connectivity)
    tally = tally_points(cases, points, matching, spacing_mm, ignore_index)
    check_cases(tally.lesions)
    scores = {name: tally.score(name) for name in _SCORES}
    order = np.array([_plainness(point) for point in points]).T
    best = objective.best(_means(scores), order)
    objective.check(_means(scores), best)
    others = [objective.best(_means(scores, without=case), order) for case in range(len(tally.lesions))]
    chosen = {
        **told(tally, matching, ignore_index),
        "objective": objective.name,
        "budget_false": budget_false,
        "budget_missed": budget_missed,
        "grid": {
            "thresholds": list(thresholds),
            "min_volumes_mm3": list(min_volumes_mm3),
            "high_thresholds": list(high_thresholds),
        },
        "in_sample": case_means(tally, [best] * len(others)),
        "leave_one_out": case_means(tally, others),
    }
    return replace(points[best], chosen=chosen)


@dataclass(frozen=True)
class _Objective:
    """What is best: F1, sensitivity within a budget of false lesions, or false lesions within one of missed ones."""

    budget_false: float | None
    budget_missed: float | None

    def __post_init__(self) -> None:
        if self.budget_false is not None and self.budget_missed is not None:
            raise ValueError(
                f"Expected `budget_false` or `budget_missed` to be None, but got {self.budget_false!r} and "
                f"{self.budget_missed!r}."
            )
        if self._limit:
            checked_number(f"budget_{self._limit[0]}", self._limit[1])

    @property
    def _limit(self) -> tuple[str, float] | None:
        """Which number has a budget, and the budget."""
        pairs = (("false", self.budget_false), ("missed", self.budget_missed))
        return next(((name, value) for name, value in pairs if value is not None), None)

    @property
    def name(self) -> str:
        if self._limit is None:
            return "most F1"
        return (
            "most sensitivity within budget_false" if self._limit[0] == "false" else "fewest false within budget_missed"
        )

    def best(self, means: dict[str, NDArray[np.float64]], order: NDArray[np.float64]) -> int:
        """The point that comes first: closest to the budget or within it, best, plainest."""
        if self._limit is None:
            keys = [-np.nan_to_num(means["f1"], nan=-1.0)]
        else:
            name, budget = self._limit
            best = [-means["sensitivity"], means["false"]]
            keys = [
                np.maximum(means[name] - budget, 0),
                *(best if name == "false" else [means["false"], means["missed"]]),
            ]
        # lexsort takes the most important key last
        return int(np.lexsort([*order[::-1], *(np.round(key, _DIGITS) for key in keys[::-1])])[0])

    def check(self, means: dict[str, NDArray[np.float64]], best: int) -> None:
        """Refuse a budget that no point keeps to, and points that find nothing."""
        finds = means["sensitivity"] > 0
        if not finds.any():
            raise ValueError("Expected the predictions to find a lesion at some point of the grid, but got none.")
        if self._limit is None:
            return
        name, budget = self._limit
        if not finds[best] or round(means[name][best] - budget, _DIGITS) > 0:
            least = means[name][finds].min()
            raise ValueError(
                f"Expected `budget_{name}` to be met by a point of the grid that finds a lesion, but got {budget!r}, "
                f"and the fewest {name} lesions a case of such points are {least:.4g}."
            )


def check_cases(lesions: NDArray[np.int64]) -> None:
    """Refuse cases that nothing can be chosen by: with each left out, the others have to hold a lesion."""
    if len(lesions) < 2:
        raise ValueError(
            f"Expected `cases` to be two or more, to choose by one and score another, but got {len(lesions)}."
        )
    if (lesions > 0).sum() < 2:
        raise ValueError(
            f"Expected two or more of {len(lesions)} cases to have a lesion, but got {int((lesions > 0).sum())}."
        )


def told(tally: Tally, matching: Matching, ignore_index: int | None) -> dict[str, Any]:
    """What every way to choose tells of itself."""
    return {
        "matching": asdict(matching),
        "ignore_index": ignore_index,
        "cases": len(tally.lesions),
        "cases_with_lesions": int((tally.lesions > 0).sum()),
        "lesions": int(tally.lesions.sum()),
        "versions": installed_versions(),
    }


def case_means(tally: Tally, index: Sequence[int]) -> dict[str, float | None]:
    """Mean scores over cases, each at its own point; None where no case has a score."""
    rows = np.arange(len(index))
    means = {name: float(_mean(tally.score(name)[rows, list(index)][:, None])[0]) for name in _SCORES}
    return {name: None if np.isnan(value) else value for name, value in means.items()}


def _means(scores: dict[str, NDArray[np.float64]], without: int | None = None) -> dict[str, NDArray[np.float64]]:
    """The mean over cases (P,) of each score, without one case where one is named."""
    return {
        name: _mean(values if without is None else np.delete(values, without, axis=0))
        for name, values in scores.items()
    }


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(0)
    total = np.where(known, values, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _plainness(point: OperatingPoint) -> tuple[float, ...]:
    """What ties are decided by; less is plainer."""
    high = 0.0 if point.high_threshold is None else point.high_threshold
    return high, point.min_volume_mm3, round(abs(point.threshold - 0.5), _DIGITS), point.threshold
